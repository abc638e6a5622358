/** The pages of a replica server: health by the worst replica, and metrics that Prometheus can read. */
import { describe, expect, test } from "bun:test";
import type { PushPosition } from "../../../src/format/push.ts";
import { healthPage, metricsPage } from "../../../src/recovery/serve/serve-pages.ts";

function replicaOf(change: Partial<PushPosition>) {
  const position: PushPosition = {
    ...{ name: "app", txid: 7, time: "2026-01-01T00:00:01.500Z", checksum: null, chain: null },
    ...{ state: "ready", reason: null, hasBucket: false },
    ...change,
  };
  return { replica: { position: () => position }, outcomes: new Map([["applied", 3]]) };
}

const factsOf = (...changes: Partial<PushPosition>[]) => ({
  version: "0.4.0",
  uptimeMs: 1234,
  replicas: changes.map(replicaOf),
});

describe("healthPage", () => {
  const CASES: readonly (readonly [PushPosition["state"], number, string])[] = [
    ["ready", 200, "healthy"],
    ["catching-up", 200, "degraded"],
    ["waiting", 200, "degraded"],
    ["failing", 503, "unhealthy"],
  ];
  for (const [state, status, word] of CASES) {
    test(`is ${word} for a replica that is ${state}`, () => {
      const page = healthPage(factsOf({}, { name: "b", state, reason: "why" }), true);
      expect([page.status, JSON.parse(page.body).status]).toEqual([status, word]);
      expect(JSON.parse(page.body).replicas[1]).toMatchObject({ name: "b", state, reason: "why" });
    });
  }

  test("names nothing to a reader without the token", () => {
    expect(Object.keys(JSON.parse(healthPage(factsOf({}), false).body))).toEqual([
      ...["status", "uptime_seconds", "version"],
    ]);
  });
});

describe("metricsPage", () => {
  test("has one series for each replica and outcome, with escaped names", () => {
    const { body } = metricsPage(factsOf({ name: 'a"\\\n' }));
    expect(body).toContain('walrust_replica_txid{db="a\\"\\\\\\n"} 7\n');
    expect(body).toContain('walrust_replica_timestamp{db="a\\"\\\\\\n"} 1767225601.5\n');
    expect(body).toContain('walrust_replica_pushes_total{db="a\\"\\\\\\n",outcome="applied"} 3\n');
    expect(body).toContain("# TYPE walrust_replica_ready gauge\n");
    expect(body.split("\n").filter((line) => line.startsWith("walrust_") && !/ [\d.]+$/.test(line))).toEqual(
      [],
    );
  });

  test("leaves out families without a series", () => {
    expect(metricsPage(factsOf()).body).not.toContain("walrust_replica_");
  });
});

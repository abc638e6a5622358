/** The notices for a run of events, as a real server receives them. */
import { afterEach, describe, expect, test } from "bun:test";
import { Webhooks } from "../../src/observability/webhooks.ts";
import type { WatchEvent } from "../../src/replication/context/watch-events.ts";
import { HookServer } from "./hook-server.ts";
import { ManualTime, START_MS } from "./manual-time.ts";
import {
  circuitOpen,
  cleared,
  condition,
  failed,
  letGo,
  recovered,
  stopped,
  uploaded,
  validated,
  watching,
} from "./samples.ts";

const ALL = ["sync_failed", "auth_failure", "corruption_detected", "circuit_breaker_open", "recovered"];
const servers: HookServer[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

/** Sends events to one webhook for each list of names. @returns the servers, after all deliveries */
async function told(
  events: readonly WatchEvent[],
  names: readonly (readonly string[])[] = [ALL],
): Promise<HookServer[]> {
  const own = names.map(() => new HookServer());
  servers.push(...own);
  const hooks = own.map((server, index) => ({
    url: server.secretUrl,
    events: names[index]!,
    secret: undefined,
  }));
  const { env } = new ManualTime();
  const { signal } = new AbortController();
  const context = { hostname: "vm1", version: "0.4.0", env, signal };
  const webhooks = new Webhooks(hooks, context, (database) => (database === "app" ? "writer-1" : null));
  for (const event of events) webhooks.observe(event);
  await webhooks.done();
  return own;
}

/** Events, and the names of their notices. */
const ROWS: readonly (readonly [what: string, events: readonly WatchEvent[], told: readonly string[]])[] = [
  ["a store that is gone", [failed("storage")], ["sync_failed"]],
  ["a missing bucket", [failed("missing-bucket")], ["sync_failed"]],
  ["a database that cannot be read", [failed("database")], ["sync_failed"]],
  ["credentials refused", [failed("auth")], ["auth_failure"]],
  ["a broken history", [failed("integrity")], ["corruption_detected"]],
  ["a damaged object", [failed("corrupt")], ["corruption_detected"]],
  ["another writer", [stopped("foreign-writer")], ["sync_failed"]],
  ["an open breaker", [circuitOpen()], ["circuit_breaker_open"]],
  ["validation that finds errors", [validated("errors", ["x"])], ["corruption_detected"]],
  ["validation that finds none", [validated("warnings", ["x"]), validated("ok")], []],
  ["work", [watching(), uploaded(), uploaded("snapshot"), recovered()], []],
  [
    "a failure again and again",
    [failed("storage"), failed("storage"), failed("precondition")],
    ["sync_failed"],
  ],
  [
    "a failure that changes",
    [failed("storage"), circuitOpen(), failed("auth"), failed("storage"), circuitOpen()],
    ["sync_failed", "circuit_breaker_open", "auth_failure"],
  ],
  [
    "two outages",
    [failed("storage"), recovered(), recovered(), failed("storage")],
    ["sync_failed", "recovered", "sync_failed"],
  ],
  [
    "a failure, then given up",
    [failed("storage"), stopped("foreign-writer")],
    ["sync_failed", "sync_failed"],
  ],
  ["given up, whatever else is said", [stopped("locked"), recovered(), uploaded()], ["sync_failed"]],
  [
    "given up, then watched again",
    [stopped("locked"), recovered(), uploaded(), watching(), failed("storage")],
    ["sync_failed", "recovered", "sync_failed"],
  ],
  ["attached, but failing still", [failed("storage"), watching(), uploaded()], ["sync_failed"]],
  [
    "a breaker that opened by itself",
    [circuitOpen(), uploaded(), recovered(), circuitOpen()],
    ["circuit_breaker_open", "recovered", "circuit_breaker_open"],
  ],
  [
    "unhealthy conditions, told once until the last is over",
    [condition("a"), condition("b"), cleared("a"), recovered(), cleared("b"), condition("a")],
    ["sync_failed", "recovered", "sync_failed"],
  ],
  ["a condition that only degrades", [condition("a", "degraded"), cleared("a")], []],
  [
    "a database that is let go of and found again",
    [failed("storage"), validated("errors"), letGo(), recovered(), validated("ok"), failed("storage")],
    ["sync_failed", "corruption_detected", "sync_failed"],
  ],
  [
    "an outage with a breaker is over when it is said",
    [circuitOpen(), failed("storage"), uploaded(), recovered()],
    ["circuit_breaker_open", "sync_failed", "recovered"],
  ],
  [
    "validation and replication apart",
    [failed("storage"), validated("errors"), recovered(), validated("errors"), validated("ok")],
    ["sync_failed", "corruption_detected", "recovered", "recovered"],
  ],
];

describe("Webhooks sends notices of", () => {
  test.each(ROWS)("%s", async (_, events, expected) => {
    const [server] = await told(events);
    expect(server!.events).toEqual([...expected]);
  });

  test("each database separately", async () => {
    const events = [failed("storage", "a"), failed("storage", "b"), recovered("b")];
    const [server] = await told(events);
    const all = server!.requests.map(({ json }) => [json["event"], json["database"]]);
    expect(all).toEqual([
      ["sync_failed", "a"],
      ["sync_failed", "b"],
      ["recovered", "b"],
    ]);
  });

  test("the requested events, and of the end of a sent event only", async () => {
    const events = [failed("storage"), failed("auth"), recovered(), circuitOpen()];
    const names = [["auth_failure"], ["corruption_detected"], ["sync_failed", "auth_failure"], ["recovered"]];
    const [auth, corruption, both, recoveredOnly] = await told(events, names);
    expect(auth!.requests.map(({ json }) => [json["event"], json["closes"]])).toEqual([
      ["auth_failure", undefined],
      ["recovered", ["auth_failure"]],
    ]);
    expect(corruption!.events).toEqual([]);
    expect(recoveredOnly!.events).toEqual([]);
    expect(both!.requests.map(({ json }) => json["closes"])).toEqual([
      undefined,
      undefined,
      ["sync_failed", "auth_failure"],
    ]);
  });

  test("a failure in the documented shape", async () => {
    const [server] = await told([circuitOpen(), failed("storage", "other")]);
    expect(server!.requests.map(({ json }) => json)).toEqual([
      {
        event: "circuit_breaker_open",
        database: "app",
        error: "the store is not there",
        attempts: 10,
        timestamp: new Date(START_MS).toISOString(),
        writer: "writer-1",
        hostname: "vm1",
      },
      {
        event: "sync_failed",
        database: "other",
        error: "storage is the matter",
        attempts: 1,
        timestamp: new Date(START_MS).toISOString(),
        writer: null,
        hostname: "vm1",
      },
    ]);
  });

  test("its end in the documented shape", async () => {
    const [server] = await told([failed("storage"), recovered()]);
    expect(server!.requests[1]!.json).toEqual({
      event: "recovered",
      database: "app",
      error: null,
      attempts: 0,
      timestamp: new Date(START_MS).toISOString(),
      writer: "writer-1",
      hostname: "vm1",
      closes: ["sync_failed"],
    });
  });

  test("the first findings of a validation, not of thousands", async () => {
    const messages = Array.from({ length: 1_000 }, (_, index) => `finding ${index}`);
    const long = "x".repeat(100_000);
    const [server] = await told([validated("errors", messages), failed("storage"), failed("auth")]);
    expect(server!.requests[0]!.json["error"]).toBe("finding 0; finding 1; finding 2; finding 3; finding 4");
    const [other] = await told([validated("errors", [long])]);
    expect(String(other!.requests[0]!.json["error"]).length).toBe(2_000);
  });
});

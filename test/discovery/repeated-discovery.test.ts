/** Discovery repeats every 5 s, one run at a time, and returns each result once. */
import { expect, test } from "bun:test";
import type { Discovered } from "../../src/discovery/discovered.ts";
import { DISCOVERY_INTERVAL_MS, RepeatedDiscovery } from "../../src/discovery/repeated-discovery.ts";
import { recordingEnv } from "../support/recording-log.ts";

const NOTHING: Discovered<string> = { targets: [], unwatchable: [] };

/** A repeated discovery under the test's clock; the test ends its runs. */
function driven(): {
  discovery: RepeatedDiscovery<string>;
  clock: { nowMs: number };
  runs: PromiseWithResolvers<Discovered<string>>[];
  messages: () => string[];
} {
  const clock = { nowMs: 0 };
  const runs: PromiseWithResolvers<Discovered<string>>[] = [];
  const { env, lines } = recordingEnv({ monotonicMs: () => clock.nowMs });
  const discover = (): Promise<Discovered<string>> => {
    const run = Promise.withResolvers<Discovered<string>>();
    runs.push(run);
    return run.promise;
  };
  const messages = (): string[] => lines.map(({ level, message }) => `${level}: ${message}`);
  return { discovery: new RepeatedDiscovery(discover, env), clock, runs, messages };
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("poll starts a discovery when it is due, one at a time, and returns its result once", async () => {
  const { discovery, clock, runs } = driven();
  expect([discovery.poll(DISCOVERY_INTERVAL_MS - 1), runs.length]).toEqual([null, 0]);
  clock.nowMs = DISCOVERY_INTERVAL_MS;
  discovery.poll(clock.nowMs);
  clock.nowMs *= 3;
  expect([discovery.poll(clock.nowMs), runs.length]).toEqual([null, 1]);
  const result = { ...NOTHING, targets: ["a"] };
  runs[0]!.resolve(result);
  await settle();
  expect(discovery.poll(clock.nowMs)).toBe(result);
  expect([discovery.poll(clock.nowMs), runs.length]).toEqual([null, 1]);
});

test("poll pauses after a slow discovery for one interval", async () => {
  const { discovery, clock, runs } = driven();
  discovery.poll(DISCOVERY_INTERVAL_MS);
  clock.nowMs = 60_000;
  runs[0]!.resolve(NOTHING);
  await settle();
  discovery.poll(60_000 + DISCOVERY_INTERVAL_MS - 1);
  expect(runs.length).toBe(1);
  discovery.poll(60_000 + DISCOVERY_INTERVAL_MS);
  expect(runs.length).toBe(2);
});

test("poll logs an unchanged failure once, and its end", async () => {
  const { discovery, clock, runs, messages } = driven();
  for (let count = 1; count <= 3; count++) {
    clock.nowMs += DISCOVERY_INTERVAL_MS;
    expect(discovery.poll(clock.nowMs)).toBe(null);
    if (count < 3) runs.at(-1)!.reject(new Error("EACCES"));
    else runs.at(-1)!.resolve(NOTHING);
    await settle();
  }
  expect(discovery.poll(clock.nowMs)).toBe(NOTHING);
  expect(messages()).toEqual([
    "warn: cannot discover databases: EACCES",
    "info: databases can be discovered again",
  ]);
});

test("restart drops the result of a discovery that began before it", async () => {
  const { discovery, clock, runs } = driven();
  clock.nowMs = DISCOVERY_INTERVAL_MS;
  discovery.poll(clock.nowMs);
  discovery.restart();
  runs[0]!.resolve({ ...NOTHING, targets: ["old"] });
  await settle();
  expect(discovery.poll(clock.nowMs)).toBe(null);
  clock.nowMs *= 2;
  discovery.poll(clock.nowMs);
  runs[1]!.resolve(NOTHING);
  await settle();
  expect(discovery.poll(clock.nowMs)).toBe(NOTHING);
});

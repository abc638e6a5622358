/** When a watch probes whether its store enforces create-only writes, and when it repeats the probe. */
import { expect, test } from "bun:test";
import { WalrustError } from "../../../src/errors.ts";
import { CreateOnlyProbe } from "../../../src/replication/upload/create-only-probe.ts";
import type { ObjectStore, StoreCapabilities } from "../../../src/storage/contract/store.ts";
import { recordingEnv } from "../../support/recording-log.ts";

const HOUR_MS = 3_600_000;

type Answer = StoreCapabilities["conditionalPut"] | "away";

/** A store that answers probes in a given order, and the times of the probes. */
function probed(answers: readonly Answer[], layout: "s3" | "file" = "s3") {
  let nowMs = 0;
  const askedMs: number[] = [];
  const keys = new Set<string>();
  const store = {
    layout,
    probe: async (key: string) => {
      const answer = answers[Math.min(askedMs.length, answers.length - 1)]!;
      askedMs.push(nowMs);
      keys.add(key);
      if (answer === "away") throw new WalrustError("storage", "it is away", { retryable: true });
      return { conditionalPut: answer };
    },
  } as unknown as ObjectStore;
  const { env, lines } = recordingEnv({ monotonicMs: () => nowMs });
  const probe = new CreateOnlyProbe(store, env);
  /** Polls every 5 s for this long. */
  const run = async (durationMs: number): Promise<void> => {
    for (const endMs = nowMs + durationMs; nowMs < endMs; nowMs += 5_000) {
      probe.startDue(nowMs);
      for (let turn = 0; turn < 4; turn++) await Promise.resolve();
    }
  };
  return { probe, run, askedMs, keys, lines, now: () => nowMs };
}

test("CreateOnlyProbe probes an enforcing store once", async () => {
  const { run, askedMs } = probed(["yes"]);
  await run(100 * HOUR_MS);
  expect(askedMs).toEqual([0]);
});

test("CreateOnlyProbe probes a store that does not enforce them again, less and less often", async () => {
  const { run, askedMs, keys } = probed(["no"]);
  await run(100 * HOUR_MS);
  const hours = askedMs.map((atMs) => atMs / HOUR_MS);
  expect(hours).toEqual([0, 1, 3, 7, 15, 31, 55, 79]);
  expect(keys.size).toBe(hours.length);
});

test("CreateOnlyProbe probes until the store is reachable, without a log line", async () => {
  const { run, askedMs, lines } = probed(["away", "away", "away", "yes"]);
  await run(HOUR_MS);
  expect(askedMs).toEqual([0, 5_000, 15_000, 35_000]);
  expect(new Set(lines.map(({ level }) => level))).toEqual(new Set(["debug"]));
});

test("CreateOnlyProbe probes again when the store is back, at most once a minute", async () => {
  const { probe, run, askedMs, now } = probed(["no", "no", "yes"]);
  await run(20_000);
  probe.recovered(now());
  await run(60_000);
  probe.recovered(now());
  await run(30_000);
  expect(askedMs).toEqual([0, 60_000]);
  await run(HOUR_MS);
  expect(askedMs).toEqual([0, 60_000, 120_000]);
  probe.recovered(now());
  await run(HOUR_MS);
  expect(askedMs.length).toBe(3);
});

test("CreateOnlyProbe does not probe a folder", async () => {
  const { run, askedMs } = probed(["no"], "file");
  await run(HOUR_MS);
  expect(askedMs).toEqual([]);
});

/** Orphans of process 1, with processes of the test's making. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { parseStat, REAP_INTERVAL_MS, reapOrphans } from "../../../src/commands/watch/reap-orphans.ts";
import { ManualTime } from "../../observability/manual-time.ts";

test("reapOrphans waits for a zombie at its second sight, and for no other process of that id", async () => {
  const time = new ManualTime();
  const ending = new AbortController();
  const reaped: number[] = [];
  /** At each check: start times by process id. */
  const checks = [
    [
      [7, "a"],
      [8, "b"],
    ],
    [
      [7, "a"],
      [8, "c"],
      [9, "d"],
    ],
    [[8, "c"]],
  ] as const;
  let check = 0;
  const processes = {
    zombies: () => new Map<number, string>(checks[check++]!.map(([pid, start]) => [pid, start])),
    reap: (pid: number) => void reaped.push(pid),
  };
  const done = reapOrphans(ending.signal, time.env, processes);
  const seen: number[][] = [];
  for (const _ of checks) {
    await time.sleeping(REAP_INTERVAL_MS);
    seen.push(reaped.splice(0));
    if (check < checks.length) time.pass(REAP_INTERVAL_MS);
  }
  ending.abort();
  await done;
  expect(seen).toEqual([[], [7], [8]]);
});

test("parseStat reads past a name with spaces and parentheses", () => {
  const text = `12 (a) Z 1 (b) S 34 ${Array.from({ length: 17 }, (_, index) => index).join(" ")} 5678 9`;
  expect(parseStat(text)).toEqual({ state: "S", parent: 34, startTime: "5678" });
});

test.skipIf(process.platform !== "linux")("parseStat reads this process", () => {
  const { state, parent } = parseStat(readFileSync("/proc/self/stat", "latin1"));
  expect(["R", "S"]).toContain(state);
  expect(parent).toBe(process.ppid);
});

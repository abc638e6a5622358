/** A sync that was not in time names the silence of the store, if that is long enough to be the reason. */
import { expect, test } from "bun:test";
import { withSilence } from "../../../src/replication/requests/silent-store.ts";
import type { SyncedDatabase } from "../../../src/replication/requests/sync-request.ts";

const behind = {
  name: "app",
  path: "/srv/app.db",
  outcome: "behind",
  uploadedTxid: 4,
  pendingCount: 1,
  pendingBytes: 900,
  durationMs: 5_000,
  problem: { code: "storage", message: "The last commits are not uploaded yet", hint: "wait" },
} as unknown as SyncedDatabase;

test("withSilence adds the seconds, and where to look", () => {
  const { problem } = withSilence(behind, 12_900);
  expect(problem).toMatchObject({
    code: "storage",
    message: "The last commits are not uploaded yet: the store has taken no request for 12 s",
  });
  expect(problem!.hint).toContain("check the network");
});

test.each([
  ["a short silence", behind, 999],
  ["a database in time", { ...behind, outcome: "synced", problem: null } as SyncedDatabase, 60_000],
  ["a stopped database", { ...behind, outcome: "stopped" } as SyncedDatabase, 60_000],
])("withSilence leaves %s as it is", (_, result, silentMs) => {
  expect(withSilence(result, silentMs)).toBe(result);
});

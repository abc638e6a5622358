/** The poller of one database beside a job that reads it: no finding about the files is lost. */
import { afterEach, expect, test } from "bun:test";
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import type { LiveDatabase } from "../../../src/replication/capture/live-database.ts";
import { WalPoller } from "../../../src/replication/capture/wal-poller.ts";
import type { WatchContext } from "../../../src/replication/context/watch-context.ts";
import { CAPTURES_ONLY, configWith } from "../../support/config.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { closeAll, pinned, walDatabase } from "../../support/runs/pinned-database.ts";

afterEach(closeAll);

const HOUR_MS = 3_600_000;
const BESIDE_A_JOB = { mayCheckpoint: false, fileNews: "touched" } as const;
/** No event since the last check; a second later the poller may check the files. */
const STILL = { mayCheckpoint: true, fileNews: "still" } as const;

test.each([
  ["a removed -shm", (path: string) => rmSync(`${path}-shm`), { kind: "replaced" }],
  ["an overwritten file", overwrite, { kind: "mixture" }],
])("poll finds %s again after a job that could not follow it", async (_, change, expected) => {
  const { path } = await walDatabase();
  const { env } = recordingEnv();
  const config = configWith({ sync: { walSyncIntervalMs: HOUR_MS } }, CAPTURES_ONLY);
  const conditions = { raise() {}, clear() {} };
  const poller = new WalPoller("app", { env, config, conditions } as unknown as WatchContext);
  const position = { state: null, pending: [], mayRestart: false, changeCount: null, pinLost: null };
  const live = { path, pin: pinned(path), ...position } as unknown as LiveDatabase;
  const nowMs = env.monotonicMs();
  poller.anchored(nowMs);
  expect(poller.poll(live, nowMs, { ...BESIDE_A_JOB, fileNews: "unknown" }).kind).toBe("quiet");
  change(path);
  expect(poller.poll(live, nowMs + 10, BESIDE_A_JOB)).toMatchObject(expected);
  // The check does not count: the event stands until the watcher has followed the finding.
  expect(poller.filesCheckedMs).toBeLessThan(nowMs);
  expect(poller.poll(live, nowMs + 1_100, STILL)).toMatchObject(expected);
});

function overwrite(path: string): void {
  const fd = openSync(path, "r+");
  writeSync(fd, Buffer.alloc(100, 7), 0, 100, 5000);
  closeSync(fd);
}

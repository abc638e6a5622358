/**
 * A poll of a database without locks, beside an application that checkpoints and empties the WAL in the
 * middle of the poll.
 */
import { expect, test } from "bun:test";
import { copyFileSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import type { LocklessPin } from "../../../src/database/pin/lockless-pin.ts";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import { attach } from "../../../src/replication/attach/attach.ts";
import { anchor } from "../../../src/replication/capture/anchor.ts";
import { FILE_WRITTEN, LocklessPoller } from "../../../src/replication/capture/lockless-poller.ts";
import { eventually } from "../../support/eventually.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { newDatabase } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const system = systemEnv(SILENT_LOG);
const WRITTEN = { kind: "re-anchor", reason: FILE_WRITTEN } as const;

/** The database file once its WAL is copied into it. */
async function checkpointed(path: string): Promise<Buffer> {
  const copy = `${path}.copy`;
  copyFileSync(path, copy);
  copyFileSync(`${path}-wal`, `${copy}-wal`);
  const app = await SqliteProcess.open(copy);
  await app.must("PRAGMA wal_checkpoint(TRUNCATE)");
  await app.close();
  return readFileSync(copy);
}

test("a checkpoint that empties the WAL in the middle of a poll hides no commit from a request", async () => {
  const { path, app } = await newDatabase();
  await app.must("PRAGMA wal_checkpoint(TRUNCATE)");
  rmSync(`${path}-shm`);
  const target = { path, name: "app", paths: stateFolderOf(path) };
  const { live, anchor: due } = await attach(target, new MemoryStore(), system);
  const pin = live.pin as LocklessPin;
  let onCapture = (): void => {};
  const nowMs = (): number => {
    onCapture();
    return system.nowMs();
  };
  const poller = new LocklessPoller({ ...system, nowMs });
  const poll = () => poller.poll(live, pin, system.monotonicMs(), true);
  const anchored = async () => (await anchor(live, live.state ?? due!.before, system)).kind === "anchored";
  expect(poll()).toEqual(WRITTEN);
  await eventually("the first anchor", anchored);
  expect(poll()).toEqual({ kind: "quiet" });

  await app.must("INSERT INTO t(v) VALUES ('before the request')");
  const file = await checkpointed(path);
  onCapture = () => {
    writeFileSync(path, file);
    truncateSync(pin.walPath, 0);
  };
  expect(poll()).toEqual(WRITTEN);
  onCapture = () => {};
  await eventually("the second anchor", anchored);
  expect(Number(live.state!.txid)).toBe(2);
  pin.close();
  await app.kill();
});

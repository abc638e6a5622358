/**
 * A restore on the machine where the database was watched: from the spool beside it before the network, with
 * what was captured and never uploaded, and without it where the spool is damaged or the bucket went on.
 */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { localCopiesOrNull } from "../../../src/commands/shared/local-copies.ts";
import { leaveState } from "../../../src/commands/shared/restored-state.ts";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { LocalPlaces } from "../../../src/local/places.ts";
import { readState } from "../../../src/local/state.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import type { LocalCopies } from "../../../src/recovery/object/object-source.ts";
import { type RestoreResult, restore } from "../../../src/recovery/restore/restore-database.ts";
import type { MaintenanceOptions } from "../../../src/replication/context/policies.ts";
import { DEFAULT_UPKEEP } from "../../../src/replication/upkeep/maintenance.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { newDatabase, watchOne } from "../../support/runs/watch-run.ts";
import { FaultyStore, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const env = systemEnv(SILENT_LOG);
const KEEPING: MaintenanceOptions = {
  ...DEFAULT_UPKEEP,
  compaction: null,
  snapshots: { intervalMs: 0, maxChanges: 0, maxIntervalMs: 0, onIdleMs: 0, onStartup: false },
  retentionIntervalMs: 0,
  retainAfterSnapshot: false,
  cacheRetentionMs: 86_400_000,
};

interface Lost {
  readonly path: string;
  readonly store: FaultyStore;
  readonly memory: MemoryStore;
  /** The database's content before it was lost. */
  readonly image: Buffer;
}

/**
 * A watched database with TXIDs up to 4 in the bucket and up to 6 only in the spool; then the file is lost.
 */
async function lostWithUnsent(): Promise<Lost> {
  const { path, app } = await newDatabase();
  const memory = new MemoryStore();
  const store = new FaultyStore(memory);
  const run = await watchOne(path, store, { maintenance: KEEPING, shutdownTimeoutMs: 100 });
  for (let txid = 2; txid <= 4; txid++) await run.commit(app, `INSERT INTO t(v) VALUES (${txid})`);
  store.before = (operation) => {
    if (operation === "put") throw unreachable();
  };
  for (let txid = 5; txid <= 6; txid++) {
    await app.must(`INSERT INTO t(v) VALUES (${txid})`);
    await run.until(`the capture of ${txid}`, () => {
      const reading = readState(stateFolderOf(path));
      return reading.kind === "state" && reading.state.txid === txid;
    });
  }
  await app.close();
  const image = imageOf(path);
  await run.stop();
  store.before = () => {};
  for (const suffix of ["", "-wal", "-shm"]) rmSync(`${path}${suffix}`, { force: true });
  return { path, store, memory, image };
}

const PLACES = LocalPlaces.standard();

function restoreAt({ path, store }: Lost, local: LocalCopies | null): Promise<RestoreResult> {
  const request = {
    name: "app",
    outputPath: path,
    force: false,
    dryRun: false,
    point: { kind: "latest" },
  } as const;
  const leave = (restored: Parameters<typeof leaveState>[0]): void =>
    leaveState(restored, store.url, env, PLACES);
  return restore(request, { store, env, leaveState: leave, local: local ?? undefined });
}

test("restore takes what was never uploaded from the spool, and the next watch uploads it", async () => {
  const lost = await lostWithUnsent();
  const local = localCopiesOrNull(lost.path, lost.store.url, "app", PLACES);
  expect(local?.unsent.map(({ maxTxid }) => Number(maxTxid))).toEqual([5, 6]);
  const gets: string[] = [];
  lost.store.before = (operation, key) => {
    if (operation === "get" && key.endsWith(".ltx")) gets.push(key);
  };
  const result = await restoreAt(lost, local);
  expect(result.txid).toBe(6);
  expect(Buffer.compare(readFileSync(lost.path), lost.image)).toBe(0);
  // Increments are kept when they were sent, snapshots are not: only that came over the network.
  expect(gets.every((key) => key.includes("/0009/"))).toBe(true);
  const run = await watchOne(lost.path, lost.store, { maintenance: KEEPING });
  await run.uploaded(6);
  await run.stop();
  expect((await provenHistory(lost.memory, "app")).at(-1)?.txid).toBe(6);
  expect(Buffer.compare(await newestImage(lost.memory, "app"), lost.image)).toBe(0);
});

test("restore of another destination or name knows no spool", async () => {
  const { path, store } = await lostWithUnsent();
  expect(localCopiesOrNull(path, "s3://elsewhere", "app", PLACES)).toBeNull();
  expect(localCopiesOrNull(path, store.url, "other", PLACES)).toBeNull();
});

test("a damaged copy in the spool is passed over for the bucket's object", async () => {
  const lost = await lostWithUnsent();
  const sent = join(stateFolderOf(lost.path).spoolFolder, "sent");
  for (const name of readdirSync(sent)) {
    const bytes = readFileSync(join(sent, name));
    bytes[150] = bytes[150]! ^ 1;
    writeFileSync(join(sent, name), bytes);
  }
  await restoreAt(lost, localCopiesOrNull(lost.path, lost.store.url, "app", PLACES));
  expect(Buffer.compare(readFileSync(lost.path), lost.image)).toBe(0);
});

test("what the bucket went on without is void: the bucket alone is restored", async () => {
  const lost = await lostWithUnsent();
  const local = localCopiesOrNull(lost.path, lost.store.url, "app", PLACES);
  const elsewhere = await newDatabase();
  const run = await watchOne(elsewhere.path, lost.memory);
  await run.uploaded(5);
  await run.stop();
  const result = await restoreAt(lost, local);
  expect(result.txid).toBe(5);
  expect(Buffer.compare(readFileSync(lost.path), await newestImage(lost.memory, "app"))).toBe(0);
  await elsewhere.app.close();
});

/**
 * Every crash point of a capture whose increment goes into a log (spool-log.ts): the record, the state and
 * the page sums each arrived on the disk, or not, or in part, and the acknowledgement of the increment before
 * is noted or not. The next attach continues or anchors, nothing committed is lost, no object is overwritten,
 * and the bucket restores byte for byte.
 */
import { afterEach, expect, test } from "bun:test";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import type { Txid } from "../../../src/format/types.ts";
import { isRecord, SpoolLog } from "../../../src/local/spool-log.ts";
import { stateFolderAt, stateFolderOf } from "../../../src/local/state-folder.ts";
import { attach } from "../../../src/replication/attach/attach.ts";
import { anchor } from "../../../src/replication/capture/anchor.ts";
import { capture } from "../../../src/replication/capture/capture.ts";
import type { LiveDatabase } from "../../../src/replication/capture/live-database.ts";
import { publish } from "../../../src/replication/upload/publish.ts";
import { mergePending } from "../../../src/replication/upload/spool-merge.ts";
import { uploadPending } from "../../../src/replication/upload/uploader.ts";
import { rebooted } from "../../support/histories/old-state.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { provenHistory } from "../../support/oracles/history-oracle.ts";
import type { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { newDatabase } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const { env } = recordingEnv();

/** A file as a crash leaves it, from its content before and after the capture. */
type Arrival = (before: Buffer | null, after: Buffer) => Uint8Array | null;

const LOGS: Readonly<Record<string, Arrival>> = {
  "without the record": (before) => before,
  "with half of the record": (before, after) => {
    const start = before?.length ?? 0;
    return after.subarray(0, start + (after.length - start) / 2);
  },
  "with the record": (_, after) => after,
  missing: () => null,
};

const STATES: Readonly<Record<string, Arrival>> = {
  old: (before) => before,
  new: (_, after) => after,
  missing: () => null,
};

const PAGE_SUMS: Readonly<Record<string, Arrival>> = { old: (before) => before, new: (_, after) => after };

let app: SqliteProcess | null = null;
let live: LiveDatabase | null = null;

afterEach(async () => {
  live?.pin.close();
  live = null;
  await app?.close();
  app = null;
});

/** Attaches as a new process does, and anchors if that is due. */
async function attached(path: string, store: MemoryStore): Promise<LiveDatabase> {
  const paths = stateFolderAt(stateFolderOf(path).folder);
  const { live: made, anchor: due } = await attach({ path, name: "app", paths }, store, env);
  live = made;
  made.log = new SpoolLog(paths.spoolFolder);
  if (due !== null) expect((await anchor(made, due.before, env)).kind).not.toBe("later");
  return made;
}

async function captureAll(made: LiveDatabase): Promise<void> {
  if (capture(made, env).kind !== "re-anchor") return;
  expect((await anchor(made, made.state!, env)).kind).not.toBe("later");
}

async function uploadAll(made: LiveDatabase, store: MemoryStore): Promise<void> {
  const context = { store, version: "test", env, emit: () => {}, keepsSent: true };
  for (const lane of ["links", "snapshots"] as const) {
    const outcome = await uploadPending(made, context, new AbortController().signal, lane);
    expect(outcome).toEqual({ kind: "drained" });
  }
}

async function commit(): Promise<void> {
  await app!.must("INSERT INTO t(v) VALUES (randomblob(2000))", "UPDATE t SET v = 'x' WHERE id % 2 = 0");
}

function contentOf(path: string): Buffer | null {
  try {
    return readFileSync(path);
  } catch {
    return null;
  }
}

function put(path: string, content: Uint8Array | null): void {
  if (content === null) rmSync(path, { force: true });
  else writeFileSync(path, content);
}

/** The next process: continues, and brings the bucket up to the database. */
async function continueAndProve(path: string, store: MemoryStore): Promise<void> {
  const next = await attached(path, store);
  await captureAll(next);
  await uploadAll(next, store);
  const newest = (await provenHistory(store, "app")).at(-1)!;
  expect(newest.txid as number).toBe(next.state!.txid);
  expect(Buffer.compare(newest.image, imageOf(path))).toBe(0);
}

/** One history with a crash of each kind after the other. */
async function crashInEveryWay(
  state: Arrival,
  isUploaded: boolean,
  isReboot: boolean,
  kinds: readonly string[] = Object.keys(LOGS),
): Promise<void> {
  const made = await newDatabase();
  app = made.app;
  const store = new MemoryStore();
  await uploadAll(await attached(made.path, store), store);
  for (const logIs of kinds) {
    const log = LOGS[logIs]!;
    for (const [sumsAre, sums] of Object.entries(PAGE_SUMS)) {
      const before = live!;
      const { statePath, sumsPath } = before.paths;
      // An acknowledged increment whose mark is owed.
      await commit();
      await captureAll(before);
      await uploadAll(before, store);
      const [oldState, oldSums] = [contentOf(statePath), contentOf(sumsPath)];
      await commit();
      const logsBefore = contentsOf(before.paths.spoolFolder);
      const outcome = capture(before, env);
      if (outcome.kind !== "captured") throw new Error(`the capture is ${outcome.kind}`);
      const { file } = outcome;
      expect(isRecord(file)).toBe(true);
      const logged = readFileSync(file.path);
      if (isUploaded) await uploadAll(before, store);
      before.pin.close();
      const stored = state(oldState, readFileSync(statePath));
      put(statePath, isReboot && stored !== null ? rebooted(Buffer.from(stored)) : stored);
      put(sumsPath, sums(oldSums, readFileSync(sumsPath)));
      put(file.path, log(logsBefore.get(file.path) ?? null, logged));
      try {
        await continueAndProve(made.path, store);
      } catch (error) {
        throw new Error(`the log ${logIs}, the sums ${sumsAre}`, { cause: error });
      }
    }
  }
}

function contentsOf(folder: string): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (const name of new Bun.Glob("*.ltxs").scanSync({ cwd: folder })) {
    found.set(`${folder}/${name}`, readFileSync(`${folder}/${name}`));
  }
  return found;
}

test.each(Object.entries(STATES))("a power cut before the upload, the state %s", (_, state) =>
  crashInEveryWay(state, false, true),
);

test.each(Object.entries(STATES))("a power cut after the upload, the state %s", (_, state) =>
  crashInEveryWay(state, true, true),
);

// A kill leaves every write that was done, in order: the state is never ahead of the record.
test.each([
  ["old", Object.keys(LOGS)],
  ["new", ["with the record"]],
])("a SIGKILL before the upload, the state %s", (state, kinds) =>
  crashInEveryWay(STATES[state]!, false, false, kinds),
);

test("captures that an earlier process may have sent are not merged", async () => {
  const made = await newDatabase();
  app = made.app;
  const store = new MemoryStore();
  const first = await attached(made.path, store);
  await uploadAll(first, store);
  for (let count = 0; count < 5; count++) {
    await commit();
    await captureAll(first);
  }
  // The store has three: one is noted, the mark of the next is owed, and the answer for the third is lost.
  const [one, two, three] = first.pending;
  await uploadAll({ ...first, pending: [one!, two!] }, store);
  await publish({ store, name: "app", writer: first.state!.writer, version: "test" }, three!);
  first.pin.close();
  const next = await attached(made.path, store);
  expect(next.pending.map(({ maxTxid }) => maxTxid)).toEqual([3, 4, 5, 6] as Txid[]);
  mergePending(next);
  expect(next.pending.map(({ maxTxid }) => maxTxid)).toEqual([3, 4, 6] as Txid[]);
  await uploadAll(next, store);
  const newest = (await provenHistory(store, "app")).at(-1)!;
  expect(Buffer.compare(newest.image, imageOf(made.path))).toBe(0);
});

// Seed 112 of the simulator: a power cut took the oldest capture that waited. The start after could not ask
// the store, captured, and crashed; the next start was of the same boot and uploaded after a gap.
test("captures after one that is lost are not uploaded, whenever the power was cut", async () => {
  const made = await newDatabase();
  app = made.app;
  const store = new MemoryStore();
  const first = await attached(made.path, store);
  await uploadAll(first, store);
  for (let count = 0; count < 2; count++) {
    first.log = new SpoolLog(first.paths.spoolFolder);
    await commit();
    await captureAll(first);
  }
  rmSync(first.pending[0]!.path);
  first.pin.close();
  await continueAndProve(made.path, store);
});

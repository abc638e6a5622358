/**
 * Every crash point of a capture: the state, the spool file and the page sums each arrived on the disk, or
 * not, or in part, in every combination, as after a SIGKILL between two writes or a power cut. The next
 * attach continues or anchors, nothing committed is lost, and the bucket restores byte for byte.
 */
import { afterEach, expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stateFolderAt, stateFolderOf } from "../../../src/local/state-folder.ts";
import { attach } from "../../../src/replication/attach/attach.ts";
import { anchor } from "../../../src/replication/capture/anchor.ts";
import { capture } from "../../../src/replication/capture/capture.ts";
import type { LiveDatabase } from "../../../src/replication/capture/live-database.ts";
import { uploadPending } from "../../../src/replication/upload/uploader.ts";
import { rebooted } from "../../support/histories/old-state.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { provenHistory } from "../../support/oracles/history-oracle.ts";
import type { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { newDatabase } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const { env } = recordingEnv();
const SLOT_SIZE = 512;

/** A file of the state folder as a crash leaves it, from its content before and after the capture. */
type Arrival = (before: Buffer, after: Buffer) => Uint8Array | null;

const STATES: Readonly<Record<string, Arrival>> = {
  old: (before) => before,
  "torn in its new slot": (before, after) => {
    const torn = Buffer.from(before);
    const changed = [...after.keys()].filter((at) => after[at] !== before[at]);
    for (const at of changed.slice(0, changed.length / 2)) torn[at] = after[at]!;
    return torn;
  },
  new: (_, after) => after,
  "without a valid slot": (_, after) => Buffer.from(after).fill(0, after.length - 2 * SLOT_SIZE),
  "cut to nothing": () => new Uint8Array(0),
  missing: () => null,
};

const SPOOL_FILES: Readonly<Record<string, Arrival>> = {
  missing: () => null,
  empty: () => new Uint8Array(0),
  "cut off": (_, after) => after.subarray(0, after.length / 2),
  whole: (_, after) => after,
};

const PAGE_SUMS: Readonly<Record<string, Arrival>> = {
  old: (before) => before,
  "half written": (before, after) => {
    const half = Buffer.from(before);
    after.copy(half, 0, 0, after.length / 2);
    return half;
  },
  new: (_, after) => after,
};

/** The application while walrust is down. */
const MEANWHILE: Readonly<Record<string, readonly string[]>> = {
  rests: [],
  "restarts the WAL": ["PRAGMA wal_checkpoint(TRUNCATE)", "INSERT INTO t(v) VALUES (randomblob(3000))"],
};

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
  if (due !== null) expect((await anchor(made, due.before, env)).kind).not.toBe("later");
  return made;
}

async function captureAll(made: LiveDatabase): Promise<void> {
  if (capture(made, env).kind !== "re-anchor") return;
  expect((await anchor(made, made.state!, env)).kind).not.toBe("later");
}

async function uploadAll(made: LiveDatabase, store: MemoryStore): Promise<void> {
  const context = { store, version: "test", env, emit: () => {}, keepsSent: false };
  for (const lane of ["links", "snapshots"] as const) {
    const outcome = await uploadPending(made, context, new AbortController().signal, lane);
    expect(outcome).toEqual({ kind: "drained" });
  }
}

function put(path: string, content: Uint8Array | null): void {
  if (content === null) rmSync(path, { force: true });
  else writeFileSync(path, content);
}

/** A capture, a crash that leaves the files like this, and the next process. */
async function crash(
  path: string,
  store: MemoryStore,
  arrivals: { state: Arrival; spool: Arrival; sums: Arrival; meanwhile: readonly string[] },
  { isUploaded, isReboot }: { isUploaded: boolean; isReboot: boolean },
): Promise<void> {
  const before = live!;
  const { statePath, sumsPath, spoolFolder } = before.paths;
  const [oldState, oldSums] = [readFileSync(statePath), readFileSync(sumsPath)];
  await app!.must("INSERT INTO t(v) VALUES (randomblob(2000))", "UPDATE t SET v = 'x' WHERE id % 2 = 0");
  const outcome = capture(before, env);
  if (outcome.kind !== "captured") throw new Error(`the capture is ${outcome.kind}`);
  const spooled = readFileSync(outcome.file.path);
  if (isUploaded) await uploadAll(before, store);
  before.pin.close();
  const state = arrivals.state(oldState, readFileSync(statePath));
  put(statePath, isReboot && state !== null && state.length > 0 ? rebooted(state) : state);
  put(sumsPath, arrivals.sums(oldSums, readFileSync(sumsPath)));
  put(outcome.file.path, arrivals.spool(spooled, spooled));
  await app!.must(...arrivals.meanwhile);
  const next = await attached(path, store);
  await captureAll(next);
  await uploadAll(next, store);
  const newest = (await provenHistory(store, "app")).at(-1)!;
  expect(newest.txid as number).toBe(next.state!.txid);
  expect(Buffer.compare(newest.image, imageOf(path))).toBe(0);
  expect(readdirSync(spoolFolder)).toEqual([]);
}

/** Runs every combination in one history. */
async function crashInEveryWay(
  state: Arrival,
  spoolFiles: Readonly<Record<string, Arrival>>,
  kind: { isUploaded: boolean; isReboot: boolean },
): Promise<void> {
  const made = await newDatabase();
  app = made.app;
  const store = new MemoryStore();
  await uploadAll(await attached(made.path, store), store);
  for (const [spoolIs, spool] of Object.entries(spoolFiles)) {
    for (const [sumsAre, sums] of Object.entries(PAGE_SUMS)) {
      for (const [appDoes, meanwhile] of Object.entries(MEANWHILE)) {
        try {
          await crash(made.path, store, { state, spool, sums, meanwhile }, kind);
        } catch (error) {
          const found = `spool file ${spoolIs}, sums ${sumsAre}, the application ${appDoes}`;
          throw new Error(found, { cause: error });
        }
      }
    }
  }
}

test.each(Object.entries(STATES))("a power cut before the upload, the state %s", (_, state) =>
  crashInEveryWay(state, SPOOL_FILES, { isUploaded: false, isReboot: true }),
);

test.each(Object.entries(STATES))("a power cut after the upload, the state %s", (_, state) => {
  const { missing, whole } = SPOOL_FILES;
  return crashInEveryWay(state, { missing: missing!, whole: whole! }, { isUploaded: true, isReboot: true });
});

// A kill leaves every write that was done, in order: the state is never ahead of the spool file.
test.each([
  ["old", ["missing", "empty", "cut off", "whole"]],
  ["new", ["whole"]],
])("a SIGKILL before the upload, the state %s", (state, kinds) => {
  const spoolFiles = Object.fromEntries(kinds.map((kind) => [kind, SPOOL_FILES[kind]!]));
  return crashInEveryWay(STATES[state]!, spoolFiles, { isUploaded: false, isReboot: false });
});

test("a crash of a capture leaves no file that the next process keeps", async () => {
  const made = await newDatabase();
  app = made.app;
  const store = new MemoryStore();
  const first = await attached(made.path, store);
  const { folder, spoolFolder } = first.paths;
  first.pin.close();
  const leftovers = [
    join(folder, "state.json.0123456789abcdef.tmp"),
    join(spoolFolder, "0000-0000000000000002-0000000000000002.ltx"),
    join(spoolFolder, "0000-0000000000000002-0000000000000002.ltx.0123456789abcdef.tmp"),
  ];
  for (const path of leftovers) writeFileSync(path, "cut off");
  const next = await attached(made.path, store);
  expect(readdirSync(folder).sort()).toEqual(["ltx", "pages.sum", "state.json"]);
  expect(readdirSync(spoolFolder)).toEqual(next.pending.map(({ path }) => path.split("/").at(-1)!));
});

/**
 * Uploads into a prefix that somebody has emptied: the watch notices within the next uploads, and takes a
 * snapshot at once. A database whose objects are there costs a HEAD now and then, and an idle one none.
 */
import { afterEach, expect, test } from "bun:test";
import { startStandingCheck } from "../../../src/replication/upload/standing-check.ts";
import { UploadHistory } from "../../../src/replication/upload/upload-history.ts";
import { putTiny, TinyHistory } from "../../support/histories/tiny-history.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { allKeys } from "../../support/oracles/history-oracle.ts";
import { restoredImage } from "../../support/oracles/restored-image.ts";
import { type SqliteProcess, waitUntil } from "../../support/processes/sqlite-process.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { FaultyStore, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { ShiftedClock } from "../../support/shifted-clock.ts";

const MINUTE_MS = 60_000;

const apps: SqliteProcess[] = [];
const runs: WatchRun[] = [];

afterEach(async () => {
  for (const run of runs.splice(0)) await run.stop();
  for (const app of apps.splice(0)) await app.kill();
});

/** A watch whose check at the start is over. */
async function watched() {
  const { path, app } = await newDatabase();
  apps.push(app);
  const clock = new ShiftedClock();
  const store = new FaultyStore(new MemoryStore());
  // The shortest time between two checks.
  const overrides = { ...clock.overrides, random: () => 0 };
  const run = await new WatchRun([targetOf(path)], store, {}, overrides).watching();
  runs.push(run);
  await run.uploaded(1);
  await run.until("the check at the start", () => run.status().listedTimeMs !== null);
  const commit = async (): Promise<void> => void (await run.commit(app, "INSERT INTO t(v) VALUES (1)"));
  const empty = async (): Promise<void> => void (await store.inner.delete(await allKeys(store.inner)));
  return { path, clock, store, run, commit, empty };
}

async function expectRepaired({ run, store, path }: Awaited<ReturnType<typeof watched>>): Promise<void> {
  await run.until("sound again", () => run.all("condition").at(-1)?.state === "cleared");
  expect(run.all("condition").map(({ code, state }) => [code, state])).toEqual([
    ["not-restorable", "raised"],
    ["not-restorable", "cleared"],
  ]);
  expect(Buffer.compare(await restoredImage(store, "app"), imageOf(path))).toBe(0);
}

test("a database that is written to all the time: a HEAD notices within ten minutes", async () => {
  const all = await watched();
  const { clock, store, run, commit, empty } = all;
  const heads = (): number => store.calls.filter((call) => call.startsWith("head app/")).length;
  await commit();
  const before = heads();
  for (let minute = 0; minute < 9; minute++) {
    clock.pass(MINUTE_MS);
    await commit();
  }
  expect(heads()).toBe(before);
  clock.pass(MINUTE_MS);
  await commit();
  await run.until("the head", () => heads() === before + 1);
  await empty();
  for (let minute = 0; minute < 9; minute++) {
    clock.pass(MINUTE_MS);
    await commit();
  }
  expect(run.all("condition")).toEqual([]);
  clock.pass(MINUTE_MS);
  await commit();
  await expectRepaired(all);
});

test("a database that is written to now and then: the next upload after ten minutes notices", async () => {
  const all = await watched();
  const { clock, commit, empty, run, store } = all;
  await commit();
  clock.pass(11 * MINUTE_MS);
  await commit();
  const requests = store.calls.length;
  // The link from before the pause is there: nothing follows the listing.
  clock.pass(11 * MINUTE_MS);
  await commit();
  await run.until("the listing", () =>
    store.calls.slice(requests).some((call) => call.startsWith("list app/")),
  );
  expect(run.all("condition")).toEqual([]);
  await empty();
  clock.pass(11 * MINUTE_MS);
  await commit();
  await expectRepaired(all);
});

/** A bucket with a snapshot, and the history of an uploader whose next check is due. */
async function due(hasSnapshot: boolean) {
  const store = new FaultyStore(new MemoryStore());
  if (hasSnapshot)
    await putTiny(store.inner as MemoryStore, "app", new TinyHistory(seededRandom(1)).commit(1));
  const env = { nowMs: 0, random: () => 0 };
  const history = new UploadHistory();
  const check = (): void => {
    const { nowMs, random } = env;
    startStandingCheck("app", { store, env: { monotonicMs: () => nowMs, random } }, history, SIGNAL);
  };
  check();
  env.nowMs = 10 * MINUTE_MS;
  return { store, history, check };
}

const SIGNAL = new AbortController().signal;

test.each([
  ["there", true, false],
  ["missing", false, true],
])("a snapshot that is %s", async (_, hasSnapshot, isSuspected) => {
  const { store, history, check } = await due(hasSnapshot);
  expect(store.calls).toEqual([]);
  check();
  await waitUntil(() => store.calls.some((call) => call.startsWith(isSuspected ? "list" : "head")));
  await waitUntil(() => history.isLossSuspected === isSuspected);
  expect([history.takeSuspicion(), history.takeSuspicion()]).toEqual([isSuspected, false]);
});

test("a store that fails arouses no suspicion; a listing under way takes the place of the head", async () => {
  const { store, history, check } = await due(true);
  store.before = () => {
    throw unreachable();
  };
  check();
  await waitUntil(() => store.calls.length > 0);
  expect(history.isLossSuspected).toBe(false);
  const other = await due(false);
  other.history.overlap = { isRunning: true } as UploadHistory["overlap"];
  other.check();
  expect([other.store.calls, other.history.isLossSuspected]).toEqual([[], false]);
});

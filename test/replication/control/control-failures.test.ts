/** The answers of a watch to a request that a failure prevents. */
import { expect, test } from "bun:test";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { WalrustError } from "../../../src/errors.ts";
import { RequestWait } from "../../../src/replication/requests/request-wait.ts";
import { breakerOf } from "../../support/config.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { askForSnapshot } from "../../support/runs/watch-requests.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { FaultyStore, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

async function failureOf(work: Promise<unknown>): Promise<WalrustError> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (error instanceof WalrustError) return error;
  throw error ?? new Error("it did not fail");
}

/** A watch over a store that the test can make unavailable, with one commit since its first snapshot. */
async function watched(
  change: ConstructorParameters<typeof WatchRun>[2] = {},
  overrides: ConstructorParameters<typeof WatchRun>[3] = {},
) {
  const { path, app } = await newDatabase();
  const store = new FaultyStore(new MemoryStore());
  const run = await new WatchRun([targetOf(path)], store, change, overrides).watching();
  await run.uploaded(1);
  await run.commit(app, "INSERT INTO t(v) VALUES (1)");
  return { path, app, store, run };
}

const isSnapshot = (key: string): boolean => key.includes("/0009/") && key.endsWith("2.ltx");

test("a snapshot that cannot be uploaded returns the store's error, and is uploaded later", async () => {
  const { path, app, store, run } = await watched();
  let failures = 0;
  store.before = (operation) => {
    if (operation !== "put") return;
    failures++;
    throw unreachable();
  };
  const error = await failureOf(askForSnapshot(path, store));
  expect(failures).toBeGreaterThan(1);
  expect([error.code, error.exitCode]).toEqual(["storage", 4]);
  expect(error.message).toBe(
    "The snapshot of TXID 2 is captured and waits beside the database; " +
      "it goes up by itself when the store answers again: Cannot reach the store: connection refused",
  );
  store.before = () => {};
  const uploaded = (): boolean => run.all("uploaded").some(({ key }) => isSnapshot(key));
  await run.until("the snapshot", uploaded);
  await run.stop();
  await app.close();
});

test("one failed call does not end a request", async () => {
  const { path, app, store, run } = await watched();
  let failures = 0;
  store.before = (operation, key) => {
    if (operation === "put" && isSnapshot(key) && failures++ === 0) throw unreachable();
  };
  expect(await askForSnapshot(path, store)).toMatchObject({ txid: 2 });
  expect(failures).toBe(2);
  await run.stop();
  await app.close();
});

test("an open circuit breaker ends a request as soon as the snapshot is captured", async () => {
  const { path, app, store, run } = await watched({ retry: breakerOf(1, 3_600_000) });
  store.before = (operation) => {
    if (operation === "put") throw unreachable();
  };
  await app.must("INSERT INTO t(v) VALUES (2)");
  await run.until("the open circuit", () => run.all("circuit-open").length === 1);
  const error = await failureOf(askForSnapshot(path, store));
  expect([error.code, error.message.slice(0, 34)]).toEqual(["storage", "The snapshot of TXID 3 is captured"]);
  expect(run.all("circuit-open").length).toBe(1);
  store.before = () => {};
  await run.stop();
  await app.close();
});

test("a snapshot that cannot be taken is answered with the cause", async () => {
  const { path, app, store, run } = await watched({}, { monotonicMs: () => 10 * performance.now() });
  const { spoolFolder } = targetOf(path).paths;
  renameSync(spoolFolder, `${spoolFolder}.away`);
  writeFileSync(spoolFolder, "no folder");
  const error = await failureOf(askForSnapshot(path, store));
  expect(error.message).toStartWith("The snapshot is not taken yet; the watch goes on trying: ");
  expect(error.exitCode).not.toBe(4);
  rmSync(spoolFolder);
  renameSync(`${spoolFolder}.away`, spoolFolder);
  await waitUntil(() => store.puts.some(isSnapshot), 4_000);
  await run.stop();
  await app.close();
});

const GONE = new WalrustError("storage", "gone");
const swapped = (): WalrustError => new WalrustError("database", "another file");
const SWAPPED = swapped();
const BUSY = new WalrustError("database-busy", "busy");

/** The time when the wait ends, over polls at these times (s), each with its current failure. */
function endOf(looks: readonly (readonly [seconds: number, failure: WalrustError | null])[]): number | null {
  const wait = new RequestWait();
  for (const [seconds, failure] of looks) {
    if (wait.poll({ failure, isSuspended: false }, seconds * 1_000) !== null) return seconds;
  }
  return null;
}

test.each([
  ["nothing is wrong", [0, 60], [null, null], null],
  ["one failure since", [0, 1, 60], [null, GONE, GONE], null],
  ["a second failure", [0, 1, 2], [null, GONE, unreachable()], 2],
  ["a second failure after it went well in between", [0, 1, 2, 3], [null, GONE, null, unreachable()], null],
  ["one that was there and stays", [0, 9, 10], [GONE, GONE, GONE], 10],
  ["one that was there and was tried again", [0, 1], [GONE, unreachable()], 1],
  ["a database in use, for a moment", [0, 9, 10], [BUSY, BUSY, null], null],
  ["a database in use, then one failure", [0, 1, 2], [BUSY, GONE, GONE], null],
  ["a database being replaced", [0, 1, 2, 3], [null, SWAPPED, swapped(), null], null],
  ["a database in use that stays so", [0, 1, 11], [null, BUSY, BUSY], 11],
] as const)("RequestWait with %s", (_, seconds, failures, end) => {
  expect(endOf(seconds.map((second, index) => [second, failures[index] ?? null] as const))).toBe(end);
});

/**
 * Snapshots on schedule, compaction and retention beside a writing application. Both walrust and Litestream
 * can restore from the bucket at any time.
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { eventually } from "../../support/eventually.ts";
import { createAppDatabase, judgeAppDatabase } from "../../support/histories/app-rows.ts";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { AppWriter } from "../../support/processes/app-writer.ts";
import { documentOf, mustWalrust, runWalrust } from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { newDestination, type TestDestination } from "../../support/servers/destinations.ts";
import { litestreamRestore } from "../../support/servers/litestream.ts";
import { testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";

const OFTEN = ["--wal-sync-interval", "0.05", "--min-checkpoint-pages", "200", "--compact-threshold", "8"];
const SNAPSHOTS = ["--max-changes", "150", "--on-idle", "0.5", "--snapshot-interval", "2"];
const FEW = ["--hourly", "1", "--daily", "0", "--weekly", "0", "--monthly", "0"];
const RETAIN = [
  "--retain-hourly",
  "1",
  "--retain-daily",
  "0",
  "--retain-weekly",
  "0",
  "--retain-monthly",
  "0",
];
const ROUNDS = 4;

/** The fields of `compact --json` that the tests read. */
interface Compacted {
  readonly databases: readonly { readonly compacted: readonly unknown[] }[];
}

/** A watched database with a writer beside it. */
async function start(destination: TestDestination, flags: readonly string[]) {
  const folder = tempFolder("data-plane");
  const database = join(folder, "app.db");
  createAppDatabase(database);
  const writer = new AppWriter(database, folder, { pauseMs: 5 });
  const watch = await WatchProcess.start([database, ...destination.words, ...OFTEN, ...flags], destination);
  await watch.waitForUploads(2);
  return { folder, database, writer, watch, destination };
}

/**
 * Restores the newest until `isOver`. Each restore is whole and has every acknowledged commit. @returns how
 * many
 */
async function restoreUntil(
  { folder, writer, watch, destination }: Awaited<ReturnType<typeof start>>,
  isOver: () => boolean,
): Promise<number> {
  let count = 0;
  while (!isOver() || count === 0) {
    const output = join(folder, `restored-${count}.db`);
    const uploaded = watch.uploads().at(-1)!;
    const promised = writer.newestBefore(uploaded.time!);
    const words = ["restore", "app", "-o", output, ...destination.words, "--json"];
    const { txid } = documentOf<{ txid: number }>(await mustWalrust(words, destination));
    expect(txid).toBeGreaterThanOrEqual(uploaded.txid!);
    expect(judgeAppDatabase(output).get(1) ?? 0).toBeGreaterThanOrEqual(promised);
    count++;
  }
  return count;
}

async function assertLitestreamRestores(
  { folder, destination }: Awaited<ReturnType<typeof start>>,
  label: string,
): Promise<void> {
  const output = join(folder, `litestream-${label}.db`);
  await litestreamRestore(destination, "app", output);
  expect(judgeAppDatabase(output).size).toBe(1);
}

function maxTxidOf({ maxTxid }: { readonly maxTxid: number }): number {
  return maxTxid;
}

async function restorableThroughout(kind: "file" | "s3"): Promise<void> {
  const destination = await newDestination(kind);
  const running = await start(destination, [...SNAPSHOTS, "--compact-after-snapshot", ...RETAIN]);
  const { folder, database, writer, watch } = running;
  await assertLitestreamRestores(running, "before");
  let isOver = false;
  let merges = 0;
  const restores = restoreUntil(running, () => isOver);
  for (let round = 1; round <= ROUNDS; round++) {
    await watch.waitForUploads(12);
    const words = ["compact", "app", "--force", ...FEW, ...destination.words, "--json"];
    const { databases } = documentOf<Compacted>(await mustWalrust(words, destination));
    merges += databases[0]!.compacted.length;
    if (round === 2) await assertLitestreamRestores(running, "during");
  }
  isOver = true;
  expect(await restores).toBeGreaterThan(0);
  await writer.stop();
  // A stop between a deletion and the manifest after it leaves the manifest stale, which `verify` reports.
  await eventually("the last snapshot, and retention after it", async () => {
    const objects = await destination.objects("app");
    const newest = (level?: number): number =>
      Math.max(...objects.filter((one) => level === undefined || one.level === level).map(maxTxidOf));
    // Retention keeps two snapshots here: with more of them it is still to come.
    if (newest(9) < newest() || objects.filter(({ level }) => level === 9).length > 2) return false;
    return (await runWalrust(["verify", "app", ...destination.words], destination)).exitCode === 0;
  });
  expect(await watch.stop()).toBe(0);
  await assertLitestreamRestores(running, "after");

  const objects = await destination.objects("app");
  const snapshots = objects.filter(({ level }) => level === 9);
  expect(watch.uploads().filter(({ kind: of }) => of === "snapshot").length).toBeGreaterThan(
    snapshots.length,
  );
  expect(merges + watch.eventsOf("compacted").length).toBeGreaterThan(0);
  const oldest = Math.min(...snapshots.map(({ maxTxid }) => maxTxid));
  expect(oldest).toBeGreaterThan(1);
  const output = join(folder, "last.db");
  await mustWalrust(["restore", "app", "-o", output, ...destination.words], destination);
  checkpoint(database);
  assertSameBytes(output, database);
  await mustWalrust(["verify", "app", "--read-data", ...destination.words], destination);
}

testWith("litestream")(
  "the bucket is restorable while watch snapshots, compacts and prunes it (file://)",
  () => restorableThroughout("file"),
  60_000,
);

testWith("litestream", "versitygw")(
  "the bucket is restorable while watch snapshots, compacts and prunes it (S3)",
  () => restorableThroughout("s3"),
  60_000,
);

test.each([
  ["max-changes", ["--max-changes", "100"]],
  ["snapshot-interval", ["--snapshot-interval", "1"]],
  ["max-interval", ["--max-interval", "1"]],
])("watch --%s takes snapshots, each of which is the start of a restore", async (_, flags) => {
  const running = await start(await newDestination("file"), flags);
  const { watch, writer, destination, folder } = running;
  const taken = () => watch.uploads().filter(({ kind }) => kind === "snapshot");
  await watch.waitFor("two snapshots", () => taken().length >= 3);
  await writer.stop();
  expect(await watch.stop()).toBe(0);
  for (const { txid } of taken()) {
    const output = join(folder, `snapshot-${txid}.db`);
    const words = ["restore", "app", "-o", output, "--point-in-time", `txid:${txid}`, ...destination.words];
    const { objects } = documentOf<{ objects: number }>(await mustWalrust([...words, "--json"]));
    expect([txid, objects]).toEqual([txid, 1]);
    judgeAppDatabase(output);
  }
});

test("watch --on-idle takes one snapshot when the application pauses", async () => {
  const running = await start(await newDestination("file"), ["--on-idle", "0.3", "--max-interval", "0"]);
  const { watch, writer } = running;
  await writer.waitForCommits(20);
  await writer.stop();
  const taken = () => watch.uploads().filter(({ kind }) => kind === "snapshot");
  await watch.waitFor("a snapshot", () => taken().length >= 2);
  expect(await watch.stop()).toBe(0);
  expect(taken().at(-1)!.txid).toBe(Math.max(...watch.uploads().map(({ txid }) => txid!)));
});

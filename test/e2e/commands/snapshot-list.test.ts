/**
 * `snapshot` beside a writing application, and the output of `list` for a healthy and for a broken backup.
 */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { createAppDatabase, judgeAppDatabase } from "../../support/histories/app-rows.ts";
import { recordHistory } from "../../support/histories/history.ts";
import { AppWriter } from "../../support/processes/app-writer.ts";
import { documentOf, mustWalrust, runWalrust } from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination, newDestination } from "../../support/servers/destinations.ts";
import { testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";

interface SnapshotDocument {
  readonly name: string;
  readonly txid: number;
  readonly key: string;
  readonly time: string;
  readonly bytes: number;
  readonly database_bytes: number;
  readonly duration_ms: number;
}

async function snapshotBesideWriters(kind: "file" | "s3"): Promise<void> {
  const destination = await newDestination(kind);
  const folder = tempFolder("snapshot");
  const database = join(folder, "app.db");
  createAppDatabase(database);
  const writers = [1, 2].map(
    (writer) => new AppWriter(database, folder, { writer, seed: writer, isRestless: true }),
  );
  const words = ["snapshot", database, ...destination.words, "--json"];
  const promised: number[][] = [];
  const snapshots: SnapshotDocument[] = [];
  for (let round = 0; round < 4; round++) {
    await writers[round % 2]!.waitForCommits(30);
    promised.push(writers.map((writer) => writer.newest()));
    snapshots.push(documentOf<SnapshotDocument>(await mustWalrust(words, destination)));
  }
  for (const writer of writers) await writer.stop();
  const stored = (await destination.objects("app")).filter(({ level }) => level === 9);
  expect(stored.map(({ minTxid, maxTxid }) => [minTxid, maxTxid])).toEqual(
    snapshots.map(({ txid }) => [1, txid]),
  );
  for (const [round, { txid, bytes, database_bytes: databaseBytes }] of snapshots.entries()) {
    const output = join(folder, `restored-${round}.db`);
    const point = ["--point-in-time", `txid:${txid}`, "--json"];
    const run = await mustWalrust(
      ["restore", "app", "-o", output, ...destination.words, ...point],
      destination,
    );
    expect(documentOf(run)).toMatchObject({ objects: 1, bytes: databaseBytes, downloaded_bytes: bytes });
    const numbers = judgeAppDatabase(output);
    for (const [index, number] of promised[round]!.entries()) {
      expect(numbers.get(index + 1) ?? 0).toBeGreaterThanOrEqual(number);
    }
  }
}

test("snapshot is consistent and complete while the application writes (file://)", () =>
  snapshotBesideWriters("file"));

testWith("versitygw")("snapshot is consistent and complete while the application writes (S3)", () =>
  snapshotBesideWriters("s3"),
);

test("snapshot describes its result as text and as JSON", async () => {
  const destination = fileDestination();
  const database = join(tempFolder("snapshot"), "app.db");
  createAppDatabase(database);
  const text = await mustWalrust(["snapshot", database, ...destination.words]);
  expect(text.stdout).toMatch(
    new RegExp(`^app: snapshot of TXID 1 \\(.+ as .+\\) in ${destination.url} after \\d+ ms\\n$`),
  );
  const document = documentOf(await mustWalrust(["snapshot", database, ...destination.words, "--json"]));
  const [stored] = await destination.objects("app");
  expect(document).toMatchObject({
    name: "app",
    txid: 1,
    key: "app/ltx/9/0000000000000001-0000000000000001.ltx",
    time: expect.stringMatching(/^\d{4}-\d{2}-\d{2}T.*Z$/),
    bytes: stored!.sizeBytes,
    database_bytes: statSync(database).size,
    duration_ms: expect.any(Number),
  });
});

test("a running watch takes the requested snapshot; a second watch ends with 3", async () => {
  const destination = fileDestination();
  const database = join(tempFolder("snapshot"), "app.db");
  createAppDatabase(database);
  const watch = await WatchProcess.start([database, ...destination.words]);
  await watch.waitForUploads(1);
  const connection = new Database(database);
  connection.run("INSERT INTO counter VALUES (1, 0)");
  const words = [database, ...destination.words, "--json"];
  const { txid, key } = documentOf<SnapshotDocument>(await mustWalrust(["snapshot", ...words]));
  expect([txid, key]).toEqual([2, "app/ltx/9/0000000000000001-0000000000000002.ltx"]);
  const stored = (await destination.objects("app")).map(({ level, maxTxid }) => [level, maxTxid]);
  expect(stored).toEqual([
    [0, 2],
    [9, 1],
    [9, 2],
  ]);

  const second = await runWalrust(["watch", ...words]);
  expect(second.exitCode).toBe(3);
  const last = second.stdout.trimEnd().split("\n").at(-1)!;
  expect(JSON.parse(last)).toMatchObject({ error: { code: "locked", exit: 3 } });
  connection.run("INSERT INTO counter VALUES (2, 0)");
  await watch.waitForTxid(3);
  connection.close(true);
  expect(await watch.stop()).toBe(0);
  expect((await runWalrust(["snapshot", ...words])).exitCode).toBe(0);
});

test("list shows every database with its range, as a table and as JSON", async () => {
  const history = await recordHistory(fileDestination(), ["DELETE FROM item", "DROP TABLE ballast"]);
  const { destination, points } = history;
  const other = join(tempFolder("other"), "other.db");
  createAppDatabase(other);
  await mustWalrust(["snapshot", other, ...destination.words]);
  const [oldest, newest] = [points[0]!, points.at(-1)!];

  const { stdout } = await mustWalrust(["list", ...destination.words]);
  const lines = stdout.trimEnd().split("\n");
  expect(lines[0]).toMatch(/^DATABASE +SNAPSHOTS +INCREMENTS +SIZE +FROM TXID +TO TXID$/);
  expect(lines[1]).toMatch(new RegExp(`^app +1 +2 +\\S+ KB +1 ${oldest.time} +3 ${newest.time}$`));
  expect(lines[2]).toMatch(/^other +1 +0 /);
  expect(lines.length).toBe(3);

  const objects = await destination.objects("app");
  const run = await mustWalrust(["list", "app", ...destination.words, "--json"]);
  expect(documentOf(run)).toMatchObject({
    destination: destination.url,
    databases: [
      {
        name: "app",
        prefix: "",
        snapshots: [
          { txid: 1, time: oldest.time, bytes: objects.find(({ level }) => level === 9)!.sizeBytes },
        ],
        increments: 2,
        bytes: objects.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
        min: { txid: 1, time: oldest.time },
        max: { txid: 3, time: newest.time },
        restorable: { "0": 2, "9": 1 },
        problems: [],
      },
    ],
  });
});

test("list reports a gap in a backup, and a backup without a snapshot", async () => {
  const { destination } = await recordHistory(fileDestination());
  const folder = join(destination.url.slice("file://".length), "app", "ltx");
  rmSync(join(folder, "0", "0000000000000004-0000000000000004.ltx"));
  const gap = await mustWalrust(["list", ...destination.words]);
  expect(gap.stdout).toContain("app: a gap after TXID 3; run walrust verify app");
  rmSync(join(folder, "9"), { recursive: true });
  const run = await mustWalrust(["list", ...destination.words, "--json"]);
  expect(documentOf(run)).toMatchObject({ databases: [{ problems: ["no snapshot to begin with"] }] });
});

test("list of an empty destination succeeds; a missing destination or name is an error", async () => {
  const folder = tempFolder("list");
  const empty = join(folder, "empty");
  mkdirSync(empty);
  const nothing = await mustWalrust(["list", "-b", `file://${empty}`]);
  expect(nothing.stdout).toBe(`Nothing is stored in file://${empty}\n`);
  expect((await runWalrust(["list", "app", "-b", `file://${empty}`])).exitCode).toBe(6);
  const missing = await runWalrust(["list", "-b", `file://${folder}/missing`, "--json"]);
  expect(missing.exitCode).toBe(4);
  expect(documentOf(missing)).toMatchObject({ error: { code: "missing-bucket", exit: 4 } });
});

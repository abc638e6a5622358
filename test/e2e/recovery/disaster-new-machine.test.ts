/**
 * A disk is lost, and the history continues on another machine, after a restore or without any local state.
 * Every point before and after remains restorable byte for byte. The new watch uploads only the differences.
 */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { documentOf, mustWalrust } from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { newDestination, type TestDestination } from "../../support/servers/destinations.ts";
import { testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";

const FLAGS = ["--wal-sync-interval", "0.02"];
/** Random bytes, so that compression hides no full upload. */
const BALLAST_SIZE = 1_000_000;

/** The application's database on one machine, and its image at each point. */
class Machine {
  readonly database: string;
  connection: Database;

  constructor(
    readonly folder: string,
    readonly images: Map<number, string>,
  ) {
    this.database = join(folder, "app.db");
    this.connection = new Database(this.database);
    this.connection.run("PRAGMA journal_mode = WAL");
  }

  /** Commits, waits for the upload, and keeps the image. */
  async step(watch: WatchProcess, sql: string, txid: number): Promise<void> {
    this.connection.run(sql);
    await watch.waitForTxid(txid);
    await this.record(txid);
  }

  async record(txid: number): Promise<void> {
    const path = join(tempFolder("images"), `image-${txid}`);
    writeFileSync(path, this.connection.serialize());
    this.images.set(txid, path);
  }
}

/** A machine with TXIDs 1 to 4 uploaded and its watch killed. */
async function firstMachine(destination: TestDestination): Promise<Machine> {
  const folder = join(tempFolder("machine"), "one");
  mkdirSync(folder);
  const machine = new Machine(folder, new Map());
  machine.connection.run("CREATE TABLE item (id INTEGER PRIMARY KEY, body)");
  machine.connection.run(`INSERT INTO item (body) VALUES (randomblob(${BALLAST_SIZE}))`);
  const watch = await WatchProcess.start([machine.database, ...destination.words, ...FLAGS], destination);
  await watch.waitForTxid(1);
  await machine.record(1);
  for (let txid = 2; txid <= 4; txid++) {
    await machine.step(watch, `INSERT INTO item (body) VALUES ('on the first machine, ${txid}')`, txid);
  }
  await watch.kill();
  machine.connection.close(true);
  return machine;
}

/** Restores and compares every recorded point, and checks that level 0 has no gap. */
async function assertAllPoints(
  destination: TestDestination,
  images: ReadonlyMap<number, string>,
): Promise<void> {
  for (const [txid, image] of images) {
    const output = join(tempFolder("point"), "app.db");
    const words = ["restore", "app", "-o", output, "--point-in-time", `txid:${txid}`, ...destination.words];
    await mustWalrust(words, destination);
    expect([txid, readFileSync(output).equals(readFileSync(image))]).toEqual([txid, true]);
  }
  const increments = (await destination.objects("app")).filter(({ level }) => level === 0);
  expect(increments.map(({ minTxid, maxTxid }) => [minTxid, maxTxid])).toEqual(
    increments.map((_, index) => [index + 2, index + 2]),
  );
  await mustWalrust(["verify", "app", "--read-data", ...destination.words], destination);
}

/** Continues on a machine that has the database, with two more points. @returns the uploads */
async function goOn(
  destination: TestDestination,
  machine: Machine,
  nextTxid: number,
): Promise<{ txid: number; bytes: number; kind: string }[]> {
  const watch = await WatchProcess.start([machine.database, ...destination.words, ...FLAGS], destination);
  await watch.waitFor("watching", () => watch.eventsOf("watching").length > 0);
  for (let txid = nextTxid; txid < nextTxid + 2; txid++) {
    await machine.step(watch, `INSERT INTO item (body) VALUES ('on the second machine, ${txid}')`, txid);
  }
  machine.connection.close(true);
  expect(await watch.stop()).toBe(0);
  return watch.uploads().map(({ txid, bytes, kind }) => ({ txid: txid!, bytes: bytes!, kind: kind! }));
}

async function restoreAndGoOn(kind: "file" | "s3"): Promise<void> {
  const destination = await newDestination(kind);
  const one = await firstMachine(destination);
  rmSync(one.folder, { recursive: true });
  const folder = join(tempFolder("machine"), "two");
  const database = join(folder, "app.db");
  const words = ["restore", "app", "-o", database, ...destination.words, "--json"];
  expect(documentOf(await mustWalrust(words, destination))).toMatchObject({ txid: 4 });
  expect(readFileSync(database).equals(readFileSync(one.images.get(4)!))).toBe(true);
  const two = new Machine(folder, one.images);
  expect(basename(two.database)).toBe("app.db");
  const uploads = await goOn(destination, two, 5);
  expect(uploads.map(({ txid }) => txid)).toEqual([5, 6]);
  for (const { bytes } of uploads) expect(bytes).toBeLessThan(BALLAST_SIZE / 20);
  await assertAllPoints(destination, two.images);
}

test("disk lost, restore, watch on a new machine: one history, only differences (file://)", () =>
  restoreAndGoOn("file"));

testWith("versitygw")("disk lost, restore, watch on a new machine: one history, only differences (S3)", () =>
  restoreAndGoOn("s3"),
);

/** Moves the database to a new machine, without its state. */
async function moveAndGoOn(kind: "file" | "s3", flags: readonly string[]): Promise<void> {
  const destination = await newDestination(kind);
  const one = await firstMachine(destination);
  const folder = join(tempFolder("machine"), "two");
  mkdirSync(folder);
  renameSync(one.database, join(folder, "app.db"));
  rmSync(one.folder, { recursive: true });
  const two = new Machine(folder, one.images);
  const words = [two.database, ...destination.words, ...FLAGS, ...flags];
  const watch = await WatchProcess.start(words, destination);
  await watch.waitForTxid(5);
  await two.record(5);
  expect(watch.stderr).toContain("continuing after TXID 4 of the bucket with a full file");
  await two.step(watch, "INSERT INTO item (body) VALUES ('on the second machine')", 6);
  two.connection.close(true);
  expect(await watch.stop()).toBe(0);
  const full = watch.uploads().filter(({ bytes }) => bytes! > BALLAST_SIZE);
  expect(full.map(({ txid, kind: of }) => [txid, of])).toEqual([[5, "increment"]]);
  await assertAllPoints(destination, two.images);
}

test("watch without local state on a prefix with objects: one full file, then differences (file://)", () =>
  moveAndGoOn("file", ["--on-startup=false", "--snapshot-interval", "0"]));

testWith("versitygw")("watch without local state on a prefix with objects: one full file (S3)", () =>
  moveAndGoOn("s3", ["--on-startup=false", "--snapshot-interval", "0"]),
);

// Regression: the start ignored the age of the bucket's newest snapshot, and took one more.
test("watch without local state takes no snapshot while the bucket's newest is young", () =>
  moveAndGoOn("file", []));

test("watch after a restore to an older point continues after the newest TXID", async () => {
  const destination = await newDestination("file");
  const one = await firstMachine(destination);
  rmSync(one.folder, { recursive: true });
  const folder = join(tempFolder("machine"), "two");
  const database = join(folder, "app.db");
  const before = await destination.objects("app");
  const point = ["--point-in-time", "txid:2"];
  await mustWalrust(["restore", "app", "-o", database, ...point, ...destination.words], destination);
  const two = new Machine(folder, one.images);
  const watch = await WatchProcess.start([database, ...destination.words, ...FLAGS], destination);
  await watch.waitForTxid(5);
  await two.record(5);
  await two.step(watch, "INSERT INTO item (body) VALUES ('another future')", 6);
  two.connection.close(true);
  expect(await watch.stop()).toBe(0);
  const after = await destination.objects("app");
  for (const object of before) expect(after).toContainEqual(object);
  await assertAllPoints(destination, two.images);
});

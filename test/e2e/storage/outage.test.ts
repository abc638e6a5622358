/**
 * A bucket that is unreachable for a while: capture continues, the history has no gap, and the log reports
 * the outage once.
 */
import { afterEach, expect } from "bun:test";
import { join } from "node:path";
import { Gate } from "../../support/gate.ts";
import { createAppDatabase, judgeAppDatabase } from "../../support/histories/app-rows.ts";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { AppWriter } from "../../support/processes/app-writer.ts";
import { mustWalrust } from "../../support/processes/binary.ts";
import { type WatchLine, WatchProcess } from "../../support/processes/watch-process.ts";
import { s3Destination, sharedGateway } from "../../support/servers/destinations.ts";
import { testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";

const OFTEN = ["--wal-sync-interval", "0.1", "--min-checkpoint-pages", "200"];

let gate: Gate | null = null;

afterEach(async () => {
  await gate?.shut();
});

const nameOf = ({ database }: WatchLine): string => database;

/** A watched database with a writer, behind a gate. */
async function watchThroughGate(): Promise<{
  gate: Gate;
  destination: ReturnType<typeof s3Destination>;
  folder: string;
  database: string;
  writer: AppWriter;
  watch: WatchProcess;
}> {
  const gateway = await sharedGateway();
  const opened = await Gate.to(gateway.url);
  gate = opened;
  const destination = s3Destination(gateway, opened.url);
  const folder = tempFolder("outage");
  const database = join(folder, "app.db");
  createAppDatabase(database);
  const writer = new AppWriter(database, folder);
  const watch = await WatchProcess.start([database, ...destination.words, ...OFTEN], destination);
  await watch.waitForUploads(3);
  return { gate: opened, destination, folder, database, writer, watch };
}

testWith("versitygw")("watch rides out a bucket that is gone: everything arrives, in order", async () => {
  const { gate, destination, folder, database, writer, watch } = await watchThroughGate();
  await gate.shut();
  await watch.waitFor("failed", () => watch.eventsOf("failed").length > 0);
  const before = watch.uploads().length;
  await writer.waitForCommits(100);
  expect(watch.uploads().length).toBe(before);
  await gate.open();
  await watch.waitFor("recovered", () => watch.eventsOf("recovered").length > 0);
  await writer.stop();
  expect(await watch.stop()).toBe(0);

  expect(watch.eventsOf("failed").length).toBe(1);
  expect(watch.eventsOf("recovered").length).toBe(1);
  expect(watch.events.findIndex(({ event }) => event === "failed")).toBeLessThan(
    watch.events.findIndex(({ event }) => event === "recovered"),
  );
  // The captures of the outage went as one object, so the points are fewer than the captures, and in order.
  const txids = watch.uploads().map(({ txid }) => txid!);
  expect(txids).toEqual([...new Set(txids)].sort((a, b) => a - b));
  const links = (await destination.objects("app")).filter(({ level }) => level === 0);
  const ends = [1, ...links.map(({ maxTxid }) => maxTxid)];
  expect(links.map(({ minTxid }) => minTxid - 1)).toEqual(ends.slice(0, -1));
  expect(links.length).toBeLessThan(txids.at(-1)! - 1);
  const restored = join(folder, "restored.db");
  await mustWalrust(["restore", "app", "-o", restored, ...destination.words], destination);
  expect(judgeAppDatabase(restored).get(1)).toBe(writer.newest());
  checkpoint(database);
  assertSameBytes(restored, database);
});

testWith("versitygw")("watch ends at once with 143 on a second SIGTERM while it cannot drain", async () => {
  const { gate, writer, watch } = await watchThroughGate();
  await gate.shut();
  await writer.waitForCommits(50);
  const startMs = performance.now();
  await watch.signalUntilEnd("SIGTERM");
  expect(await watch.exit()).toBe(143);
  expect(performance.now() - startMs).toBeLessThan(4_000);
});

testWith("versitygw")(
  "watch ends at once with 130 on a second SIGINT, and the next one uploads the rest",
  async () => {
    const { gate, destination, folder, database, writer, watch } = await watchThroughGate();
    await gate.shut();
    await writer.waitForCommits(50);
    await writer.stop();
    await watch.signalUntilEnd("SIGINT");
    expect(await watch.exit()).toBe(130);
    await gate.open();
    const next = await WatchProcess.start([database, ...destination.words, ...OFTEN], destination);
    await next.waitFor("watching", () => next.eventsOf("watching").length > 0);
    expect(await next.stop()).toBe(0);
    const restored = join(folder, "restored.db");
    await mustWalrust(["restore", "app", "-o", restored, ...destination.words], destination);
    checkpoint(database);
    assertSameBytes(restored, database);
  },
);

testWith("versitygw")(
  "watch stops draining at its timeout, reports pending files, and ends with 0",
  async () => {
    const { gate, writer, watch } = await watchThroughGate();
    await gate.shut();
    await writer.waitForCommits(50);
    const startMs = performance.now();
    expect(await watch.stop()).toBe(0);
    expect(performance.now() - startMs).toBeGreaterThan(4_000);
    expect(watch.stderr).toContain("not all captured files were uploaded");
  },
);

testWith("versitygw")("watch that starts without its bucket goes on when it is there", async () => {
  const { gate, destination, folder, database, writer, watch } = await watchThroughGate();
  await writer.stop();
  expect(await watch.stop()).toBe(0);
  await gate.shut();
  const fresh = join(folder, "fresh.db");
  createAppDatabase(fresh);
  const words = [database, fresh, ...destination.words, ...OFTEN];
  const next = await WatchProcess.start(words, destination);
  const resumed = new AppWriter(database, folder);
  await next.waitFor("both to be said", () => new Set(next.eventsOf("failed").map(nameOf)).size === 2);
  await resumed.waitForCommits(50);
  await gate.open();
  await next.waitFor("both to recover", () => next.eventsOf("recovered").length === 2);
  await resumed.stop();
  expect(await next.stop()).toBe(0);
  expect(next.eventsOf("failed").map(nameOf).sort()).toEqual(["app", "fresh"]);
  expect(next.eventsOf("recovered").map(nameOf).sort()).toEqual(["app", "fresh"]);
  expect(next.uploads("fresh").map(({ txid }) => txid)).toEqual([1]);
  for (const [name, path] of [
    ["app", database],
    ["fresh", fresh],
  ] as const) {
    const restored = join(folder, `${name}.restored`);
    await mustWalrust(["restore", name, "-o", restored, ...destination.words], destination);
    checkpoint(path);
    assertSameBytes(restored, path);
  }
});

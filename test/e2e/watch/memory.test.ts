/**
 * The resident memory of the built executable: `watch` and `replicate` fall below their peak while they wait,
 * and go on working. The bound is a ratio to the peak of the same process.
 */
import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import { closeSync, fsyncSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ENGINE_OPTIONS } from "../../../src/commands/memory/small-engine.ts";
import { eventually } from "../../support/eventually.ts";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { mustWalrust, spawnWalrust, walrustBinary } from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

/** Without trimming the ratio stays above 0.9; with trimming it is about a half. */
const MAX_SHARE_OF_PEAK = 0.75;

/** Pages of a new file count as dirty until the kernel has written them, and dirty mappings are left. */
async function writeBackExecutable(): Promise<void> {
  const fd = openSync(await walrustBinary(), "r");
  fsyncSync(fd);
  closeSync(fd);
}

function residentShareOfPeak(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const kilobytes = (name: string): number => Number(status.match(new RegExp(`${name}:\\s+(\\d+)`))![1]);
  return kilobytes("VmRSS") / kilobytes("VmHWM");
}

async function waitForTrim(pid: number): Promise<void> {
  await eventually("RSS below its peak", async () => residentShareOfPeak(pid) < MAX_SHARE_OF_PEAK);
}

test.skipIf(process.platform !== "linux")(
  "a watch has a small engine from its start, and keeps its process id and its name",
  async () => {
    const destination = fileDestination();
    const database = join(tempFolder("memory"), "app.db");
    createAppDatabase(database);
    const watch = await WatchProcess.start([database, ...destination.words]);
    await watch.waitForTxid(1);
    const read = (name: string): string => readFileSync(`/proc/${watch.pid}/${name}`, "utf8");
    for (const name of Object.keys(ENGINE_OPTIONS)) expect(read("environ")).toContain(`${name}=`);
    expect(read("comm").trim()).toBe("walrust");
    expect(read("cmdline").split("\0")[1]).toBe("watch");
    expect(await watch.stop()).toBe(0);
  },
);

test.skipIf(process.platform !== "linux")(
  "an idle watch gives back the pages of its start, and replicates after it",
  async () => {
    await writeBackExecutable();
    const destination = fileDestination();
    const folder = tempFolder("memory");
    const database = join(folder, "app.db");
    createAppDatabase(database);
    const watch = await WatchProcess.start([database, ...destination.words, "--log-level", "debug"]);
    await watch.waitForTxid(1);
    for (const table of ["one", "two", "three"]) {
      await waitForTrim(watch.pid);
      const connection = new Database(database);
      connection.run(`CREATE TABLE ${table} (id INTEGER)`);
      connection.close();
      await watch.waitForUploads(1);
    }
    expect(await watch.stop()).toBe(0);
    expect(watch.stderr).not.toContain("not trimmed");
    await mustWalrust(["restore", "app", "-o", join(folder, "restored.db"), ...destination.words]);
  },
);

test.skipIf(process.platform !== "linux")("a waiting replica gives back the pages of its start", async () => {
  await writeBackExecutable();
  const destination = fileDestination();
  const folder = tempFolder("memory");
  const database = join(folder, "app.db");
  createAppDatabase(database);
  await mustWalrust(["snapshot", database, ...destination.words]);
  const words = ["replicate", "app", "--local", join(folder, "replica.db"), ...destination.words];
  const replica = await spawnWalrust(words);
  await waitForTrim(replica.pid);
  replica.kill("SIGTERM");
  expect(await replica.exited).toBe(0);
});

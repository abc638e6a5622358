/**
 * A watch that runs out of descriptors (EMFILE): no file and no connection can be opened. The watch lives,
 * names the reason, and uploads everything when it may open files again.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { readlinkSync } from "node:fs";
import { join } from "node:path";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { mustWalrust } from "../../support/processes/binary.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { newDestination } from "../../support/servers/destinations.ts";
import { testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

/** Sets the limit on descriptors of a running process. */
function limitDescriptors(pid: number, count: number): void {
  const run = Bun.spawnSync(["prlimit", "--pid", String(pid), `--nofile=${count}:`]);
  if (!run.success) throw new Error(run.stderr.toString());
}

const canLimit = process.platform === "linux" && Bun.which("prlimit") !== null;

for (const kind of ["file", "s3"] as const) {
  const run = kind === "s3" ? testWith("versitygw") : test.skipIf(!canLimit);
  run(`watch without descriptors for a while, to ${kind}, loses nothing`, async () => {
    if (!canLimit) return;
    const destination = await newDestination(kind);
    const path = join(tempFolder("limited"), "app.db");
    const app = await SqliteProcess.open(path);
    await app.must("PRAGMA journal_mode = WAL", "CREATE TABLE t(v)");
    const words = [path, ...destination.words, "--wal-sync-interval", "0.02"];
    const watch = await WatchProcess.start(words, destination);
    await watch.waitForTxid(1);
    limitDescriptors(watch.pid, 3);
    for (let row = 0; row < 5; row++) await app.must("INSERT INTO t VALUES (randomblob(5000))");
    await watch.waitFor("the failure", () => watch.eventsOf("failed").length > 0);
    expect(readlinkSync(`/proc/${watch.pid}/exe`)).toContain("walrust");
    limitDescriptors(watch.pid, 1024);
    await watch.waitFor("the recovery", () => watch.eventsOf("recovered").length > 0);
    await app.must("INSERT INTO t VALUES ('last')");
    expect(await watch.stop()).toBe(0);
    expect(watch.stderr).toMatch(/EMFILE|too many open files/i);
    await app.close();
    const restored = join(tempFolder("limited"), "restored.db");
    await mustWalrust(["restore", "app", "-o", restored, ...destination.words], destination);
    checkpoint(path);
    assertSameBytes(restored, path);
  });
}

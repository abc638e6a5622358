/**
 * `bun run demo`: a disk dies, in a minute. A shop commits orders while walrust replicates its database. The
 * demo kills both with SIGKILL, deletes the folder of the database, restores the database with walrust, and
 * compares every row with the commits of the shop. All files lie in the git-ignored `.demo/`; they stay there
 * only after a failure.
 */
import { Database } from "bun:sqlite";
import { mkdir, readFile, rm } from "node:fs/promises";
import { join, relative } from "node:path";
import { createOrders, expectedOrders, readOrders } from "./demo/orders.ts";
import { BINARY, bunCommand, capture, ensurePackages, fail, ROOT, run } from "./toolchain.ts";

const DEMO_FOLDER = join(ROOT, ".demo");
const DATABASE_FOLDER = join(DEMO_FOLDER, "database");
const DATABASE = join(DATABASE_FOLDER, "orders.db");
const JOURNAL = join(DEMO_FOLDER, "journal.txt");
const BUCKET = `file://${DEMO_FOLDER}/bucket`;
const RUN_MS = 10_000;
const START_LIMIT_MS = 15_000;
/** A capture carries the time after its read of the WAL, so a commit just before that time may be missing. */
const CAPTURE_TOLERANCE_MS = 100;

/** The event of `watch --json` after the store has acknowledged an object. */
interface Upload {
  readonly event: string;
  readonly txid: number;
  /** Time of the capture, RFC 3339. */
  readonly time: string;
}

/** One commit that SQLite had acknowledged to the shop. */
interface Commit {
  readonly number: number;
  readonly atMs: number;
}

async function prepare(): Promise<void> {
  await ensurePackages();
  if ((await run(bunCommand("scripts/build.ts"))) !== 0) fail("The executable cannot be built");
  await rm(DEMO_FOLDER, { recursive: true, force: true });
  await mkdir(DATABASE_FOLDER, { recursive: true });
  const database = new Database(DATABASE);
  database.run("PRAGMA journal_mode = WAL");
  createOrders(database);
  database.close();
}

/** Runs shop and watcher side by side, then kills both at once. Returns the announced uploads. */
async function runUntilDisaster(): Promise<Upload[]> {
  const shop = Bun.spawn(bunCommand("scripts/demo/orders.ts", DATABASE, JOURNAL), {
    cwd: ROOT,
    stdio: ["ignore", "inherit", "inherit"],
  });
  const watcher = Bun.spawn([BINARY, "watch", DATABASE, "-b", BUCKET, "--json", "--log-level", "warn"], {
    cwd: DEMO_FOLDER,
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const uploads: Upload[] = [];
    const firstUpload = Promise.withResolvers<void>();
    const reading = readLines(watcher.stdout, (line) => {
      const event = JSON.parse(line) as Upload;
      if (event.event !== "uploaded") return;
      uploads.push(event);
      firstUpload.resolve();
    });
    const ended = Promise.race([watcher.exited, shop.exited, reading]);
    await Promise.race([firstUpload.promise, ended, Bun.sleep(START_LIMIT_MS)]);
    if (uploads.length === 0) throw new Error("Nothing was uploaded: see the messages above");
    await Promise.race([Bun.sleep(RUN_MS), ended]);
    const dead = [watcher, shop].find((child) => child.exitCode !== null);
    if (dead !== undefined)
      throw new Error(`Process ${dead.pid} ended early with exit code ${dead.exitCode}`);
    watcher.kill("SIGKILL");
    shop.kill("SIGKILL");
    await Promise.all([watcher.exited, shop.exited, reading]);
    return uploads;
  } finally {
    watcher.kill("SIGKILL");
    shop.kill("SIGKILL");
  }
}

async function readLines(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  take: (line: string) => void,
): Promise<void> {
  let rest = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.startsWith("{")) take(line);
  }
}

async function readJournal(): Promise<Commit[]> {
  const text = await readFile(JOURNAL, "utf8");
  // The kill may cut off the last line. Such a line has no newline, and its commit was never acknowledged.
  return text
    .slice(0, text.lastIndexOf("\n"))
    .split("\n")
    .map((line) => line.split(" ").map(Number))
    .map(([number, atMs]) => ({ number: number!, atMs: atMs! }));
}

async function restoreOrders(): Promise<{ txid: number; durationMs: number }> {
  const command = [BINARY, "restore", "orders", "-o", DATABASE, "-b", BUCKET, "--json"];
  const startMs = performance.now();
  const result = await capture(command, { cwd: DEMO_FOLDER });
  const durationMs = performance.now() - startMs;
  if (result.exitCode !== 0) {
    throw new Error(`restore ended with exit code ${result.exitCode}\n${result.stderr}${result.stdout}`);
  }
  return { txid: (JSON.parse(result.stdout) as { txid: number }).txid, durationMs };
}

/** Compares the restored database with the commits of the shop. @throws Error when a commit is missing */
function compare(commits: readonly Commit[], lastUpload: Upload, txid: number): string[] {
  const database = new Database(DATABASE, { readonly: true });
  const check = database.query<{ integrity_check: string }, []>("PRAGMA integrity_check").get();
  const restored = readOrders(database);
  database.close();
  if (check?.integrity_check !== "ok") throw new Error(`integrity_check reports ${check?.integrity_check}`);
  if (txid < lastUpload.txid)
    throw new Error(`TXID ${txid} was restored, ${lastUpload.txid} was acknowledged`);

  const restoredCount = restored.at(-1)?.id ?? 0;
  if (!Bun.deepEquals(restored, expectedOrders(restoredCount))) {
    throw new Error(`The rows are not those of the first ${restoredCount} commits`);
  }
  const capturedAtMs = Date.parse(lastUpload.time);
  const promised =
    commits.findLast((commit) => commit.atMs < capturedAtMs - CAPTURE_TOLERANCE_MS)?.number ?? 0;
  if (restoredCount < promised) {
    throw new Error(`Commit ${promised} was in the bucket, the restored database ends at ${restoredCount}`);
  }
  const last = commits.at(-1)!;
  const lastRestored = commits.findLast((commit) => commit.number <= restoredCount)!;
  const lostCount = Math.max(0, last.number - restoredCount);
  return [
    `integrity_check: ok`,
    `${restored.length} rows are those of the first ${restoredCount} commits, in every column`,
    `every acknowledged upload (up to TXID ${lastUpload.txid}) is there`,
    `lost: the last ${lostCount} of ${last.number} commits, made within ${last.atMs - lastRestored.atMs} ms`,
  ];
}

async function main(): Promise<void> {
  await prepare();
  const place = relative(ROOT, DEMO_FOLDER);
  console.log(
    `\n1. A shop commits orders to ${place}/database/orders.db; walrust copies them to ${place}/bucket.`,
  );
  const uploads = await runUntilDisaster();
  const commits = await readJournal();
  const lastUpload = uploads.at(-1)!;
  console.log(
    `   ${commits.length} commits in ${RUN_MS / 1000} s, ${uploads.length} uploads, TXID ${lastUpload.txid}`,
  );
  console.log("2. SIGKILL ends both in the middle of their work.");
  await rm(DATABASE_FOLDER, { recursive: true });
  await mkdir(DATABASE_FOLDER);
  console.log("3. The folder is deleted: the database, its WAL, and walrust's state beside them.");
  const { txid, durationMs } = await restoreOrders();
  console.log(`4. walrust restore orders: TXID ${txid} in ${Math.round(durationMs)} ms`);
  for (const line of compare(commits, lastUpload, txid)) console.log(`   ${line}`);
  await rm(DEMO_FOLDER, { recursive: true });
  console.log("\nThe database is back.");
}

try {
  await main();
  process.exit(0);
} catch (error) {
  fail(
    `\nThe demo failed: ${error instanceof Error ? error.message : error}\nIts files are in ${DEMO_FOLDER}`,
  );
}

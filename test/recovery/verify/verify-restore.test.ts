/**
 * verify --restore: a real restore that leaves nothing behind, and reports faults that only a restore can
 * find.
 */
import { Database } from "bun:sqlite";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { hasCode } from "../../../src/errors.ts";
import { decodeLtxHeader } from "../../../src/format/ltx.ts";
import { verifyDatabase } from "../../../src/recovery/verify/verify-database.ts";
import { FileStore } from "../../../src/storage/file/file-store.ts";
import { vector } from "../../format/samples.ts";
import { eventually } from "../../support/eventually.ts";
import { peerPath, testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";
import { History, litestreamStore, verifyEnv } from "./verify-history.ts";

setDefaultTimeout(30_000);

const TXIDS = (txid: number): string => `${String(txid).padStart(16, "0")}-${String(txid).padStart(16, "0")}`;

/** A real database of `ltx encode-db`, and one written by Litestream. */
function storeOf(files: Readonly<Record<string, string>>) {
  const contents = new Map(Object.entries(files).map(([name, path]) => [name, vector(path)]));
  return litestreamStore("s3", contents, (bytes) => decodeLtxHeader(bytes).timestampMs);
}

const LITESTREAM_FILES = Object.fromEntries(
  [1, 2, 3, 4].map((txid) => [`0-${TXIDS(txid)}.ltx`, `litestream/0-${TXIDS(txid)}.ltx`]),
);

describe("verifyDatabase with restore", () => {
  test.each([
    ["ltx encode-db", { [`9-${TXIDS(1)}.ltx`]: "encode-db-4096.ltx" }, 1],
    ["Litestream", LITESTREAM_FILES, 4],
  ])("restores a backup of %s and leaves nothing behind", async (_, files, txid) => {
    const folder = tempFolder("trial");
    const store = await storeOf(files);
    const reported: (readonly [done: number, total: number])[] = [];
    const onTrialProgress = (done: number, total: number): void => void reported.push([done, total]);
    const options = { restore: true, tempFolder: folder, onTrialProgress };
    const report = await verifyDatabase(store, "app", options, verifyEnv());
    const { bytes } = report.checked;
    expect([reported.at(-1), new Set(reported.map(([, total]) => total)).size]).toEqual([[bytes, bytes], 1]);
    expect([report.findings, report.checked.restoredTxid]).toEqual([[], txid]);
    expect(readdirSync(folder)).toEqual([]);
  });

  test("warns of a database that SQLite cannot read although every object is valid", async () => {
    const folder = tempFolder("trial");
    const history = await History.begin();
    await history.increments(3);
    await history.manifest();
    const options = { restore: true, tempFolder: folder };
    const report = await verifyDatabase(history.store, history.name, options, verifyEnv());
    expect(report.findings).toMatchObject([{ code: "not-checked", severity: "warning", txid: 4 }]);
    expect(report.findings[0]!.message).toContain("integrity_check");
    expect(report.checked).toMatchObject({ restoredTxid: 4, integrity: { status: "not-checked" } });
    expect(readdirSync(folder)).toEqual([]);
  });

  test("finds and names a damaged page of a large object that is otherwise not read", async () => {
    const folder = tempFolder("trial");
    const history = await History.begin({ pageCount: 200 });
    await history.manifest();
    await history.edit(history.key(9, 1), ({ bytes }) => {
      const damaged = bytes.slice();
      damaged[bytes.length >> 1]! ^= 1;
      return { bytes: damaged };
    });
    const options = { restore: true, tempFolder: folder };
    const report = await verifyDatabase(history.store, history.name, options, verifyEnv());
    expect(report.findings).toMatchObject([{ code: "restore-failed", object: history.key(9, 1) }]);
    expect(readdirSync(folder)).toEqual([]);
  });

  test("reports that no path leads to the newest TXID", async () => {
    const history = await History.begin();
    await history.increments(3);
    await history.manifest();
    await history.delete(history.key(0, 3));
    const report = await verifyDatabase(history.store, history.name, { restore: true }, verifyEnv());
    expect(report.findings.map(({ code }) => code)).toEqual(["gap", "restore-failed"]);
  });

  test("a missing folder for the restore has code database, and gives no verdict on the backup", async () => {
    const store = await storeOf(LITESTREAM_FILES);
    const options = { restore: true, tempFolder: join(tempFolder("trial"), "none") };
    const thrown = await verifyDatabase(store, "app", options, verifyEnv()).catch((error) => error);
    expect(hasCode(thrown, "database")).toBe(true);
  });
});

/**
 * Litestream at its most frequent: compactions and snapshots each second, and immediate deletion of replaced
 * files.
 */
function startLitestream(folder: string, database: string, bucket: string): Bun.Subprocess {
  const config = join(folder, "litestream.yml");
  const lines = [
    "snapshot: { interval: 1s, retention: 1s }",
    "levels: [{ interval: 1s }, { interval: 2s }]",
    "l0-retention: 500ms",
    "l0-retention-check-interval: 500ms",
    "dbs:",
    `  - path: ${database}`,
    "    monitor-interval: 20ms",
    `    replica: { url: "file://${bucket}/app", sync-interval: 20ms }`,
    "",
  ];
  writeFileSync(config, lines.join("\n"));
  const stdio: ["ignore", "ignore", "ignore"] = ["ignore", "ignore", "ignore"];
  return Bun.spawn([peerPath("litestream"), "replicate", "-config", config], { stdio });
}

testWith("litestream")("verifyDatabase is silent while Litestream writes, compacts and prunes", async () => {
  const folder = tempFolder("litestream");
  const path = join(folder, "app.db");
  const bucket = join(folder, "bucket");
  const database = new Database(path);
  database.run("PRAGMA journal_mode = WAL");
  database.run("CREATE TABLE t (x)");
  const child = startLitestream(folder, path, bucket);
  const store = new FileStore({ path: bucket });
  const env = systemEnv(SILENT_LOG);
  const levels = new Set<number>();
  let isPruned = false;
  try {
    const first = join(bucket, "app", "ltx", "9");
    await eventually("Litestream has begun", async () => existsSync(first));
    await eventually("Litestream has compacted twice and pruned", async () => {
      database.run("INSERT INTO t VALUES (randomblob(3000))");
      const report = await verifyDatabase(store, "app", { readPercent: 100, restore: true }, env);
      expect(report.findings).toEqual([]);
      for (const level of readdirSync(join(bucket, "app", "ltx"))) levels.add(Number(level));
      isPruned ||= !readdirSync(join(bucket, "app", "ltx", "0")).includes(`${TXIDS(1)}.ltx`);
      return levels.has(2) && isPruned;
    });
  } finally {
    child.kill("SIGKILL");
    await child.exited;
    database.close();
  }
  expect([...levels].sort()).toEqual([0, 1, 2, 9]);
});

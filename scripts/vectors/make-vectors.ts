/**
 * `bun scripts/vectors/make-vectors.ts`: writes test/format/vectors with independent programs: sqlite3,
 * python3, the ltx CLI, Litestream. Never uses walrust's own codecs. Salts and timestamps differ in every
 * run.
 *
 * WALRUST_OLD_LTX names an ltx CLI from before the LZ4 block format (see the vectors' README.md). Without
 * that variable, the script keeps the one vector that needs the old CLI.
 */
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { peerPath } from "../../test/support/servers/peers.ts";

const VECTORS = join(import.meta.dir, "..", "..", "test", "format", "vectors");
const WAL_PAGE_SIZES = [512, 4096, 65536];
const work = mkdtempSync(join(tmpdir(), "walrust-vectors-"));

const CREATE = "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, noise BLOB); CREATE INDEX i ON t(name);";
const UPDATE = "UPDATE t SET name = 'changed ' || id WHERE id % 7 = 3;";

/** SQL for rows of compressible text and incompressible noise, the same in every run. */
function insertRows(count: number): string {
  const noise = Array.from({ length: 6 }, (_, n) => `printf('%08x', (x + ${n}) * 2654435761 % 4294967296)`);
  const blob = noise.join(" || ");
  return (
    `WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ${count}) ` +
    `INSERT INTO t(name, noise) SELECT 'customer number ' || x, CAST(${blob} AS BLOB) FROM n;`
  );
}

try {
  for (const pageSizeBytes of WAL_PAGE_SIZES) makeWal(pageSizeBytes);
  makeBigEndianWal();
  makeRestartedWal();
  for (const pageSizeBytes of [512, 4096]) makeEncodedDatabase(pageSizeBytes);
  makeLitestreamReplica();
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** Writes wal-SIZE.wal, its -shm and its frames: two transactions, no checkpoint. */
function makeWal(pageSizeBytes: number): void {
  const database = join(work, `wal-${pageSizeBytes}.db`);
  const target = join(VECTORS, `wal-${pageSizeBytes}`);
  sqlite(database, [
    `PRAGMA page_size=${pageSizeBytes}; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;`,
    `BEGIN; ${CREATE} ${insertRows(40)} COMMIT; ${UPDATE}`,
    `.shell cp ${database}-wal ${target}.wal`,
    `.shell cp ${database}-shm ${target}.shm`,
  ]);
  truncate(`${target}.shm`, 136);
  listFrames(`${target}.wal`, `${target}.frames.json`);
}

function makeBigEndianWal(): void {
  const target = join(VECTORS, "wal-4096-big-endian");
  run([
    "python3",
    join(VECTORS, "wal_reader.py"),
    "big-endian",
    join(VECTORS, "wal-4096.wal"),
    `${target}.wal`,
  ]);
  listFrames(`${target}.wal`, `${target}.frames.json`);
}

/** Writes a restarted WAL and its database: valid frames, then older frames with other salts. */
function makeRestartedWal(): void {
  const database = join(work, "restarted.db");
  const target = join(VECTORS, "wal-512-restarted");
  sqlite(database, [
    "PRAGMA page_size=512; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;",
    `${CREATE} ${insertRows(40)} PRAGMA wal_checkpoint(RESTART); INSERT INTO t(name) VALUES('one more');`,
    `.shell cp ${database}-wal ${target}.wal`,
    `.shell cp ${database} ${target}.db`,
  ]);
  listFrames(`${target}.wal`, `${target}.frames.json`);
}

/** Writes encode-db-SIZE.ltx and its database; with an old ltx CLI also the same pages as LZ4 frames. */
function makeEncodedDatabase(pageSizeBytes: number): void {
  const target = join(VECTORS, `encode-db-${pageSizeBytes}`);
  rmSync(`${target}.db`, { force: true });
  sqlite(`${target}.db`, [`PRAGMA page_size=${pageSizeBytes};`, `${CREATE} ${insertRows(60)}`]);
  run([peerPath("ltx"), "encode-db", "-o", `${target}.ltx`, `${target}.db`]);
  chmodSync(`${target}.ltx`, 0o644);
  const oldLtx = process.env["WALRUST_OLD_LTX"];
  if (oldLtx !== undefined) run([oldLtx, "encode-db", "-o", `${target}-frames.ltx`, `${target}.db`]);
}

/** Writes litestream-LEVEL-NAME.ltx: the files of three runs of `litestream replicate -once`. */
function makeLitestreamReplica(): void {
  const database = join(work, "replicated.db");
  const replica = join(work, "replica");
  mkdirSync(replica);
  const target = join(VECTORS, "litestream");
  for (const name of readdirSync(VECTORS)) {
    if (name.startsWith("litestream")) rmSync(join(VECTORS, name), { recursive: true });
  }
  mkdirSync(target);
  sqlite(database, ["PRAGMA page_size=4096; PRAGMA journal_mode=WAL;", `${CREATE} ${insertRows(30)}`]);
  for (const sql of [UPDATE, insertRows(50), "DELETE FROM t WHERE id > 60; VACUUM;"]) {
    const flags = sql === UPDATE ? ["-force-snapshot"] : [];
    run([peerPath("litestream"), "replicate", "-once", ...flags, database, `file://${replica}`]);
    sqlite(database, [sql]);
  }
  run([peerPath("litestream"), "replicate", "-once", database, `file://${replica}`]);
  for (const level of readdirSync(join(replica, "ltx"))) {
    for (const name of readdirSync(join(replica, "ltx", level))) {
      copyFileSync(join(replica, "ltx", level, name), join(target, `${level}-${name}`));
    }
  }
  run([peerPath("litestream"), "restore", "-o", join(target, "restored.db"), `file://${replica}`]);
}

function listFrames(wal: string, target: string): void {
  writeFileSync(target, run(["python3", join(VECTORS, "wal_reader.py"), "list", wal]));
}

function truncate(path: string, sizeBytes: number): void {
  run(["truncate", "-s", String(sizeBytes), path]);
}

function sqlite(database: string, statements: readonly string[]): void {
  run([peerPath("sqlite3"), "-bail", database], `${statements.join("\n")}\n`);
}

function run(command: readonly string[], input = ""): string {
  const { AWS_CA_BUNDLE: _, ...env } = process.env;
  const result = Bun.spawnSync([...command], { stdin: Buffer.from(input), env });
  if (result.exitCode !== 0) throw new Error(`${command.join(" ")}: ${result.stderr}${result.stdout}`);
  return result.stdout.toString();
}

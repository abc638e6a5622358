/**
 * A replica in a folder whose owner exchanges the replica's files, or the folder itself, during replication.
 * The replica writes into no other file, removes no file of another database, and never blocks.
 */
import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import {
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileIdentityOrNull } from "../../../src/database/files/descriptors.ts";
import type { Checksum, Txid } from "../../../src/format/types.ts";
import type { WalIndexHeader } from "../../../src/format/wal-index.ts";
import { trySwap } from "../../../src/recovery/replica/replica-bootstrap.ts";
import { WalAppender } from "../../../src/recovery/replica/replica-wal.ts";
import { TargetFolder } from "../../../src/recovery/restore/target-folder.ts";
import { SourceDatabase, SourceHistory } from "../../support/histories/replica-history.ts";
import { expectContent, replicateOnce } from "../../support/runs/replica-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(10_000);

const SECRET = "a file of root";
/** A WAL without published frames: the next transaction writes its header. */
const EMPTY = { mxFrame: 0, salt1: 1 } as WalIndexHeader;

const REPLACEMENTS: readonly [string, (path: string, secretPath: string) => void][] = [
  ["a link", (path, secretPath) => symlinkSync(secretPath, path)],
  ["a hard link", (path, secretPath) => linkSync(secretPath, path)],
  ["a FIFO", (path) => void Bun.spawnSync(["mkfifo", path])],
  ["a folder", (path) => void mkdirSync(path)],
];

test.each(REPLACEMENTS)("nothing is written into %s in the place of the -wal", (_what, replace) => {
  const folder = tempFolder("replica");
  const path = join(folder, "r.db-wal");
  const secretPath = join(tempFolder("secret"), "secret");
  writeFileSync(secretPath, SECRET);
  writeFileSync(path, "");
  const pinned = fileIdentityOrNull(path)!;
  const append = (): WalAppender => new WalAppender(path, pinned, 4096, EMPTY, 2);
  append().close();
  // The old file stays elsewhere, so that no other file gets its inode number.
  renameSync(path, `${path}.kept`);
  replace(path, secretPath);
  expect(append).toThrow(path);
  expect(readFileSync(secretPath, "utf8")).toBe(SECRET);
});

function newDatabase(path: string): void {
  const database = new Database(path);
  database.run("PRAGMA journal_mode = WAL");
  database.run("CREATE TABLE t (x)");
  database.close();
}

test("a folder exchanged for another at the last moment keeps the files of the other", () => {
  const top = realpathSync(tempFolder("replica"));
  const [own, other] = [join(top, "own"), join(top, "other")];
  for (const folder of [own, other]) {
    mkdirSync(folder);
    newDatabase(join(folder, "app.db"));
  }
  newDatabase(join(own, ".app.db.bootstrap"));
  writeFileSync(join(other, ".app.db.bootstrap"), "what the owner of the folder would have there");
  writeFileSync(join(other, "app.db-wal"), SECRET);
  const before = readFileSync(join(other, "app.db"));
  const folder = TargetFolder.open(join(own, "app.db"));
  const point = { txid: 1 as Txid, timeMs: 1, checksum: 0n as Checksum, chain: null };
  const restored = {
    path: folder.at(".app.db.bootstrap"),
    point: { ...point, pageSizeBytes: 4096, pageCount: 1 },
    sums: new Uint32Array(2),
    objectCount: 1,
  };
  const isSwapped = trySwap(folder.path, folder.at("app.db"), restored, () => {
    renameSync(own, `${own}.kept`);
    symlinkSync(other, own);
  });
  folder.close();
  expect(isSwapped).toBe(true);
  expect(readFileSync(join(other, "app.db")).equals(before)).toBe(true);
  expect(readFileSync(join(other, "app.db-wal"), "utf8")).toBe(SECRET);
  expect(existsSync(join(`${own}.kept`, ".app.db.bootstrap"))).toBe(false);
  rmSync(own);
});

test("folders in the place of a killed replicate's leftovers are ignored, or named in an error", async () => {
  const history = new SourceHistory(new MemoryStore(), "app");
  await history.publish(new SourceDatabase(tempFolder("source"), 4096).after("CREATE TABLE t (x)"));
  const folder = tempFolder("replica");
  const local = join(folder, "r.db");
  for (const name of [".r.db.bootstrap", ".r.db.restore-0123456789ab", "r.db-replica-state.0123.tmp"]) {
    mkdirSync(join(folder, name, "x"), { recursive: true });
  }
  await replicateOnce(history.store, local);
  expectContent(local, history.newest);
  // The database is gone, its state is not: SQLite would apply a remaining -wal to the next database.
  for (const suffix of ["", "-wal", "-shm"]) rmSync(`${local}${suffix}`, { force: true });
  mkdirSync(`${local}-wal`);
  await expect(replicateOnce(history.store, local)).rejects.toMatchObject({
    code: "usage",
    message: expect.stringContaining("r.db-wal is a folder"),
  });
});

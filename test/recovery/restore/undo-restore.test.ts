/**
 * Undo puts back the replaced database with its log and its state. It changes nothing when there is nothing
 * to undo, and while a process uses one of the two files.
 */
import { beforeAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { takeHostLockOrNull } from "../../../src/database/files/host-lock.ts";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import type { Txid } from "../../../src/format/types.ts";
import { LocalPlaces } from "../../../src/local/places.ts";
import { restore } from "../../../src/recovery/restore/restore-database.ts";
import { type UndoResult, undoRestore } from "../../../src/recovery/restore/undo-restore.ts";
import { failureOf } from "../../support/failure-of.ts";
import { type RecordedBucket, recordBucket } from "../../support/histories/recorded-bucket.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { tempFolder } from "../../support/temp.ts";

const env = systemEnv(SILENT_LOG);
const places = LocalPlaces.standard();
let bucket: RecordedBucket;

beforeAll(async () => {
  bucket = await recordBucket(["INSERT INTO t(v) VALUES (randomblob(50000))", "DELETE FROM t WHERE id = 1"]);
});

async function restoreOver(outputPath: string, txid: number): Promise<string | null> {
  const point = { kind: "txid", txid: txid as Txid } as const;
  const request = { name: "app", outputPath, point, force: true, dryRun: false };
  return (await restore(request, { store: bucket.store, env, places })).previousPath;
}

function undo(path: string): UndoResult {
  return undoRestore(path, { env, places });
}

const undoFailure = (path: string) => failureOf((async () => undo(path))());

/** A database with commits that its WAL alone holds, as a killed application leaves it. */
async function databaseWithLog(path: string): Promise<Buffer> {
  const app = await SqliteProcess.open(path);
  await app.must(
    "PRAGMA journal_mode = WAL",
    "CREATE TABLE mine(v)",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "INSERT INTO mine VALUES ('in the log')",
  );
  await app.kill();
  return imageOf(path);
}

/** The names beside a path, without the state. */
function filesBeside(path: string): string[] {
  return readdirSync(dirname(path))
    .filter((name) => !name.startsWith("."))
    .sort();
}

describe("undo puts back", () => {
  test("the replaced file, and an undo of the undo the restored one", async () => {
    const path = join(tempFolder("undo"), "app.db");
    await restoreOver(path, 1);
    const previous = await restoreOver(path, 3);
    const result = undo(path);
    expect(Buffer.compare(readFileSync(path), bucket.images.get(1)!)).toBe(0);
    expect(result).toMatchObject({ path, from: previous, wasUndo: false });
    expect(filesBeside(path)).toEqual(["app.db", basename(result.keptPath!)]);
    expect(Buffer.compare(readFileSync(result.keptPath!), bucket.images.get(3)!)).toBe(0);
    const again = undo(path);
    expect([again.from, again.wasUndo, filesBeside(path).length]).toEqual([result.keptPath!, true, 2]);
    expect(Buffer.compare(readFileSync(path), bucket.images.get(3)!)).toBe(0);
  });

  test("the newest of several replaced files", async () => {
    const path = join(tempFolder("undo"), "app.db");
    for (const txid of [1, 2, 3]) await restoreOver(path, txid);
    undo(path);
    expect(Buffer.compare(readFileSync(path), bucket.images.get(2)!)).toBe(0);
    await restoreOver(path, 1);
    // A restore after an undo is undone as a restore.
    expect(undo(path).wasUndo).toBe(false);
    expect(Buffer.compare(readFileSync(path), bucket.images.get(2)!)).toBe(0);
  });

  test("the commits in the log of a replaced file", async () => {
    const path = join(tempFolder("undo"), "app.db");
    const image = await databaseWithLog(path);
    await restoreOver(path, 2);
    expect(existsSync(`${path}-wal`)).toBe(false);
    const { keptPath } = undo(path);
    expect(Buffer.compare(imageOf(path), image)).toBe(0);
    expect(filesBeside(path)).toEqual(["app.db", "app.db-wal", basename(keptPath!)].sort());
    undo(path);
    expect(Buffer.compare(imageOf(path), bucket.images.get(2)!)).toBe(0);
    expect(undo(path).wasUndo).toBe(false);
    expect(Buffer.compare(imageOf(path), image)).toBe(0);
  });

  test("the replaced file where the restored one is gone", async () => {
    const path = join(tempFolder("undo"), "app.db");
    await restoreOver(path, 1);
    await restoreOver(path, 2);
    rmSync(path);
    expect(undo(path).keptPath).toBeNull();
    expect(Buffer.compare(readFileSync(path), bucket.images.get(1)!)).toBe(0);
    expect(filesBeside(path)).toEqual(["app.db"]);
  });

  test("the replaced file at the target of a link", async () => {
    const folder = tempFolder("undo");
    const path = join(folder, "current.db");
    mkdirSync(join(folder, "shared"));
    symlinkSync("shared/app.db", path);
    await restoreOver(path, 1);
    await restoreOver(path, 2);
    expect(undo(path).path).toBe(join(folder, "shared", "app.db"));
    expect(readlinkSync(path)).toBe("shared/app.db");
    expect(Buffer.compare(readFileSync(path), bucket.images.get(1)!)).toBe(0);
  });
});

describe("undo changes nothing", () => {
  test("where no restore has replaced a file", async () => {
    const folder = tempFolder("undo");
    const path = join(folder, "app.db");
    for (const absent of [path, join(folder, "none", "app.db")]) {
      const error = await undoFailure(absent);
      expect([error.code, error.exitCode, error.message]).toEqual([
        "restore",
        6,
        `There is nothing to undo: no restore has replaced ${absent}`,
      ]);
    }
    await restoreOver(path, 1);
    expect((await undoFailure(path)).exitCode).toBe(6);
    // A log without its database is no replaced database.
    writeFileSync(`${path}.pre-restore-2026-01-01T00-00-00-000Z-wal`, "a log");
    expect((await undoFailure(path)).exitCode).toBe(6);
    expect(Buffer.compare(readFileSync(path), bucket.images.get(1)!)).toBe(0);
  });

  test("while a process has the present or the kept file open", async () => {
    const path = join(tempFolder("undo"), "app.db");
    await restoreOver(path, 1);
    const previous = (await restoreOver(path, 2))!;
    for (const opened of [path, previous]) {
      const app = await SqliteProcess.open(opened);
      await app.must("INSERT INTO t(v) VALUES ('in use')");
      const error = await undoFailure(path);
      expect([error.code, error.exitCode]).toEqual(["database", 3]);
      expect(error.message).toMatch(new RegExp(`^${opened} is in use by \\S+ \\(pid ${app.pid}\\)$`));
      expect(error.hint).toContain(`Stop the application (kill ${app.pid},`);
      await app.close();
    }
    expect(undo(path).from).toBe(previous);
  });

  test("while another walrust holds the host lock", async () => {
    const path = join(tempFolder("undo"), "app.db");
    await restoreOver(path, 1);
    await restoreOver(path, 2);
    const release = takeHostLockOrNull(path)!;
    const error = await undoFailure(path);
    release();
    expect([error.code, error.exitCode]).toEqual(["locked", 3]);
    undo(path);
  });

  test("where a folder or a link is at the path", async () => {
    const path = join(tempFolder("undo"), "app.db");
    await restoreOver(path, 1);
    const previous = (await restoreOver(path, 2))!;
    rmSync(path);
    mkdirSync(path);
    expect((await undoFailure(path)).code).toBe("usage");
    expect(existsSync(previous)).toBe(true);
  });
});

describe("restore where nothing is at the target, but a replaced file is kept", () => {
  test("says so, and the replaced file is still there to be put back", async () => {
    const path = join(tempFolder("undo"), "app.db");
    await restoreOver(path, 1);
    const previous = (await restoreOver(path, 2))!;
    rmSync(path);
    const recording = recordingEnv();
    const request = { name: "app", outputPath: path, point: { kind: "latest" } as const };
    const context = { store: bucket.store, env: recording.env, places };
    await restore({ ...request, force: false, dryRun: false }, context);
    const warnings = recording.lines.filter(({ level }) => level === "warn").map(({ message }) => message);
    expect(warnings).toEqual([
      `${path} is missing, and ${previous} is the file that a restore replaced there last`,
    ]);
    undo(path);
    expect(Buffer.compare(readFileSync(path), bucket.images.get(1)!)).toBe(0);
  });

  test("says nothing where a database is at the target, or none was replaced", async () => {
    const path = join(tempFolder("undo"), "app.db");
    const recording = recordingEnv();
    const request = { name: "app", outputPath: path, point: { kind: "latest" } as const };
    const context = { store: bucket.store, env: recording.env, places };
    for (let round = 0; round < 3; round++) {
      await restore({ ...request, force: true, dryRun: false }, context);
    }
    expect(recording.lines.filter(({ level }) => level === "warn")).toEqual([]);
  });
});

test("neither a restore nor an undo touches a path whose deleted file an application has open", async () => {
  const path = join(tempFolder("undo"), "app.db");
  await restoreOver(path, 2);
  await restoreOver(path, 3);
  const app = await SqliteProcess.open(path);
  await app.must("PRAGMA journal_mode = WAL", "CREATE TABLE mine(v)");
  for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix);
  const kept = readdirSync(dirname(path));
  for (const failure of [await undoFailure(path), await failureOf(restoreOver(path, 3))]) {
    expect([failure.code, failure.message.includes(`A deleted file of ${path} is open in`)]).toEqual([
      "database",
      true,
    ]);
  }
  expect(readdirSync(dirname(path))).toEqual(kept);
  await app.close();
  undo(path);
  expect(existsSync(path)).toBe(true);
});

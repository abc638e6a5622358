/**
 * Restore gives the bytes of every recorded point. It never leaves a half-changed target, and it leaves a
 * state that fits the database.
 */
import { beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { hasCode, WalrustError } from "../../../src/errors.ts";
import type { Txid } from "../../../src/format/types.ts";
import { LocalPlaces, type Place } from "../../../src/local/places.ts";
import { stateFolderAt, stateFolderOf } from "../../../src/local/state-folder.ts";
import type { PointInTime } from "../../../src/recovery/plan/restore-point.ts";
import type { RestoreContext } from "../../../src/recovery/restore/prepare-restore.ts";
import {
  type RestoreRequest,
  type RestoreResult,
  restore,
} from "../../../src/recovery/restore/restore-database.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { cloneStore, type RecordedBucket, recordBucket } from "../../support/histories/recorded-bucket.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { allKeys, newestImage } from "../../support/oracles/history-oracle.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { watchOne } from "../../support/runs/watch-run.ts";
import { FaultyStore, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

let bucket: RecordedBucket;
const LATEST: PointInTime = { kind: "latest" };

beforeAll(async () => {
  bucket = await recordBucket([
    "INSERT INTO t(v) VALUES (randomblob(50000))",
    "UPDATE t SET v = 'changed' WHERE id = 1",
    "DELETE FROM t WHERE id = 2",
    "VACUUM",
    "INSERT INTO t(v) VALUES (randomblob(9000))",
  ]);
});

/** Places that cannot create the spool folder of a restored database. */
class FailingPlaces extends LocalPlaces {
  constructor(readonly spoolFolder: string) {
    super(LocalPlaces.standard().choice);
  }

  override of(databasePath: string, name?: string): Place {
    const place = super.of(databasePath, name);
    if (name !== undefined) return place;
    return { ...place, paths: stateFolderAt(place.paths.folder, this.spoolFolder) };
  }
}

function newOutput(): string {
  return join(tempFolder("restored"), "out.db");
}

async function restoreFrom(
  store: ObjectStore,
  outputPath: string,
  request: Partial<RestoreRequest> = {},
  context: Partial<RestoreContext> = {},
): Promise<RestoreResult> {
  const { env } = recordingEnv();
  return restore(
    { name: "app", outputPath, point: LATEST, force: false, dryRun: false, ...request },
    {
      store,
      env,
      places: LocalPlaces.standard(),
      ...context,
    },
  );
}

async function failureOf(work: Promise<unknown>): Promise<WalrustError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof WalrustError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

describe("restore gives the recorded bytes", () => {
  test("restore of the latest", async () => {
    const output = newOutput();
    const result = await restoreFrom(bucket.store, output);
    expect(Buffer.compare(readFileSync(output), bucket.images.get(6)!)).toBe(0);
    expect(result).toMatchObject({ txid: 6, objects: 6, notice: null, previousPath: null });
    expect(result.timeMs).toBe(bucket.times.get(6)!);
    expect(result.bytes).toBe(statSync(output).size);
    expect(result.checks).toMatchObject({ sha256Objects: 6, unchainedObjects: 0, integrityCheck: "ok" });
  });

  test("restore of every TXID; the file shrinks and grows between them", async () => {
    for (const [txid, image] of bucket.images) {
      const output = newOutput();
      await restoreFrom(bucket.store, output, { point: { kind: "txid", txid: txid as Txid } });
      expect([txid, Buffer.compare(readFileSync(output), image)]).toEqual([txid, 0]);
    }
  });

  test("restore of a time gives the newest capture at or before it", async () => {
    for (const [txid, timeMs] of bucket.times) {
      for (const [atMs, expected] of [
        [timeMs, txid],
        [timeMs + 1, txid],
        [timeMs - 1, txid - 1],
      ] as const) {
        if (expected === 0) continue;
        const output = newOutput();
        const result = await restoreFrom(bucket.store, output, { point: { kind: "time", timeMs: atMs } });
        expect(result.txid).toBe(expected);
        expect(Buffer.compare(readFileSync(output), bucket.images.get(expected)!)).toBe(0);
      }
    }
  });

  test("restore leaves only the database and its state", async () => {
    const output = newOutput();
    await restoreFrom(bucket.store, output);
    expect(readdirSync(dirname(output)).sort()).toEqual([`.${basename(output)}-walrust`, basename(output)]);
  });

  test("restore creates the missing folders of its target", async () => {
    const output = join(tempFolder("restored"), "a/b/out.db");
    await restoreFrom(bucket.store, output);
    expect(existsSync(output)).toBe(true);
  });

  test("a dry run writes nothing and reports the objects that a restore would take", async () => {
    const output = join(tempFolder("restored"), "none/out.db");
    const result = await restoreFrom(bucket.store, output, { dryRun: true });
    expect(result).toMatchObject({ txid: 6, objects: 6, bytes: 0 });
    expect(existsSync(dirname(output))).toBe(false);
  });
});

describe("restore over an existing database", () => {
  test("restore refuses an existing database and does not change it", async () => {
    const output = newOutput();
    writeFileSync(output, "mine");
    const error = await failureOf(restoreFrom(bucket.store, output));
    expect([error.code, error.message, error.hint?.includes("--force")]).toEqual([
      "usage",
      `${output} exists`,
      true,
    ]);
    expect(readdirSync(dirname(output))).toEqual(["out.db"]);
    expect(readFileSync(output, "utf8")).toBe("mine");
  });

  test.each(["-wal", "-shm", "-journal"])(
    "restore keeps an out.db%s whose database is gone under another name",
    async (suffix) => {
      const output = newOutput();
      writeFileSync(`${output}${suffix}`, "mine");
      const { previousPath } = await restoreFrom(bucket.store, output);
      expect(Buffer.compare(readFileSync(output), bucket.images.get(6)!)).toBe(0);
      expect(existsSync(`${output}${suffix}`)).toBe(false);
      expect(basename(previousPath!)).toMatch(new RegExp(`^out\\.db\\.pre-restore-2.*${suffix}$`));
      expect(readFileSync(previousPath!, "utf8")).toBe("mine");
    },
  );

  test("restore with force keeps the old file, its companions and its state beside the target", async () => {
    const output = newOutput();
    for (const suffix of ["", "-wal", "-shm"]) writeFileSync(`${output}${suffix}`, `mine${suffix}`);
    chmodSync(output, 0o640);
    mkdirSync(join(dirname(output), ".out.db-walrust"));
    writeFileSync(join(dirname(output), ".out.db-walrust/precious"), "not uploaded yet");
    const { previousPath } = await restoreFrom(bucket.store, output, { force: true });
    expect(Buffer.compare(readFileSync(output), bucket.images.get(6)!)).toBe(0);
    expect(statSync(output).mode & 0o777).toBe(0o640);
    expect([existsSync(`${output}-wal`), existsSync(`${output}-shm`)]).toEqual([false, false]);
    expect(basename(previousPath!)).toMatch(/^out\.db\.pre-restore-2/);
    for (const suffix of ["", "-wal", "-shm"]) {
      expect(readFileSync(`${previousPath}${suffix}`, "utf8")).toBe(`mine${suffix}`);
    }
    const kept = readdirSync(dirname(output)).find((name) => name.startsWith(".out.db-walrust.pre-restore"));
    expect(readdirSync(join(dirname(output), kept!))).toEqual(["precious"]);
  });

  test("restore refuses a database that another process has open, even with force", async () => {
    const output = newOutput();
    const app = await SqliteProcess.open(output);
    await app.must("PRAGMA journal_mode = WAL", "CREATE TABLE mine(a)");
    const error = await failureOf(restoreFrom(bucket.store, output, { force: true }));
    expect([error.code, error.message.includes("in use")]).toEqual(["database", true]);
    await app.must("INSERT INTO mine VALUES (1)");
    await app.close();
    await restoreFrom(bucket.store, output, { force: true });
  });

  test("restore refuses a folder, and a path below a file, with separate errors", async () => {
    const output = newOutput();
    mkdirSync(output);
    expect((await failureOf(restoreFrom(bucket.store, output))).code).toBe("usage");
    rmSync(output, { recursive: true });
    writeFileSync(output, "a file");
    const below = await failureOf(restoreFrom(bucket.store, join(output, "below.db")));
    expect(below.code).toBe("database");
    expect(readFileSync(output, "utf8")).toBe("a file");
  });

  test("restore over a symbolic link replaces its target, and keeps the old file beside it", async () => {
    const output = newOutput();
    const target = join(dirname(output), "elsewhere");
    writeFileSync(target, "pointed to");
    symlinkSync("elsewhere", output);
    expect((await failureOf(restoreFrom(bucket.store, output))).code).toBe("usage");
    const { outputPath, previousPath } = await restoreFrom(bucket.store, output, { force: true });
    expect([readlinkSync(output), outputPath]).toEqual(["elsewhere", realpathSync(target)]);
    expect(readFileSync(previousPath!, "utf8")).toBe("pointed to");
    expect(Buffer.compare(readFileSync(target), bucket.images.get(6)!)).toBe(0);
  });

  test("restore through a dangling link creates the file at the link's target", async () => {
    const output = newOutput();
    const target = join(dirname(output), "shared", "app.db");
    symlinkSync("shared/app.db", output);
    await restoreFrom(bucket.store, output);
    expect(readlinkSync(output)).toBe("shared/app.db");
    expect(Buffer.compare(readFileSync(target), bucket.images.get(6)!)).toBe(0);
  });
});

describe("restore that fails does not change the target", () => {
  test("restore whose store fails halfway", async () => {
    const output = newOutput();
    writeFileSync(output, "mine");
    const store = new FaultyStore(await cloneStore(bucket.store));
    store.before = (operation, key) => {
      if (operation === "get" && key.includes("0000000000000004-")) throw unreachable();
    };
    const error = await failureOf(restoreFrom(store, output, { force: true }));
    expect(error.code).toBe("storage");
    expect([readdirSync(dirname(output)), readFileSync(output, "utf8")]).toEqual([["out.db"], "mine"]);
  });

  test("restore that is aborted", async () => {
    const output = newOutput();
    const aborter = new AbortController();
    const onProgress = (): void => aborter.abort();
    await expect(
      restoreFrom(bucket.store, output, {}, { signal: aborter.signal, onProgress }),
    ).rejects.toThrow();
    expect(readdirSync(dirname(output))).toEqual([]);
  });

  test("restore whose state cannot be written beside the target", async () => {
    const output = newOutput();
    writeFileSync(output, "mine");
    writeFileSync(`${output}-wal`, "my log");
    const { folder, statePath } = stateFolderOf(output);
    mkdirSync(folder, { mode: 0o700 });
    writeFileSync(statePath, "my state");
    const places = new FailingPlaces(join(output, "no-folder"));
    const error = await failureOf(restoreFrom(bucket.store, output, { force: true }, { places }));
    expect([error.code, error.message.includes("Cannot keep state in")]).toEqual(["database", true]);
    expect(readdirSync(dirname(output)).sort()).toEqual([basename(folder), "out.db", "out.db-wal"]);
    expect(readFileSync(statePath, "utf8")).toBe("my state");
    expect([readFileSync(output, "utf8"), readFileSync(`${output}-wal`, "utf8")]).toEqual(["mine", "my log"]);
  });

  test("restore of an unknown name lists the known ones", async () => {
    const error = await failureOf(restoreFrom(bucket.store, newOutput(), { name: "appp" }));
    expect([error.code, error.exitCode, error.hint?.includes("app")]).toEqual(["restore", 6, true]);
    const empty = await failureOf(restoreFrom(new MemoryStore(), newOutput()));
    expect(empty.exitCode).toBe(6);
    const missing = await failureOf(restoreFrom(new MemoryStore({ bucketExists: false }), newOutput()));
    expect(missing.code).toBe("missing-bucket");
  });
});

describe("watch of a restored database", () => {
  test("watch uploads nothing if nothing changed, then continues the history", async () => {
    const store = await cloneStore(bucket.store);
    const output = newOutput();
    await restoreFrom(store, output);
    const keys = await allKeys(store);
    const run = await watchOne(output, store);
    expect([await allKeys(store), run.all("uploaded")]).toEqual([keys, []]);
    const app = await SqliteProcess.open(output);
    await app.must("INSERT INTO t(v) VALUES ('after the disaster')");
    await run.uploaded(7);
    await run.stop();
    expect(Buffer.compare(await newestImage(store, "app"), imageOf(output))).toBe(0);
    await app.close();
  });

  test("watch of an older point continues after the newest TXID with the content of the point", async () => {
    const store = await cloneStore(bucket.store);
    const output = newOutput();
    await restoreFrom(store, output, { point: { kind: "txid", txid: 3 as Txid } });
    const run = await watchOne(output, store);
    await run.uploaded(7);
    await run.stop();
    expect(Buffer.compare(await newestImage(store, "app"), bucket.images.get(3)!)).toBe(0);
    const again = newOutput();
    await restoreFrom(store, again, { point: { kind: "txid", txid: 6 as Txid } });
    expect(Buffer.compare(readFileSync(again), bucket.images.get(6)!)).toBe(0);
  });

  test("restore of a watched database is refused while the watch runs", async () => {
    const store = await cloneStore(bucket.store);
    const output = newOutput();
    await restoreFrom(store, output);
    const run = await watchOne(output, store);
    const error = await failureOf(restoreFrom(store, output, { force: true }));
    expect(hasCode(error, "database")).toBe(true);
    await run.stop();
  });
});

/**
 * Bootstraps a replica: brings it to the newest state of its source as a whole, by a restore with all checks.
 * The first bootstrap renames the restored file into place. Later ones happen under connected readers.
 *
 * A later bootstrap restores beside the replica and makes one transaction of the pages that differ. SQLite
 * cannot show three changes to connected readers: another page size, a database that left WAL mode, and
 * another schema under the same schema cookie (a reader would keep the schema that it has parsed). Then the
 * restored file replaces the replica as soon as nobody has the replica open.
 */
import { constants, Database } from "bun:sqlite";
import { closeSync, fstatSync, readSync, renameSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { pathToFileURL } from "node:url";
import { openConnection } from "../../database/connection/connection.ts";
import {
  closeDescriptor,
  descriptorIdentity,
  fileIdentityOrNull,
  openDescriptor,
  releaseConnection,
  retainConnection,
} from "../../database/files/descriptors.ts";
import { SHARED_LENGTH, SHARED_START } from "../../database/files/lock-bytes.ts";
import { lockExclusive } from "../../database/files/ofd-lock.ts";
import { openRegular } from "../../database/files/regular-file.ts";
import { REPLICA_EVIDENCE, requireOwnWalAt } from "../../database/wal/wal-gate.ts";
import type { Env } from "../../env.ts";
import { errorMessage, hasCode, WalrustError } from "../../errors.ts";
import { DATABASE_HEADER_SIZE, decodeDatabaseHeader } from "../../format/sqlite-header.ts";
import { type Checksum, lockPgno, type Txid } from "../../format/types.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import type { IntegrityChecker } from "../integrity/integrity-child.ts";
import type { DatabaseBuilder } from "../restore/database-builder.ts";
import { prepareRestore, restoreError } from "../restore/prepare-restore.ts";
import { setAccessOf } from "../restore/target-access.ts";
import { syncFolder } from "../restore/target-file.ts";
import { resolvePlace } from "../restore/target-folder.ts";
import { cookieOf, type ReplicaDatabase } from "./replica-database.ts";
import { bootstrapPathOf, removeFile } from "./replica-lock.ts";
import type { ReplicaPoint } from "./replica-state.ts";

const SCHEMA_BUSY_TIMEOUT_MS = 1000;

/** The surroundings of a bootstrap. */
export interface BootstrapContext {
  readonly store: ObjectStore;
  readonly name: string;
  readonly env: Env;
  readonly signal: AbortSignal;
  readonly checker?: IntegrityChecker | undefined;
  /** Reports the bytes of objects that were read, of all that the bootstrap needs. */
  readonly onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
}

/** A restored file and its point in the history. */
export interface RestoredReplica {
  readonly path: string;
  readonly point: ReplicaPoint;
  /** Page sums as pairs of low and high words. */
  readonly sums: Uint32Array;
  readonly objectCount: number;
}

/**
 * Restores the newest state to `path`, where nothing may be.
 * @param beforePublish is called with the point before the file gets its name
 */
export async function restoreNewest(
  path: string,
  context: BootstrapContext,
  beforePublish: (point: ReplicaPoint) => void,
): Promise<RestoredReplica> {
  const { store, name, env, signal, checker, onProgress = () => {} } = context;
  const { path: outputPath } = resolvePlace(path);
  const request = { name, outputPath, point: { kind: "latest" }, force: false } as const;
  const restored = await prepareRestore(request, { store, env, signal, checker, onProgress });
  const { draft, plan } = restored;
  try {
    const point = pointOf(draft.builder, restored.path.chain);
    const sums = sumsOf(draft.builder);
    draft.takeAccess(false);
    beforePublish(point);
    draft.publish(draft.newStamp(env.nowMs()));
    return { path, point, sums, objectCount: plan.objects.length };
  } catch (error) {
    throw restoreError(error, name);
  } finally {
    draft.close();
  }
}

/** The page sums as pairs of low and high words. */
function sumsOf(builder: DatabaseBuilder): Uint32Array {
  const sums = new Uint32Array(builder.commit * 2);
  let word = 0;
  builder.eachSum((low, high) => {
    sums[word++] = low;
    sums[word++] = high;
  });
  return sums;
}

function pointOf(builder: DatabaseBuilder, chain: string | null): ReplicaPoint {
  const { txid, timeMs, checksum, pageSizeBytes, commit } = builder;
  return { txid: txid as Txid, timeMs, checksum, chain, pageSizeBytes, pageCount: commit };
}

/**
 * Restores the newest state beside the replica.
 * @param heldPath the path of the replica below its open folder
 */
export async function restoreBeside(
  localPath: string,
  heldPath: string,
  context: BootstrapContext,
): Promise<RestoredReplica> {
  const path = bootstrapPathOf(heldPath);
  removeFile(path);
  return { ...(await restoreNewest(bootstrapPathOf(localPath), context, () => {})), path };
}

/** The reason why a restored file cannot be applied under connected readers, or null. */
export function obstacleOrNull(replica: ReplicaDatabase, restored: RestoredReplica): string | null {
  const { point, path } = restored;
  if (point.pageSizeBytes !== replica.pageSizeBytes) {
    return `its page size is ${point.pageSizeBytes} now, it was ${replica.pageSizeBytes}`;
  }
  const firstPage = readFirstBytes(path, DATABASE_HEADER_SIZE);
  if (!decodeDatabaseHeader(firstPage).isWal) return "it is not in WAL mode any more";
  const here = schemaOf(replica.path);
  if (cookieOf(firstPage) === here.cookie && schemaTextOfFile(path) !== here.text) {
    return "its schema is another one under the same schema cookie";
  }
  return null;
}

/**
 * Writes the pages that differ from the restored file as one transaction, and does not commit it.
 * @throws WalrustError "integrity" when the result would differ from the restored database
 */
export function stageDifference(replica: ReplicaDatabase, restored: RestoredReplica): void {
  const { point, path, sums } = restored;
  const page = new Uint8Array(point.pageSizeBytes);
  const lock = lockPgno(point.pageSizeBytes);
  const fd = openRegular(path, false);
  try {
    replica.beginTransaction(point.pageCount);
    for (let pgno = 1; pgno <= point.pageCount; pgno++) {
      if (pgno === lock || replica.isSamePage(pgno, sums[pgno * 2 - 2]!, sums[pgno * 2 - 1]!)) continue;
      if (readSync(fd, page, 0, page.length, (pgno - 1) * page.length) !== page.length) {
        throw new WalrustError("database", `${path} became shorter while it was read`);
      }
      replica.page(pgno, page);
    }
    assertChecksum(replica.endTransaction(), point.checksum, path);
  } finally {
    closeSync(fd);
  }
}

function assertChecksum(found: Checksum, expected: Checksum, path: string): void {
  if (found === expected) return;
  throw new WalrustError("integrity", `${path} changed after it was restored`);
}

/**
 * Replaces a replica that nobody has open with the restored file. The caller has closed the replica.
 * @param heldPath the path of the replica below its open folder
 * @param beforePublish is called before the rename, while nobody can open the replica
 * @returns false when another process has the replica open
 */
export function trySwap(
  localPath: string,
  heldPath: string,
  restored: RestoredReplica,
  beforePublish: () => void,
): boolean {
  if (!tryEmptyWal(localPath)) return false;
  const fd = openDescriptor(heldPath);
  try {
    if (!lockExclusive(fd, SHARED_START, SHARED_LENGTH)) return false;
    if ((statSync(`${heldPath}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0) return false;
    beforePublish();
    const { uid, gid, mode } = fstatSync(fd);
    setAccessOf(restored.path, { uid, gid, mode: mode & 0o777 });
    renameSync(restored.path, heldPath);
    removeCompanions(heldPath);
    syncFolder(dirname(heldPath));
    return true;
  } finally {
    closeDescriptor(descriptorIdentity(fd), fd);
  }
}

/**
 * Removes -wal, -shm and -journal of a deleted database: SQLite would apply them to the next database.
 * @param heldPath the path of the replica below its open folder: by its plain path, the -wal could belong to
 * another database of the same name
 */
export function removeCompanions(heldPath: string): void {
  for (const suffix of ["-wal", "-shm", "-journal"]) removeFile(`${heldPath}${suffix}`);
}

/** Checkpoints everything and truncates the WAL; false when readers prevent it. */
function tryEmptyWal(localPath: string): boolean {
  try {
    requireOwnWalAt(localPath, REPLICA_EVIDENCE);
    const connection = openConnection(localPath, { busyTimeoutMs: 0 });
    try {
      return !connection.checkpoint("TRUNCATE").isBusy;
    } finally {
      connection.close();
    }
  } catch (error) {
    if (hasCode(error, "database-busy")) return false;
    throw error;
  }
}

/**
 * The schema as readers of the replica know it. Call while the replica is open: closing deletes no WAL then.
 */
function schemaOf(path: string): { cookie: number; text: string } {
  const identity = fileIdentityOrNull(path);
  if (identity === null) throw new WalrustError("database", `${path} is gone`);
  retainConnection(identity);
  try {
    const database = new Database(path, { readonly: true });
    try {
      // A connection that closes holds a lock for a moment, which a new connection runs into.
      database.run(`PRAGMA busy_timeout = ${SCHEMA_BUSY_TIMEOUT_MS}`);
      const [row] = database.query("PRAGMA schema_version").values() as [[number]];
      return { cookie: row[0], text: schemaText(database) };
    } finally {
      database.close();
    }
  } catch (error) {
    throw new WalrustError("database-busy", `Cannot read the schema of ${path}: ${errorMessage(error)}`, {
      retryable: true,
      cause: error,
    });
  } finally {
    releaseConnection(identity);
  }
}

function schemaTextOfFile(path: string): string {
  const url = `${pathToFileURL(path).href}?immutable=1`;
  const database = new Database(url, constants.SQLITE_OPEN_READONLY | constants.SQLITE_OPEN_URI);
  try {
    return schemaText(database);
  } finally {
    database.close();
  }
}

function schemaText(database: Database): string {
  const rows = database.query("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema").values();
  return JSON.stringify(rows);
}

function readFirstBytes(path: string, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const fd = openRegular(path, false);
  try {
    return bytes.subarray(0, readSync(fd, bytes, 0, length, 0));
  } finally {
    closeSync(fd);
  }
}

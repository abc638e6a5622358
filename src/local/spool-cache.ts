/**
 * The spool cache: uploaded increments that stay on disk for a while, in the folder `sent` of the spool.
 * Compaction and restore read them instead of the network. Snapshots are not kept. A file here is only a copy
 * of an object, so it may be deleted at any time.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import type { CacheConfig } from "../config/config.ts";
import { systemCode, WalrustError } from "../errors.ts";
import { hex, isChainLink } from "../format/chain.ts";
import type { Txid } from "../format/types.ts";
import { removeOwn } from "./own-file.ts";
import { isIntact, openIntactOrNull, openSpoolFileOrNull, removeSpoolFile } from "./spool.ts";
import {
  isSnapshotFile,
  parseSpoolFileNameOrNull,
  SENT_FOLDER,
  type SpoolFile,
  type SpoolFileName,
  spoolFileName,
} from "./spool-file.ts";
import {
  findRecordAfterOrNull,
  findRecordOrNull,
  isRecord,
  type LogContent,
  type LogFile,
  logAtOrNull,
  logsOrNone,
  markRecords,
  newestOrNull,
  readLogContent,
  readLogs,
  retireLogs,
  type SpoolLog,
} from "./spool-log.ts";

/** How long uploaded increments stay in the cache, in ms; 0: they are removed at once. */
export function sentRetentionMs({ enabled, retentionMs }: CacheConfig): number {
  return enabled ? retentionMs : 0;
}

/**
 * Keeps an uploaded increment as a copy, and removes an uploaded snapshot.
 * @param log the log that increments are appended to
 */
export function keepSent(folder: string, file: SpoolFile, log: SpoolLog | null = null): void {
  // Every record before a file that moves has its mark first: the next start must not miss a link.
  if (isChainLink(file)) log?.acknowledged(file);
  if (isSnapshotFile(file)) return removeSpoolFile(file);
  if (!isRecord(file)) return moveSent(folder, file);
  if (log === null) markRecords([file], "sent");
}

function moveSent(folder: string, file: SpoolFile): void {
  const sentFolder = join(folder, SENT_FOLDER);
  const path = join(sentFolder, spoolFileName(file.level, file.minTxid, file.maxTxid));
  try {
    renameSync(file.path, path);
  } catch (error) {
    // The first file that is kept, or a file that is gone: only a copy is lost then.
    if (systemCode(error) !== "ENOENT") throw error;
    if (!existsSync(file.path)) return;
    mkdirSync(sentFolder, { recursive: true, mode: 0o700 });
    renameSync(file.path, path);
  }
}

/** Whether an uploaded link that ends at `txid` is kept. */
export function isSentKept(folder: string, txid: Txid): boolean {
  const sentFolder = join(folder, SENT_FOLDER);
  if (sentNames(sentFolder).some(({ maxTxid }) => maxTxid === txid)) return true;
  const records = [...readLogs(sentFolder), ...readLogs(folder)];
  return records.some(({ file, mark }) => mark === "sent" && file.maxTxid === txid);
}

/** An object that may have a copy in the spool. */
export type CopiedObject = Pick<SpoolFile, "level" | "minTxid" | "maxTxid" | "sizeBytes">;

/** The local copy of an object, uploaded or still waiting; null when there is none of this size. */
export function localCopyOrNull(folder: string, object: CopiedObject): SpoolFile | null {
  const { level, minTxid, maxTxid } = object;
  const name = spoolFileName(level, minTxid, maxTxid);
  const file =
    recordOrNull(folder, object) ??
    openSpoolFileOrNull(join(folder, SENT_FOLDER, name), level, minTxid, maxTxid) ??
    openSpoolFileOrNull(join(folder, name), level, minTxid, maxTxid);
  return file?.sizeBytes === object.sizeBytes ? file : null;
}

/** The local copy of an object, if its bytes have the SHA-256 in its footer. Reads the whole copy. */
export async function intactCopyOrNull(folder: string, object: CopiedObject): Promise<SpoolFile | null> {
  const record = recordOrNull(folder, object);
  if (record !== null && (await isWhole(record))) return record;
  const name = spoolFileName(object.level, object.minTxid, object.maxTxid);
  const sent = await openIntactOrNull(join(folder, SENT_FOLDER, name), object);
  return sent ?? (await openIntactOrNull(join(folder, name), object));
}

/** The record of an increment in a log, if the record has the size of its object. */
function recordOrNull(folder: string, object: CopiedObject): SpoolFile | null {
  const record = object.level === 0 ? findRecordOrNull(folder, object) : null;
  return record?.sizeBytes === object.sizeBytes ? record : null;
}

/**
 * A link of the spool, uploaded or still waiting, that continues the TXID `txid`; null when there is none.
 * The caller checks the bytes.
 */
export function linkAfterOrNull(folder: string, txid: number): SpoolFile | null {
  const record = findRecordAfterOrNull(folder, txid);
  if (record !== null) return record;
  for (const one of [join(folder, SENT_FOLDER), folder]) {
    const name = sentNames(one).findLast(({ minTxid, maxTxid }) => minTxid <= txid + 1 && maxTxid > txid);
    if (name === undefined || !isChainLink(name)) continue;
    const { level, minTxid, maxTxid } = name;
    const file = openSpoolFileOrNull(join(one, name.name), level, minTxid, maxTxid);
    if (file !== null) return file;
  }
  return null;
}

/** An increment in a log, and its LTX bytes. */
export interface LoggedCopy {
  readonly file: SpoolFile;
  readonly bytes: Uint8Array;
}

/**
 * The increments of a spool that lie in logs, for one merge. Each log is read once for all of its increments;
 * the last log of uploaded increments and the last of the others stay in memory (512 KB each at most).
 */
export class LoggedCopies {
  readonly #folders: readonly FolderLogs[];

  constructor(folder: string) {
    this.#folders = [new FolderLogs(join(folder, SENT_FOLDER)), new FolderLogs(folder)];
  }

  /**
   * The copy of an object, if its bytes have the SHA-256 in its footer.
   * @throws WalrustError as `readLogContent`
   */
  copyOrNull(object: CopiedObject): LoggedCopy | null {
    if (object.level !== 0) return null;
    const copy = this.#findOrNull(object) ?? this.#findAnewOrNull(object);
    if (copy === null) return null;
    const { file, bytes } = copy;
    const sha256 = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
    return file.sizeBytes === object.sizeBytes && sha256 === hex(file.sha256) ? copy : null;
  }

  #findOrNull(object: CopiedObject): LoggedCopy | null {
    for (const logs of this.#folders) {
      const copy = logs.findOrNull(object);
      if (copy !== null) return copy;
    }
    return null;
  }

  /** Finds a copy in a log that was made or moved since the folders were listed. */
  #findAnewOrNull(object: CopiedObject): LoggedCopy | null {
    const renewed = this.#folders.map((logs) => logs.renew());
    return renewed.includes(true) ? this.#findOrNull(object) : null;
  }
}

/** The logs of one folder. They are listed at the first question, and anew after `renew`. */
class FolderLogs {
  #logs: readonly LogFile[] | null = null;
  /** The time of the folder when it was listed; 0: it was not there. */
  #listedMs = 0;
  /** The log that was read last. */
  #content: LogContent | null = null;

  constructor(readonly folder: string) {}

  /** The newest record of the TXIDs of an object that is not void, with a copy of its bytes; or null. */
  findOrNull({ minTxid, maxTxid }: CopiedObject): LoggedCopy | null {
    this.#logs ??= this.#list();
    const log = logAtOrNull(this.#logs, minTxid);
    if (log === null) return null;
    if (this.#content?.path !== log.path) this.#content = readLogContent(log.path);
    const { bytes, records } = this.#content;
    const file = newestOrNull(records, (one) => one.minTxid === minTxid && one.maxTxid === maxTxid);
    if (file === null) return null;
    return { file, bytes: bytes.slice(file.offset, file.offset + file.sizeBytes) };
  }

  /** Forgets the logs if the folder has changed. @returns whether it has */
  renew(): boolean {
    if (this.#logs === null || this.#timeMs() === this.#listedMs) return false;
    this.#logs = null;
    this.#content = null;
    return true;
  }

  #list(): LogFile[] {
    this.#listedMs = this.#timeMs();
    return logsOrNone(this.folder);
  }

  #timeMs(): number {
    return statSync(this.folder, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  }
}

/** Whether a record is still there with the bytes of its hash. */
async function isWhole(record: SpoolFile): Promise<boolean> {
  try {
    return await isIntact(record);
  } catch (error) {
    // Its log has just been removed.
    if (error instanceof WalrustError) return false;
    throw error;
  }
}

/** The uploaded files that one database keeps. */
export interface SentFiles {
  readonly count: number;
  readonly bytes: number;
}

/**
 * Removes the files older than `retentionMs`, and then the oldest ones until at most `bytesMax` are left.
 * @param nowMs wall clock, as file times are
 */
export function pruneSent(folder: string, retentionMs: number, bytesMax: number, nowMs: number): SentFiles {
  retireLogs(folder);
  const files: { path: string; sizeBytes: number; modifiedMs: number }[] = [];
  let bytes = 0;
  for (const path of sentPaths(join(folder, SENT_FOLDER))) {
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats === undefined) continue;
    files.push({ path, sizeBytes: stats.size, modifiedMs: stats.mtimeMs });
    bytes += stats.size;
  }
  let count = files.length;
  for (const file of files) {
    if (nowMs - file.modifiedMs <= retentionMs && bytes <= bytesMax) break;
    removeOwn(file.path, file.sizeBytes);
    bytes -= file.sizeBytes;
    count--;
  }
  return { count, bytes };
}

/** The total size of the files that are kept, in bytes. */
export function sentBytes(folder: string): number {
  return sentPaths(join(folder, SENT_FOLDER)).reduce(
    (sum, path) => sum + (statSync(path, { throwIfNoEntry: false })?.size ?? 0),
    0,
  );
}

/** The files and logs that are kept, oldest TXID first. */
function sentPaths(sentFolder: string): string[] {
  const files = sentNames(sentFolder).map(({ name, minTxid }) => ({ path: join(sentFolder, name), minTxid }));
  const logs = logsOrNone(sentFolder).map(({ path, firstTxid: minTxid }) => ({ path, minTxid }));
  return [...files, ...logs].sort((a, b) => a.minTxid - b.minTxid).map(({ path }) => path);
}

/** The names of the files that are kept, oldest TXID first. */
function sentNames(sentFolder: string): (SpoolFileName & { readonly name: string })[] {
  let names: string[];
  try {
    names = readdirSync(sentFolder);
  } catch {
    // No file was ever kept here.
    return [];
  }
  return names
    .flatMap((name) => {
      const parsed = parseSpoolFileNameOrNull(name);
      return parsed === null ? [] : [{ name, ...parsed }];
    })
    .sort((a, b) => a.minTxid - b.minTxid);
}

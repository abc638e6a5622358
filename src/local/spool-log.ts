/**
 * The logs of a spool: small increments of one database lie one after the other in a few files. To create,
 * rename and remove a file for each increment costs the file system more than all other steps of a capture.
 *
 * File `log-<first TXID>.ltxs`, in the spool folder or, when nothing in it waits any more, in the folder of
 * uploaded files. It holds records, integers big-endian:
 *
 *   offset  size  field
 *        0     8  magic "WALRUSTL"
 *        8     8  size of the LTX bytes, unsigned
 *       16     8  min TXID
 *       24     8  max TXID
 *       32     8  the newest acknowledged TXID when the record was written; 0: none
 *       40     1  mark: 0 waits for its upload, 1 is in the bucket, 2 is void; written in place
 *       41     3  zeros
 *       44     4  CRC-32 of bytes 0 to 39
 *       48     n  LTX bytes
 *     48+n   112  footer, as in a file of its own (spool-file.ts)
 *
 * A record counts if and only if it is complete, its head and its footer are right, and every record before
 * it is whole. The rest of the file is a torn tail: the next process begins another log. A record waits if
 * and only if its mark is 0 and no record states an acknowledged TXID as high as its own.
 *
 * Invariants:
 * 1. A log only grows, except for marks. A failed write is cut off again, or the log is left.
 * 2. At most one record in the bucket counts as waiting: the last that was acknowledged. The next record
 *    states that, or a mark that is written with the next acknowledgement or at rest. After a crash the
 *    record is sent again, and the store answers that it has it.
 * 3. No descriptor stays open.
 */
import {
  closeSync,
  type Dirent,
  ftruncateSync,
  mkdirSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { basename, join } from "node:path";
import { systemCode, WalrustError } from "../errors.ts";
import { formatTxid, parseTxid } from "../format/keys.ts";
import { TXID_MAX, type Txid } from "../format/types.ts";
import {
  createOwnOrNull,
  type OwnFile,
  openOwnFileOrNull,
  readOwnBytesOrNull,
  writeWhole,
} from "./own-file.ts";
import {
  decodeFooterOrNull,
  FOOTER_SIZE,
  isTxid,
  SENT_FOLDER,
  type SpoolFile,
  type SpoolFileName,
} from "./spool-file.ts";

/** Size of the head of a record. */
export const HEAD_SIZE = 48;
const MARK_OFFSET = 40;
const CRC_OFFSET = 44;
const MAGIC = new TextEncoder().encode("WALRUSTL");
const LOG_NAME = /^log-([0-9a-f]{16})\.ltxs$/;
/** A log of this size is full. */
const LOG_SIZE_FULL = 256 << 10;
/** A full log with one more record of the largest size. */
const LOG_SIZE_MAX = 512 << 10;

/** The marks by their numbers. */
const MARKS = ["waiting", "sent", "void"] as const;
/** Whether a record waits for its upload, is in the bucket, or is void: merged, or past the state. */
export type RecordMark = (typeof MARKS)[number];

/** A record of a log. */
export interface LogRecord {
  readonly file: SpoolFile;
  readonly mark: RecordMark;
  /** The newest acknowledged TXID when the record was written. */
  readonly acknowledgedTxid: number;
}

/** The head of a record. */
type Head = Pick<SpoolFile, "minTxid" | "maxTxid" | "sizeBytes"> &
  Pick<LogRecord, "mark" | "acknowledgedTxid">;

/** Writes the head of a record that waits in front of its LTX bytes. */
function encodeHead(target: Uint8Array, head: Omit<Head, "mark">): void {
  target.fill(0, 0, HEAD_SIZE);
  target.set(MAGIC);
  const view = new DataView(target.buffer, target.byteOffset, HEAD_SIZE);
  view.setBigUint64(8, BigInt(head.sizeBytes));
  view.setBigUint64(16, BigInt(head.minTxid));
  view.setBigUint64(24, BigInt(head.maxTxid));
  view.setBigUint64(32, BigInt(head.acknowledgedTxid));
  view.setUint32(CRC_OFFSET, Bun.hash.crc32(target.subarray(0, MARK_OFFSET)));
}

/** Whether a file lies in a log. */
export function isRecord({ offset }: Pick<SpoolFile, "offset">): boolean {
  return offset > 0;
}

/** The first TXID in the name of a log; null for any other name. */
export function parseLogNameOrNull(name: string): Txid | null {
  const match = LOG_NAME.exec(name);
  return match === null || !isTxid(match[1]!) ? null : parseTxid(match[1]!);
}

/**
 * The records of all logs of a spool folder that may wait, with marks that heed each stated TXID.
 * @throws WalrustError as `logsIn` and `readLog`
 */
export function readLogs(folder: string, logs = logsIn(folder)): LogRecord[] {
  const records = logs.flatMap(({ path }) => readLog(path));
  const sentTxid = records.reduce((most, { acknowledgedTxid }) => Math.max(most, acknowledgedTxid), 0);
  return records.map((record) =>
    record.mark === "waiting" && record.file.maxTxid <= sentTxid ? { ...record, mark: "sent" } : record,
  );
}

/** A log that was read whole. */
export interface LogContent {
  readonly path: string;
  readonly bytes: Uint8Array;
  /** In the order in which they were written. */
  readonly records: readonly LogRecord[];
}

/**
 * Reads the log at `path`; nothing of a file that is gone or not ours.
 * @throws WalrustError code "database", retryable, when the system refuses to open the log: its records are
 * not lost
 */
export function readLogContent(path: string): LogContent {
  let bytes: Uint8Array = new Uint8Array(0);
  try {
    bytes = readOwnBytesOrNull(path, LOG_SIZE_MAX) ?? bytes;
  } catch (error) {
    if (!(error instanceof WalrustError) || error.retryable) throw error;
  }
  const records: LogRecord[] = [];
  for (let start = 0; ; ) {
    const record = decodeRecordOrNull(bytes, start, path);
    if (record === null) return { path, bytes, records };
    records.push(record);
    start = record.file.offset + record.file.sizeBytes + FOOTER_SIZE;
  }
}

/** The records of `readLogContent`. @throws as `readLogContent` */
export function readLog(path: string): readonly LogRecord[] {
  return readLogContent(path).records;
}

function decodeRecordOrNull(bytes: Uint8Array, start: number, path: string): LogRecord | null {
  const head = decodeHeadOrNull(bytes.subarray(start, start + HEAD_SIZE));
  if (head === null) return null;
  const { sizeBytes, minTxid, maxTxid, mark, acknowledgedTxid } = head;
  const offset = start + HEAD_SIZE;
  const end = offset + sizeBytes;
  if (end + FOOTER_SIZE > bytes.length) return null;
  const footer = decodeFooterOrNull(bytes.subarray(end, end + FOOTER_SIZE));
  if (footer?.sizeBytes !== sizeBytes) return null;
  return { file: { path, offset, level: 0, minTxid, maxTxid, ...footer }, mark, acknowledgedTxid };
}

function decodeHeadOrNull(head: Uint8Array): Head | null {
  if (head.length < HEAD_SIZE || !MAGIC.every((byte, index) => head[index] === byte)) return null;
  const view = new DataView(head.buffer, head.byteOffset, HEAD_SIZE);
  if (view.getUint32(CRC_OFFSET) !== Bun.hash.crc32(head.subarray(0, MARK_OFFSET))) return null;
  const sizeBytes = Number(view.getBigUint64(8));
  const minTxid = Number(view.getBigUint64(16));
  const maxTxid = Number(view.getBigUint64(24));
  const acknowledgedTxid = Number(view.getBigUint64(32));
  const mark = MARKS[head[MARK_OFFSET]!];
  const isSound = sizeBytes <= LOG_SIZE_MAX && minTxid >= 1 && minTxid <= maxTxid && maxTxid <= TXID_MAX;
  if (!isSound || mark === undefined || acknowledgedTxid > TXID_MAX) return null;
  return { sizeBytes, minTxid: minTxid as Txid, maxTxid: maxTxid as Txid, mark, acknowledgedTxid };
}

/**
 * Marks records in place. A record that is gone, or that another file has taken the place of, needs no mark.
 * @throws the system's error
 */
export function markRecords(files: readonly SpoolFile[], mark: RecordMark): void {
  for (let first = 0; first < files.length; ) {
    const { path } = files[first]!;
    let end = first + 1;
    while (files[end]?.path === path) end++;
    const log = openOwnFileOrNull(path);
    if (log !== null) {
      try {
        for (const file of files.slice(first, end)) markOpen(log.fd, file, mark);
      } finally {
        closeSync(log.fd);
      }
    }
    first = end;
  }
}

const head = new Uint8Array(HEAD_SIZE);

function markOpen(fd: number, { offset, sizeBytes, minTxid, maxTxid }: SpoolFile, mark: RecordMark): void {
  const start = offset - HEAD_SIZE;
  if (readSync(fd, head, 0, HEAD_SIZE, start) !== HEAD_SIZE) return;
  const found = decodeHeadOrNull(head);
  const isSame = found?.sizeBytes === sizeBytes && found.minTxid === minTxid && found.maxTxid === maxTxid;
  if (isSame) writeWhole(fd, Uint8Array.of(MARKS.indexOf(mark)), start + MARK_OFFSET);
}

/** A place in a log. */
export type RecordPlace = Pick<SpoolFile, "path" | "offset">;

/** An open log, and its size. */
interface OpenLog {
  readonly fd: number;
  readonly path: string;
  readonly sizeBytes: number;
}

/** Appends the small increments of one attached database to its newest log. */
export class SpoolLog {
  /** The log that this process appends to; null before the first record. */
  #path: string | null = null;
  #sizeBytes = 0;
  /** The min TXID of the last record, and the size of the log before it. */
  #lastTxid = 0;
  #lastBytes = 0;
  #acknowledgedTxid = 0;
  /** The record in the bucket that counts as waiting. */
  #unmarked: SpoolFile | null = null;

  constructor(readonly folder: string) {}

  /**
   * Appends a record.
   * @param record space for the head, LTX bytes and footer
   * @returns its place; null when no log can be made: the increment needs a file of its own
   * @throws the system's error; the log is as before
   */
  append({ minTxid, maxTxid }: Omit<SpoolFileName, "level">, record: Uint8Array): RecordPlace | null {
    const log = this.#openOrNull() ?? this.#create(minTxid);
    if (log === null) return null;
    const { fd, path } = log;
    // The state does not name the last record, so this one replaces it.
    const isAgain = log.sizeBytes > 0 && this.#lastTxid === minTxid;
    const sizeBytes = isAgain ? this.#lastBytes : log.sizeBytes;
    const ltxSize = record.length - HEAD_SIZE - FOOTER_SIZE;
    const acknowledgedTxid = this.#acknowledgedTxid;
    encodeHead(record, { minTxid, maxTxid, sizeBytes: ltxSize, acknowledgedTxid });
    // Until the record is complete, no other record may follow.
    this.#path = null;
    try {
      if (isAgain) ftruncateSync(fd, sizeBytes);
      writeWhole(fd, record, sizeBytes);
    } catch (error) {
      cutOff(fd, sizeBytes);
      throw error;
    } finally {
      closeSync(fd);
    }
    this.#path = path;
    this.#sizeBytes = sizeBytes + record.length;
    this.#lastTxid = minTxid;
    this.#lastBytes = sizeBytes;
    this.#unmarked = null;
    return { path, offset: sizeBytes + HEAD_SIZE };
  }

  /** The newest log, unless it is full, gone, or not as this process has left it. */
  #openOrNull(): OpenLog | null {
    const path = this.#path;
    const sizeBytes = this.#sizeBytes;
    if (path === null || sizeBytes >= LOG_SIZE_FULL) return null;
    let log: OwnFile | null;
    try {
      log = openOwnFileOrNull(path);
    } catch {
      return null;
    }
    if (log === null) return null;
    if (log.stats.size === sizeBytes && log.stats.nlink === 1) return { fd: log.fd, path, sizeBytes };
    closeSync(log.fd);
    return null;
  }

  #create(minTxid: Txid): OpenLog | null {
    const path = join(this.folder, `log-${formatTxid(minTxid)}.ltxs`);
    const fd = createOwnOrNull(path);
    return fd === null ? null : { fd, path, sizeBytes: 0 };
  }

  /** The history is given up for another one: TXIDs acknowledged so far say nothing about its records. */
  forget(): void {
    this.#path = null;
    this.#lastTxid = 0;
    this.#acknowledgedTxid = 0;
    this.#unmarked = null;
  }

  /** The store has acknowledged a link: a record of a log, or a file of its own. */
  acknowledged(file: SpoolFile): void {
    this.settle();
    this.#acknowledgedTxid = file.maxTxid;
    if (isRecord(file)) this.#unmarked = file;
  }

  /**
   * Marks the record in the bucket that counts as waiting. If the disk refuses, the record is sent again
   * after a restart, and nothing else.
   */
  settle(): void {
    const owed = this.#unmarked;
    this.#unmarked = null;
    if (owed === null) return;
    try {
      markRecords([owed], "sent");
    } catch (error) {
      if (!(error instanceof WalrustError) && systemCode(error) === undefined) throw error;
    }
  }
}

/** Cuts a failed write off. The process leaves the log in any case. */
function cutOff(fd: number, sizeBytes: number): void {
  try {
    ftruncateSync(fd, sizeBytes);
  } catch {
    // A torn tail: it counts as no record.
  }
}

/** A log by its name. */
export interface LogFile {
  readonly path: string;
  readonly firstTxid: Txid;
}

/**
 * The logs in a folder, oldest first.
 * @throws WalrustError code "database", retryable, when the system refuses to list a folder that is there: a
 *   log that is not seen is not gone
 */
export function logsIn(folder: string): LogFile[] {
  let entries: Dirent[];
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    const code = systemCode(error);
    if (code === "ENOENT") return [];
    throw new WalrustError("database", `Cannot list ${folder}: ${code ?? String(error)}`, {
      context: { path: folder },
      retryable: true,
      cause: error,
    });
  }
  return entries
    .flatMap((entry) => {
      const firstTxid = entry.isFile() ? parseLogNameOrNull(entry.name) : null;
      return firstTxid === null ? [] : [{ path: join(folder, entry.name), firstTxid }];
    })
    .sort((a, b) => a.firstTxid - b.firstTxid);
}

/**
 * Moves each log in which nothing waits any more to the uploaded files, or removes it if it has no copy of an
 * object. Other logs get the marks first that only a record of such a log states. Does nothing while the
 * folder cannot be listed, or a log cannot be opened.
 */
export function retireLogs(folder: string): void {
  const found = logsWithRecordsOrNull(folder);
  if (found === null || found.logs.length === 0) return;
  const { logs, records } = found;
  const has = (path: string, mark: RecordMark): boolean =>
    records.some((record) => record.file.path === path && record.mark === mark);
  const done = logs.filter(({ path }) => !has(path, "waiting"));
  if (done.length === 0) return;
  const kept = records.filter(({ file, mark }) => mark === "sent" && has(file.path, "waiting"));
  markRecords(
    kept.map(({ file }) => file),
    "sent",
  );
  mkdirSync(join(folder, SENT_FOLDER), { recursive: true, mode: 0o700 });
  for (const { path } of done) {
    if (has(path, "sent")) renameSync(path, join(folder, SENT_FOLDER, basename(path)));
    else rmSync(path, { force: true });
  }
}

/**
 * All logs of a spool folder with their records; null when the system refuses to list or open one of them.
 */
function logsWithRecordsOrNull(folder: string): { logs: LogFile[]; records: LogRecord[] } | null {
  try {
    const logs = logsIn(folder);
    return { logs, records: readLogs(folder, logs) };
  } catch (error) {
    if (error instanceof WalrustError) return null;
    throw error;
  }
}

/** The logs in a folder for a reader that only looks for copies; none when the system refuses to list it. */
export function logsOrNone(folder: string): LogFile[] {
  try {
    return logsIn(folder);
  } catch {
    return [];
  }
}

/** The listings and logs that were read last: a reader asks for one increment after the other. */
const listings = new Map<string, { readonly version: string; readonly logs: LogFile[] }>();
const read = new Map<string, { readonly version: string; readonly records: readonly LogRecord[] }>();
const REMEMBERED_MAX = 4;

/**
 * The result of `load` for a file or folder, from memory while size, inode and time are the same. An old
 * answer does no harm: the caller checks the bytes, and without a copy it asks the store.
 */
function remembered<T extends { readonly version: string }>(
  memory: Map<string, T>,
  path: string,
  load: (version: string) => T,
): T | null {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return null;
  const version = `${stats.ino} ${stats.size} ${stats.mtimeMs}`;
  const known = memory.get(path);
  if (known?.version === version) return known;
  const loaded = load(version);
  memory.delete(path);
  memory.set(path, loaded);
  const [oldest] = memory.keys();
  if (memory.size > REMEMBERED_MAX && oldest !== undefined) memory.delete(oldest);
  return loaded;
}

/**
 * The newest record of these TXIDs that is not void, in the logs of a spool folder; null when there is none.
 */
export function findRecordOrNull(
  folder: string,
  { minTxid, maxTxid }: Pick<SpoolFileName, "minTxid" | "maxTxid">,
): SpoolFile | null {
  const isIt = (file: SpoolFile): boolean => file.minTxid === minTxid && file.maxTxid === maxTxid;
  return findOrNull(folder, minTxid, isIt);
}

/** The newest such record that begins at or before TXID `txid` + 1 and ends after `txid`, or null. */
export function findRecordAfterOrNull(folder: string, txid: number): SpoolFile | null {
  const isIt = (file: SpoolFile): boolean => file.minTxid <= txid + 1 && file.maxTxid > txid;
  return findOrNull(folder, txid + 1, isIt);
}

/** Finds a record in the log that the TXID lies in. */
function findOrNull(folder: string, txid: number, isIt: (file: SpoolFile) => boolean): SpoolFile | null {
  for (const one of [join(folder, SENT_FOLDER), folder]) {
    const listed = remembered(listings, one, (version) => ({ version, logs: logsOrNone(one) }));
    const log = logAtOrNull(listed?.logs ?? [], txid);
    if (log === null) continue;
    const content = remembered(read, log.path, (version) => ({ version, records: readLog(log.path) }));
    const found = newestOrNull(content?.records ?? [], isIt);
    if (found !== null) return found;
  }
  return null;
}

/** The log that a TXID lies in, if one of these has it. @param logs oldest first */
export function logAtOrNull(logs: readonly LogFile[], txid: number): LogFile | null {
  return logs.findLast(({ firstTxid }) => firstTxid <= txid) ?? null;
}

/** The newest record that is not void and meets a condition. */
export function newestOrNull(
  records: readonly LogRecord[],
  isIt: (file: SpoolFile) => boolean,
): SpoolFile | null {
  return records.findLast(({ file, mark }) => mark !== "void" && isIt(file))?.file ?? null;
}

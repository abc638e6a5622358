/**
 * The spool: captured LTX files that wait for their upload, one local file each.
 *
 * File `<level>-<min TXID>-<max TXID>.ltx` in the spool folder: the LTX bytes, then a footer (spool-file.ts).
 * Small increments may lie in a log instead (spool-log.ts).
 *
 * A small file is written under its own name at once, a larger one under a temporary name and renamed; none
 * is fsynced. A file counts if and only if
 *  1. its length is the size in the footer plus 112, and the magic of the footer is right,
 *  2. the SHA-256 of its LTX bytes is the one in the footer,
 *  3. chain = SHA-256(previous chain ‖ SHA-256), for the first snapshot and every level-0 file, and
 *  4. the chain values of the pending files lead without a gap to the chain value of the state.
 * `openSpoolFileOrNull` checks 1, `loadSpool` checks 3 and 4, and an upload checks 2 by hashing the bytes
 * that it sends.
 */

import { closeSync, read, readdirSync, readSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { systemCode, WalrustError } from "../errors.ts";
import { CHAIN_ZERO, hex, isChainLink, nextChain } from "../format/chain.ts";
import { SNAPSHOT_LEVEL } from "../format/keys.ts";
import { decodeLtxHeader, LTX_HEADER_SIZE } from "../format/ltx.ts";
import type { Txid } from "../format/types.ts";
import {
  createOwnOrNull,
  createTemp,
  type OwnFile,
  openOwn,
  openOwnStatsOrNull,
  removeOwn,
  type TempFile,
  writeWhole,
} from "./own-file.ts";
import { holdBody, takeBodyOrNull } from "./spool-bodies.ts";
import {
  decodeFooterOrNull,
  encodeFooter,
  FOOTER_SIZE,
  isSnapshotFile,
  parseSpoolFileNameOrNull,
  SENT_FOLDER,
  type SpoolFile,
  type SpoolFileName,
  spoolFileName,
} from "./spool-file.ts";
import {
  HEAD_SIZE,
  isRecord,
  markRecords,
  parseLogNameOrNull,
  type RecordPlace,
  readLogs,
  retireLogs,
  type SpoolLog,
} from "./spool-log.ts";

export type { SpoolFile, SpoolFileName };
export { isSnapshotFile, parseSpoolFileNameOrNull, SENT_FOLDER, spoolFileName };

/** LTX bytes up to this number are held in memory until `finish`. */
const HELD_SIZE_MAX = 64 << 10;
/** Buffers of held bytes for the next writers. Captures are synchronous: one buffer serves them all. */
const spareBuffers: Uint8Array[] = [];
const SPARE_BUFFER_COUNT = 2;
/**
 * The newest TXID whose upload the store has acknowledged; 0 before the first.
 * @param stateTxid the newest captured TXID
 * @param pending the files that wait, in the order of upload
 */
export function uploadedTxidOf(stateTxid: Txid | 0, pending: readonly SpoolFile[]): Txid {
  return ((pending.find(isChainLink)?.minTxid ?? stateTxid + 1) - 1) as Txid;
}

/**
 * The newest TXID that an earlier process of this boot may have sent: it may have ended while it sent a link,
 * and before it noted the acknowledgement of the link before.
 * @param pending the files that wait, in the order of upload
 */
export function revivedTxidOf(pending: readonly SpoolFile[]): Txid {
  const [first, second = first] = pending.filter(isChainLink);
  return second?.maxTxid ?? (0 as Txid);
}

/**
 * Writes one file of the spool. The file does not count before `finish`.
 *
 * A file of up to 64 KB, such as most increments, is held in memory and written at once under its own name:
 * one open, one write, one close. A crash in between leaves a file without its footer, or one that no state
 * names; neither counts. A larger file grows under a temporary name and is renamed.
 */
export class SpoolWriter {
  readonly #folder: string;
  readonly #name: string;
  readonly #hasher = new Bun.CryptoHasher("sha256");
  /** Space for the head of a record, and the LTX bytes so far, while all of them are held. */
  #held: Uint8Array | null = spareBuffers.pop() ?? new Uint8Array(HEAD_SIZE + HELD_SIZE_MAX + FOOTER_SIZE);
  #temp: TempFile | null = null;
  #sizeBytes = 0;
  #isOpen = true;

  /** @param log takes a small increment in place of a file of its own */
  constructor(
    folder: string,
    readonly level: number,
    readonly minTxid: Txid,
    readonly maxTxid: Txid,
    readonly log: SpoolLog | null = null,
  ) {
    this.#folder = folder;
    this.#name = spoolFileName(level, minTxid, maxTxid);
  }

  /** LTX bytes written so far. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get #path(): string {
    return join(this.#folder, this.#name);
  }

  /** Appends LTX bytes. @throws WalrustError code "database", retryable, when the disk refuses them */
  write(bytes: Uint8Array): void {
    const offset = this.#sizeBytes;
    if (this.#held !== null && offset + bytes.length <= HELD_SIZE_MAX) {
      this.#held.set(bytes, HEAD_SIZE + offset);
      this.#sizeBytes += bytes.length;
      return;
    }
    this.#hashHeld();
    this.#spill();
    this.#hasher.update(bytes);
    this.#sizeBytes += bytes.length;
    this.#append(bytes);
  }

  /** Moves the held bytes into a temporary file, which gets all further ones. */
  #spill(): TempFile {
    this.#temp ??= spoolOperation("create", this.#path, () => createTemp(this.#path));
    if (this.#held !== null) this.#append(this.#heldBytes(this.#held));
    this.#drop();
    return this.#temp;
  }

  #hashHeld(): void {
    if (this.#held !== null) this.#hasher.update(this.#heldBytes(this.#held));
  }

  #heldBytes(held: Uint8Array): Uint8Array {
    return held.subarray(HEAD_SIZE, HEAD_SIZE + this.#sizeBytes);
  }

  /** Returns the buffer of the held bytes. */
  #drop(): void {
    if (this.#held !== null && spareBuffers.length < SPARE_BUFFER_COUNT) spareBuffers.push(this.#held);
    this.#held = null;
  }

  #append(bytes: Uint8Array): void {
    const temp = this.#temp!;
    spoolOperation("write", temp.path, () => writeWhole(temp.fd, bytes));
  }

  /**
   * Completes the file.
   * @param chainAround for a link of the chain the value before the file, and for a later snapshot the value
   * at its last TXID
   */
  finish(chainAround: { previousChain: Uint8Array } | { chain: Uint8Array }): SpoolFile {
    this.#hashHeld();
    const sha256 = new Uint8Array(this.#hasher.digest());
    const previousChain = "previousChain" in chainAround ? chainAround.previousChain : CHAIN_ZERO;
    const chain = "chain" in chainAround ? chainAround.chain : nextChain(previousChain, sha256);
    const { level, minTxid, maxTxid, sizeBytes } = this;
    const footer = { sizeBytes, sha256, previousChain, chain };
    const place = this.#writtenAtOnceOrNull(encodeFooter(footer)) ?? this.#renamed(encodeFooter(footer));
    const file = { ...place, level, minTxid, maxTxid, ...footer };
    if (this.#held !== null) holdBody(file, this.#heldBytes(this.#held));
    this.#drop();
    return file;
  }

  /** Completes the temporary file. */
  #renamed(footer: Uint8Array): RecordPlace {
    const path = this.#path;
    const temp = this.#spill();
    this.#append(footer);
    this.#close();
    spoolOperation("rename", path, () => renameSync(temp.path, path));
    return { path, offset: 0 };
  }

  /**
   * Writes the held bytes and the footer into the log, or under the file's own name; null if neither can be.
   */
  #writtenAtOnceOrNull(footer: Uint8Array): RecordPlace | null {
    const held = this.#held;
    if (held === null) return null;
    held.set(footer, HEAD_SIZE + this.#sizeBytes);
    const record = held.subarray(0, HEAD_SIZE + this.#sizeBytes + FOOTER_SIZE);
    const path = this.#path;
    const place = spoolOperation("write", path, () => this.log?.append(this, record) ?? null);
    return place ?? this.#createdOrNull(path, record.subarray(HEAD_SIZE));
  }

  /** Writes a file under its own name; null if the name is taken. */
  #createdOrNull(path: string, bytes: Uint8Array): RecordPlace | null {
    const fd = spoolOperation("create", path, () => createOwnOrNull(path));
    // A file of an abandoned history has this name: only a rename replaces a file as a whole.
    if (fd === null) return null;
    this.#isOpen = false;
    try {
      spoolOperation("write", path, () => writeWhole(fd, bytes));
    } catch (error) {
      closeSync(fd);
      rmSync(path, { force: true });
      throw error;
    }
    closeSync(fd);
    return { path, offset: 0 };
  }

  /** Removes the unfinished file, after a failure. The next file of its TXIDs replaces a finished one. */
  discard(): void {
    this.#drop();
    if (this.#temp === null) return;
    this.#close();
    removeOwn(this.#temp.path, this.#sizeBytes);
  }

  /** Closes once: the system gives the number of a closed descriptor to the next open file. */
  #close(): void {
    if (this.#isOpen && this.#temp !== null) closeSync(this.#temp.fd);
    this.#isOpen = false;
  }
}

function spoolOperation<T>(operation: string, path: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    const code = systemCode(error);
    const hint =
      code === "ENOSPC" ? "The disk is full; capture continues as soon as there is room" : undefined;
    throw new WalrustError("database", `Cannot ${operation} spool file ${path}: ${code ?? String(error)}`, {
      ...(hint === undefined ? {} : { hint }),
      retryable: true,
      cause: error,
    });
  }
}

/**
 * Loads the files that wait, in the order of upload. Removes leftovers of a crash: temporary files, files
 * past `headTxid` that never became part of the state, the sources of a finished merge, and unfinished files
 * of a compaction, which the next compaction writes again.
 * @param headChain chain value of the state, as hex: the links must lead to this value
 * @param mayRemove false for a reader that does not hold the host lock
 * @returns the pending files, or "broken" with a reason when they do not lead to the state
 */
export function loadSpool(
  folder: string,
  headTxid: Txid,
  headChain: string,
  mayRemove = true,
): { kind: "pending"; files: SpoolFile[] } | { kind: "broken"; reason: string } {
  const remove = (path: string): void => {
    if (mayRemove) rmSync(path, { force: true });
  };
  const waiting = readLogs(folder).flatMap(({ file, mark }) => (mark === "waiting" ? [file] : []));
  const links = waiting.filter(({ maxTxid }) => maxTxid <= headTxid);
  const voids = waiting.filter(({ maxTxid }) => maxTxid > headTxid);
  const snapshots: SpoolFile[] = [];
  const torn: { name: string; minTxid: Txid }[] = [];
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (name.endsWith(".tmp")) remove(path);
    const parsed = parseSpoolFileNameOrNull(name);
    if (parsed === null) continue;
    const { level, minTxid, maxTxid } = parsed;
    const file = openSpoolFileOrNull(path, level, minTxid, maxTxid);
    // A level in between belongs to an unfinished compaction; its object would lack its place in the chain.
    const isCompaction = level !== 0 && level !== SNAPSHOT_LEVEL;
    // A later snapshot is no link of the chain. The first one, of TXID 1, is.
    const isTornSnapshot = file === null && level === SNAPSHOT_LEVEL && maxTxid > 1;
    if (maxTxid > headTxid || isCompaction || isTornSnapshot) remove(path);
    else if (file === null) torn.push({ name, minTxid });
    else if (isChainLink(file)) links.push(file);
    else snapshots.push(file);
  }
  const path = linksToHead(links, headTxid, headChain);
  const kept = new Set(path);
  const strays = links.filter((file) => !kept.has(file));
  // The path replaces every stray that it covers. A stray before the path is a gap on the way.
  const firstTxid = path[0]?.minTxid ?? Number.POSITIVE_INFINITY;
  const incomplete = torn.find(({ minTxid }) => minTxid < firstTxid);
  if (incomplete !== undefined) return { kind: "broken", reason: `${incomplete.name} is incomplete` };
  const lost = strays.find(({ minTxid }) => minTxid < firstTxid)?.maxTxid;
  if (lost !== undefined) return { kind: "broken", reason: `TXID ${lost} does not lead to the state` };
  for (const stray of strays) {
    if (isRecord(stray)) voids.push(stray);
    else remove(stray.path);
  }
  if (mayRemove) markRecords(voids, "void");
  // The path covers these, too. Without it, after its upload, they would look like a gap.
  for (const { name } of torn) remove(join(folder, name));
  const files = [...path, ...snapshots].sort((a, b) => a.maxTxid - b.maxTxid || a.level - b.level);
  return { kind: "pending", files };
}

/**
 * The links that lead to the head, oldest first. The search goes backwards from the head; the chain value of
 * each link proves its place.
 */
function linksToHead(links: readonly SpoolFile[], headTxid: Txid, headChain: string): SpoolFile[] {
  const byEnd = new Map<string, SpoolFile>();
  for (const link of links) byEnd.set(`${link.maxTxid} ${hex(link.chain)}`, link);
  const path: SpoolFile[] = [];
  let txid: number = headTxid;
  let chain = headChain;
  for (;;) {
    const link = byEnd.get(`${txid} ${chain}`);
    if (link === undefined || hex(nextChain(link.previousChain, link.sha256)) !== chain)
      return path.reverse();
    path.push(link);
    txid = link.minTxid - 1;
    chain = hex(link.previousChain);
  }
}

/** Opens the file at `path` by its footer; null when the file is missing or incomplete. */
export function openSpoolFileOrNull(
  path: string,
  level: number,
  minTxid: Txid,
  maxTxid: Txid,
): SpoolFile | null {
  const open = openSpoolOrNull(path);
  if (open === null) return null;
  try {
    return readFooterOrNull(open, path, { level, minTxid, maxTxid });
  } finally {
    closeSync(open.fd);
  }
}

/**
 * Opens the file at `path` by its footer, and hashes its LTX bytes; null when the file is missing,
 * incomplete, damaged or of another size. Reads the whole file in bounded memory, and opens it once.
 */
export async function openIntactOrNull(
  path: string,
  name: SpoolFileName & Pick<SpoolFile, "sizeBytes">,
): Promise<SpoolFile | null> {
  const open = openSpoolOrNull(path);
  if (open === null) return null;
  try {
    const file = readFooterOrNull(open, path, name);
    return file?.sizeBytes === name.sizeBytes && (await hasItsHash(open.fd, file)) ? file : null;
  } finally {
    closeSync(open.fd);
  }
}

/** Opens a file; null when it is missing or not ours. */
function openSpoolOrNull(path: string): OwnFile | null {
  try {
    return openOwnStatsOrNull(path);
  } catch (error) {
    if (error instanceof WalrustError && !error.retryable) return null;
    throw error;
  }
}

function readFooterOrNull({ fd, stats }: OwnFile, path: string, name: SpoolFileName): SpoolFile | null {
  const { size } = stats;
  const bytes = new Uint8Array(FOOTER_SIZE);
  if (size < FOOTER_SIZE || readSync(fd, bytes, 0, FOOTER_SIZE, size - FOOTER_SIZE) !== FOOTER_SIZE)
    return null;
  const footer = decodeFooterOrNull(bytes);
  if (footer === null || footer.sizeBytes + FOOTER_SIZE !== size) return null;
  const { level, minTxid, maxTxid } = name;
  return { path, offset: 0, level, minTxid, maxTxid, ...footer };
}

/**
 * Whether the LTX bytes of a file have the SHA-256 in its footer. Reads the whole file in bounded memory.
 */
export async function isIntact(file: SpoolFile): Promise<boolean> {
  const fd = openOwn(file.path);
  try {
    return await hasItsHash(fd, file);
  } finally {
    closeSync(fd);
  }
}

async function hasItsHash(fd: number, file: SpoolFile): Promise<boolean> {
  const hasher = new Bun.CryptoHasher("sha256");
  const chunk = new Uint8Array(Math.min(1 << 18, file.sizeBytes));
  // A small file is read at once: a turn through a pool thread costs more.
  const isSmall = file.sizeBytes <= HELD_SIZE_MAX;
  for (let offset = 0; offset < file.sizeBytes; ) {
    const length = Math.min(chunk.length, file.sizeBytes - offset);
    const at = file.offset + offset;
    const count = isSmall ? readSync(fd, chunk, 0, length, at) : await readAt(fd, chunk, length, at);
    if (count === 0) return false;
    hasher.update(chunk.subarray(0, count));
    offset += count;
  }
  return hex(new Uint8Array(hasher.digest())) === hex(file.sha256);
}

/** Reads on a pool thread, so that a large file does not block the loop. @returns the number of bytes */
function readAt(fd: number, target: Uint8Array, length: number, position: number): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  read(fd, target, 0, length, position, (error, count) => (error ? reject(error) : resolve(count)));
  return promise;
}

/** Copies a file into another spool folder. @throws WalrustError code "database" */
export function copySpoolFile(file: SpoolFile, folder: string): void {
  const path = join(folder, spoolFileName(file.level, file.minTxid, file.maxTxid));
  const temp = spoolOperation("create", path, () => createTemp(path));
  try {
    const write = (bytes: Uint8Array): void =>
      spoolOperation("write", temp.path, () => writeWhole(temp.fd, bytes));
    for (const chunk of spoolChunks(file)) write(chunk);
    write(encodeFooter(file));
  } finally {
    closeSync(temp.fd);
  }
  spoolOperation("rename", path, () => renameSync(temp.path, path));
}

/** Removes a file that no object needs: its object is in the bucket, or it was merged. */
export function removeSpoolFile(file: SpoolFile): void {
  removeSpoolFiles([file]);
}

/** As `removeSpoolFile`, for several files of one spool. */
export function removeSpoolFiles(files: readonly SpoolFile[]): void {
  for (const file of files) {
    takeBodyOrNull(file);
    if (!isRecord(file)) removeOwn(file.path, file.sizeBytes);
  }
  const records = files.filter(isRecord);
  markRecords(records, "void");
  // A long outage merges again and again: what is void must not fill the disk.
  for (const folder of new Set(records.map(({ path }) => dirname(path)))) {
    if (basename(folder) !== SENT_FOLDER) retireLogs(folder);
  }
}

/** Removes every file, when the history of the spool is given up for that of the bucket. */
export function clearSpool(folder: string): void {
  for (const name of readdirSync(folder)) {
    const isOurs = parseSpoolFileNameOrNull(name) !== null || parseLogNameOrNull(name) !== null;
    if (isOurs || name.endsWith(".tmp")) rmSync(join(folder, name), { force: true });
  }
  rmSync(join(folder, SENT_FOLDER), { recursive: true, force: true });
}

/** Reads the LTX bytes of a file in chunks of up to 256 KB; a chunk is valid until the next one. */
export function* spoolChunks(file: SpoolFile): Generator<Uint8Array> {
  const chunk = new Uint8Array(Math.min(1 << 18, file.sizeBytes));
  const fd = openOwn(file.path);
  try {
    for (let offset = 0; offset < file.sizeBytes; ) {
      const length = Math.min(chunk.length, file.sizeBytes - offset);
      const read = readSync(fd, chunk, 0, length, file.offset + offset);
      if (read === 0) throw new WalrustError("database", `${file.path} became shorter while it was read`);
      yield chunk.subarray(0, read);
      offset += read;
    }
  } finally {
    closeSync(fd);
  }
}

/**
 * The page size of an LTX file, in bytes, from its header. Files of two page sizes are never
 * merged: the replacement of a database may have another page size.
 * @returns null when the header cannot be read: a reader of the whole file reports why
 */
export function ltxPageSizeOrNull({ path, offset }: RecordPlace): number | null {
  try {
    const fd = openOwn(path);
    try {
      const bytes = new Uint8Array(LTX_HEADER_SIZE);
      if (readSync(fd, bytes, 0, LTX_HEADER_SIZE, offset) < LTX_HEADER_SIZE) return null;
      return decodeLtxHeader(bytes).pageSizeBytes;
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (error instanceof WalrustError || systemCode(error) !== undefined) return null;
    throw error;
  }
}

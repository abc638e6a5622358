/**
 * Merges contiguous LTX files, oldest first, into one file that leads to the same state of the database.
 *
 * The newest version of each page wins. Pages beyond a later commit are dropped, even if the database grew
 * again afterwards: the later file then contains them, or they are zeros. Such zeros are written, because the
 * database that the output is applied to may still hold the pages from before. The output has the min TXID
 * and the pre-apply checksum of the oldest input, and the max TXID, commit, timestamp and post-apply checksum
 * of the newest, like the output of Litestream's compactor. The output has no WAL position and no node id. If
 * an input tracks no checksums, the output tracks none.
 *
 * Inputs are verified while they are read, so the output is valid only if mergeLtx returns. After an error
 * the caller discards everything that the sink received. Memory is one read buffer and a few pages for each
 * input, and the page index of the output, unless the caller gives a store for it.
 */
import { WalrustError } from "../errors.ts";
import { pageChecksum, xorChecksum } from "./crc64.ts";
import type { LtxHeader, LtxTrailer } from "./ltx.ts";
import { FLAG_NO_CHECKSUM, formatChecksum, isSnapshot, isWithoutChecksum } from "./ltx.ts";
import { LtxDecoder } from "./ltx-decoder.ts";
import { type IndexStore, LtxEncoder } from "./ltx-encoder.ts";
import { CHECKSUM_FLAG, type Checksum, lockPgno, NO_CHECKSUM } from "./types.ts";

/** The most files that one call merges. */
export const MERGE_INPUTS_MAX = 1024;

const READ_MEMORY_SIZE = 1024 * 1024;
const READ_SIZE_MIN = 4096;
const READ_SIZE_MAX = 64 * 1024;
const NO_PAGE = 2 ** 32;
/** So many bytes of zeros stand for pages that no file holds; SQLite writes every page that it adds. */
const ZEROS_MAX = 64 << 20;
/** Bytes of decoded pages after which other work gets a turn. */
const SLICE_BYTES = 1024 * 1024;

/**
 * Reads the next bytes of a file into `target`. Returns the number of bytes; 0 only at the end of the file.
 */
export type LtxSource = (target: Uint8Array) => number;

/** Options of a merge. */
export interface MergeOptions {
  /** Timestamp of the output; that of the newest input if absent. */
  readonly timestampMs?: number;
  /** The most bytes that are read of an input at once: the size of the longest input suffices. */
  readonly readSizeMax?: number;
  /** Holds the page index of a large output. */
  readonly indexStore?: IndexStore;
}

/** Header and trailer of a merged file. */
export interface MergedLtx {
  readonly header: LtxHeader;
  readonly trailer: LtxTrailer;
}

interface Input {
  readonly source: LtxSource;
  readonly decoder: LtxDecoder;
  readonly buffer: Uint8Array;
  /** The number of the page in decoder.page; NO_PAGE after the last page. */
  pgno: number;
  /** The trailer, as soon as the whole file was read and verified. */
  trailer: LtxTrailer | null;
  /** The last page that neither this file nor a later one cut off. */
  pgnoMax: number;
}

/**
 * Merges files at once.
 * @param sources contiguous files, oldest first
 * @param sink receives the output; its bytes are valid only during the call
 * @throws WalrustError "corrupt" when an input is damaged, "integrity" when the inputs are not contiguous
 */
export function mergeLtx(
  sources: readonly LtxSource[],
  sink: (bytes: Uint8Array) => void,
  options: MergeOptions = {},
): MergedLtx {
  const steps = mergeLtxInSlices(sources, sink, options);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/**
 * Merges files in slices of a megabyte of pages, so that other work gets a turn. The pages of all inputs
 * count, because each of them is decoded. @throws as `mergeLtx`
 */
export function* mergeLtxInSlices(
  sources: readonly LtxSource[],
  sink: (bytes: Uint8Array) => void,
  options: MergeOptions = {},
): Generator<void, MergedLtx> {
  if (sources.length < 1 || sources.length > MERGE_INPUTS_MAX) {
    throw new WalrustError(
      "internal",
      `Cannot merge ${sources.length} LTX files: expected 1 to ${MERGE_INPUTS_MAX}`,
    );
  }
  const inputs = openInputs(sources, options.readSizeMax ?? READ_SIZE_MAX);
  checkContiguous(inputs);
  const header = mergedHeader(inputs, options);
  const encoder = new LtxEncoder(header, sink, options.indexStore);
  const pagesSum = yield* mergePages(inputs, encoder);
  checkChecksumLinks(inputs);
  const postApplyChecksum = isWithoutChecksum(header)
    ? NO_CHECKSUM
    : inputs.at(-1)!.trailer!.postApplyChecksum;
  if (pagesSum !== null && pagesSum !== postApplyChecksum) {
    throw refuse(
      `the pages have checksum ${formatChecksum(pagesSum)}, ` +
        `expected ${formatChecksum(postApplyChecksum)} as the newest file says`,
    );
  }
  return { header, trailer: yield* encoder.finishInSlices(postApplyChecksum) };
}

function openInputs(sources: readonly LtxSource[], readSizeMax: number): Input[] {
  const share = Math.floor(READ_MEMORY_SIZE / sources.length);
  const readSize = Math.max(READ_SIZE_MIN, Math.min(READ_SIZE_MAX, readSizeMax, share));
  const inputs = sources.map((source) => {
    const buffer = new Uint8Array(readSize);
    const input: Input = { source, decoder: new LtxDecoder(), buffer, pgno: 0, trailer: null, pgnoMax: 0 };
    advance(input);
    return input;
  });
  let pgnoMax = NO_PAGE;
  for (const input of inputs.toReversed()) {
    pgnoMax = Math.min(pgnoMax, headerOf(input).commit);
    input.pgnoMax = pgnoMax;
  }
  return inputs;
}

/** Moves an input to its next page or to its verified end. The first call sets the header. */
function advance(input: Input): void {
  const { source, decoder, buffer } = input;
  while (!decoder.next()) {
    const count = source(buffer);
    if (count === 0) {
      input.trailer = decoder.finish();
      input.pgno = NO_PAGE;
      return;
    }
    decoder.push(buffer.subarray(0, count));
  }
  input.pgno = decoder.pgno;
}

function headerOf(input: Input): LtxHeader {
  return input.decoder.header!;
}

function checkContiguous(inputs: readonly Input[]): void {
  for (let index = 1; index < inputs.length; index++) {
    const older = headerOf(inputs[index - 1]!);
    const newer = headerOf(inputs[index]!);
    if (newer.minTxid !== older.maxTxid + 1) {
      throw refuse(`file ${index + 1} begins with TXID ${newer.minTxid}, expected ${older.maxTxid + 1}`);
    }
    if (newer.pageSizeBytes !== older.pageSizeBytes) {
      const found = `${newer.pageSizeBytes}, expected ${older.pageSizeBytes} as before`;
      throw refuse(`file ${index + 1} has page size ${found}`);
    }
  }
}

/**
 * Compares the post-apply checksum of each file with the pre-apply checksum of the next, where both have
 * them.
 */
function checkChecksumLinks(inputs: readonly Input[]): void {
  for (let index = 1; index < inputs.length; index++) {
    const older = inputs[index - 1]!;
    const newer = headerOf(inputs[index]!);
    if (isWithoutChecksum(headerOf(older)) || isWithoutChecksum(newer)) continue;
    const expected = older.trailer!.postApplyChecksum;
    if (newer.preApplyChecksum === expected) continue;
    const found = `${formatChecksum(newer.preApplyChecksum)}, expected ${formatChecksum(expected)}`;
    throw refuse(`file ${index + 1} applies to a database with checksum ${found}`);
  }
}

function mergedHeader(inputs: readonly Input[], options: MergeOptions): LtxHeader {
  const oldest = headerOf(inputs[0]!);
  const newest = headerOf(inputs.at(-1)!);
  const isWithout = inputs.some((input) => isWithoutChecksum(headerOf(input)));
  return {
    flags: isWithout ? FLAG_NO_CHECKSUM : 0,
    pageSizeBytes: oldest.pageSizeBytes,
    commit: newest.commit,
    minTxid: oldest.minTxid,
    maxTxid: newest.maxTxid,
    timestampMs: options.timestampMs ?? newest.timestampMs,
    preApplyChecksum: isWithout ? NO_CHECKSUM : oldest.preApplyChecksum,
    walOffset: 0,
    walSizeBytes: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
  };
}

/** Encodes the newest version of each page. @returns the database checksum if the output holds every page */
function* mergePages(inputs: readonly Input[], encoder: LtxEncoder): Generator<void, Checksum | null> {
  const { header } = encoder;
  const isWhole = isSnapshot(header);
  const sumsPages = isWhole && !isWithoutChecksum(header);
  let sum = CHECKSUM_FLAG;
  let nextPgno = 1;
  let slicedBytes = 0;
  const zeros = isWhole ? null : new CutPages(inputs, encoder);
  for (;;) {
    const pgno = lowestPgno(inputs);
    const newest = pgno === NO_PAGE ? null : newestOrNull(inputs, pgno);
    // Only the lock page may be missing from a snapshot.
    if (isWhole && nextPgno === lockPgno(header.pageSizeBytes)) nextPgno++;
    if (isWhole && nextPgno <= header.commit && pgno > nextPgno) {
      throw refuse(`page ${nextPgno} of ${header.commit} is in none of the files`);
    }
    if (pgno === NO_PAGE || newest !== null) zeros?.fillTo(Math.min(pgno, header.commit + 1));
    if (pgno === NO_PAGE) return sumsPages ? sum : null;
    if (newest !== null) {
      if (sumsPages) sum = xorChecksum(sum, pageChecksum(pgno, newest.decoder.page));
      encoder.page(pgno, newest.decoder.page);
      nextPgno = pgno + 1;
    }
    for (const input of inputs) {
      if (input.pgno !== pgno) continue;
      advance(input);
      slicedBytes += header.pageSizeBytes;
      if (slicedBytes < SLICE_BYTES) continue;
      slicedBytes = 0;
      yield;
    }
  }
}

/** Writes zeros for the pages that some file cut off, and that no later file contains. */
class CutPages {
  readonly #encoder: LtxEncoder;
  readonly #zero: Uint8Array;
  readonly #lock: number;
  #nextPgno: number;
  #left: number;

  constructor(inputs: readonly Input[], encoder: LtxEncoder) {
    const { pageSizeBytes } = encoder.header;
    this.#encoder = encoder;
    this.#zero = new Uint8Array(pageSizeBytes);
    this.#lock = lockPgno(pageSizeBytes);
    this.#nextPgno = inputs.reduce((min, input) => Math.min(min, headerOf(input).commit), NO_PAGE) + 1;
    this.#left = ZEROS_MAX / pageSizeBytes;
  }

  /** Fills up to the page before `pgno`, which is the next page of the output. */
  fillTo(pgno: number): void {
    for (; this.#nextPgno < pgno; this.#nextPgno++) {
      if (this.#nextPgno === this.#lock) continue;
      if (this.#left-- <= 0)
        throw refuse(`page ${this.#nextPgno} was cut off and is in none of the later files`);
      this.#encoder.page(this.#nextPgno, this.#zero);
    }
    if (this.#nextPgno === pgno) this.#nextPgno++;
  }
}

function lowestPgno(inputs: readonly Input[]): number {
  let pgno = NO_PAGE;
  for (const input of inputs) if (input.pgno < pgno) pgno = input.pgno;
  return pgno;
}

/** The newest input that contains the page; null when a later commit cut the page off. */
function newestOrNull(inputs: readonly Input[], pgno: number): Input | null {
  for (let index = inputs.length - 1; index >= 0; index--) {
    const input = inputs[index]!;
    if (input.pgno === pgno) return pgno <= input.pgnoMax ? input : null;
  }
  return null;
}

function refuse(found: string): WalrustError {
  return new WalrustError("integrity", `Cannot merge LTX files: ${found}`);
}

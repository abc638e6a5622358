/**
 * The judge: decides whether one object is what its key, its listing and its metadata claim. No other file
 * decides that. A restore throws the first error, verify collects all findings, a replica asks the judge
 * before it applies an object, and compaction and retention ask it before they delete anything.
 *
 * `checkObject` reads an object once, front to back, and checks
 *  1. its size against the listing, and against the pages that its header claims,
 *  2. its TXIDs by the header against its key, and its time by the header against its metadata,
 *  3. every page, the page index and the LTX file checksum; in a snapshot also the database checksum,
 *  4. its SHA-256 against its metadata,
 *  5. its link of the SHA-256 chain, and the chain value of the object before it, if that value is known.
 * `checkEnds` checks 1, 2 and 5 by header and trailer alone. object-links.ts compares the facts of two
 * objects.
 *
 * Invariants:
 * 1. Memory is one page and one chunk, whatever the object claims. No more is read than the listing says.
 * 2. Metadata that is missing contradicts nothing: Litestream wrote the object, or a gateway lost it.
 * 3. A receiver gets nothing more after the first finding.
 * 4. Damage is a finding. Only failures of the storage and of the receiver are thrown.
 */
import { hasCode, WalrustError } from "../../errors.ts";
import { CHAIN_ZERO, hex, isChainLink, nextChain, parseHex32 } from "../../format/chain.ts";
import {
  decodeLtxHeader,
  decodeLtxTrailer,
  LTX_HEADER_SIZE,
  type LtxHeader,
  type LtxTrailer,
} from "../../format/ltx.ts";
import { LtxDecoder } from "../../format/ltx-decoder.ts";
import { type LtxObject, withKey } from "../../storage/bucket/catalog.ts";
import { decodeMetadata, type WalrustMetadata } from "../../storage/contract/object-metadata.ts";
import type { ObjectBody, ObjectMetadata, ObjectStore } from "../../storage/contract/store.ts";
import { getListed } from "./listed-body.ts";
import { decodingFinding, type ObjectFinding, objectFinding, throwFirstError } from "./object-finding.ts";
import { chainLinkFindings, type ObjectFacts } from "./object-links.ts";
import { isPlausibleSize, LTX_SIZE_MIN, LTX_TAIL_SIZE } from "./object-size.ts";
import { type FetchedObject, fetchedFrom } from "./object-source.ts";

/** Objects up to this size are read whole: one get costs less than two ranged gets. */
export const WHOLE_SIZE_MAX = 8192;

/** Takes the pages of an object: a database under construction, a replica in a transaction, a digest. */
export interface PageReceiver {
  /** The header has come, and it agrees with key, listing and metadata. */
  begin(key: string, header: LtxHeader, objectBytes: number): void;
  page(pgno: number, data: Uint8Array): void;
  /** All bytes are read, and the LTX checksums and the SHA-256 are right. */
  end(key: string, trailer: LtxTrailer): void;
}

/** The point that a path of objects has reached. */
export interface PathPoint {
  /** 0 at the start. */
  readonly txid: number;
  /** Chain value at the point, 64 hex digits; null when the objects carry no chain. */
  readonly chain: string | null;
}

/** The surroundings of a check. */
export interface CheckOptions {
  /** The path that the object continues. */
  readonly after?: PathPoint;
  /** Takes the pages; the check then ends with its first finding. */
  readonly receiver?: PageReceiver;
  /** Takes each chunk, after the check of the chunk. */
  readonly onChunk?: (chunk: Uint8Array) => void;
}

/** The verdict on an object. */
export interface ObjectVerdict {
  readonly object: LtxObject;
  /** In the order of the checks. The object is sound when there are none. */
  readonly findings: readonly ObjectFinding[];
  /** Null when the object cannot be decoded, or is not the object that its key names. */
  readonly facts: ObjectFacts | null;
  /** SHA-256 of all bytes; null when not all were read. */
  readonly sha256: Uint8Array | null;
}

/**
 * Reads and judges one object.
 * @throws what the chunks and the receiver throw
 */
export async function checkObject(
  { object, metadata, chunks }: FetchedObject,
  options: CheckOptions = {},
): Promise<ObjectVerdict> {
  const check = new ObjectCheck(object, metadata, options);
  if (!check.isOver) {
    for await (const chunk of chunks) {
      check.push(chunk);
      if (check.isOver) break;
      options.onChunk?.(chunk);
    }
  }
  return check.end();
}

/**
 * Gets a listed object and judges every byte.
 * @throws WalrustError "not-found" or another storage code
 */
export async function checkListed(
  store: ObjectStore,
  object: LtxObject,
  options: CheckOptions,
  signal: AbortSignal | undefined,
): Promise<ObjectVerdict> {
  if (object.sizeBytes < LTX_SIZE_MIN) {
    return { object, findings: [tooSmall(object)], facts: null, sha256: null };
  }
  let fetched: FetchedObject;
  try {
    fetched = await fetchedFrom(object, await getListed(store, object, signal));
  } catch (error) {
    // In a folder bucket the metadata is a file of its own, which may be damaged.
    if (!hasCode(error, "integrity")) throw error;
    return { object, findings: [decodingFinding("bad-metadata", error)], facts: null, sha256: null };
  }
  return checkObject(fetched, options);
}

/** One object while it is read. */
class ObjectCheck {
  readonly #object: LtxObject;
  readonly #options: CheckOptions;
  readonly #findings: ObjectFinding[] = [];
  readonly #metadata: WalrustMetadata | null;
  readonly #hasher = new Bun.CryptoHasher("sha256");
  readonly #decoder = new LtxDecoder();
  #header: LtxHeader | null = null;
  #sizeBytes = 0;
  /** Whether the rest of the object cannot change the verdict. */
  #isDecided = false;
  /** Set when the bytes are no LTX file. The rest is still hashed: the SHA-256 dates the damage. */
  #damage: WalrustError | null = null;

  constructor(object: LtxObject, metadata: ObjectMetadata, options: CheckOptions) {
    this.#object = object;
    this.#options = options;
    const read = readMetadata(object, metadata);
    this.#metadata = "code" in read ? null : read;
    if ("code" in read) this.#findings.push(read);
    if (object.sizeBytes < LTX_SIZE_MIN) this.#findings.push(tooSmall(object));
    this.#isDecided = this.#findings.length > 0;
  }

  get isOver(): boolean {
    return this.#isDecided || (this.#options.receiver !== undefined && this.#findings.length > 0);
  }

  push(chunk: Uint8Array): void {
    this.#sizeBytes += chunk.length;
    if (this.#sizeBytes > this.#object.sizeBytes) {
      this.#add("bad-size", `is longer than the ${this.#object.sizeBytes} bytes listed`);
      this.#isDecided = true;
      return;
    }
    this.#hasher.update(chunk);
    if (this.#damage !== null) return;
    this.#decode(() => this.#decoder.push(chunk));
    while (!this.isOver && this.#decode(() => this.#decoder.next())) {
      this.#takeHeader();
      if (!this.isOver) this.#options.receiver?.page(this.#decoder.pgno, this.#decoder.page);
    }
    if (!this.isOver) this.#takeHeader();
  }

  end(): ObjectVerdict {
    const object = this.#object;
    const metadata = this.#metadata;
    const verdict = { object, findings: this.#findings, facts: null, sha256: null };
    if (this.isOver || metadata === null) return verdict;
    const { sizeBytes } = object;
    if (this.#sizeBytes !== sizeBytes) {
      this.#add("bad-size", `has ${this.#sizeBytes} bytes, the listing says ${sizeBytes}`);
      if (this.isOver) return verdict;
    }
    const sha256 = new Uint8Array(this.#hasher.digest());
    const isAsClaimed = metadata.sha256 === null || metadata.sha256 === hex(sha256);
    const trailer = this.#decode(() => this.#decoder.finish());
    if (this.#damage !== null) this.#findings.push(damageFinding(this.#damage, metadata, isAsClaimed));
    if (trailer === null || this.#header === null) return { ...verdict, sha256 };
    if (!isAsClaimed) {
      this.#add("bad-sha256", `has SHA-256 ${hex(sha256)}, its metadata says ${metadata.sha256}`);
    }
    if (!this.isOver) this.#options.receiver?.end(object.key, trailer);
    const { postApplyChecksum } = trailer;
    const facts = { object, header: this.#header, postApplyChecksum, metadata };
    this.#findings.push(...chainFindings(object, metadata, sha256, this.#options.after));
    return { ...verdict, facts, sha256 };
  }

  /** Judges the header as soon as it is complete. */
  #takeHeader(): void {
    const { header } = this.#decoder;
    if (this.#header !== null || header === null || this.#metadata === null) return;
    this.#header = header;
    this.#findings.push(...headerFindings(this.#object, header, this.#metadata));
    this.#isDecided ||= this.#findings.some(({ code }) => code === "wrong-key");
    if (!this.isOver) this.#options.receiver?.begin(this.#object.key, header, this.#object.sizeBytes);
  }

  /** Runs the decoder. @returns null when the bytes are no LTX file */
  #decode<T>(run: () => T): T | null {
    try {
      return withKey(this.#object.key, run);
    } catch (error) {
      if (!hasCode(error, "corrupt")) throw error;
      if (this.#options.receiver === undefined) this.#damage ??= error;
      else this.#findings.push(decodingFinding("corrupt-object", error));
      return null;
    }
  }

  #add(code: ObjectFinding["code"], what: string): void {
    this.#findings.push(objectFinding(this.#object, code, what));
  }
}

/** The finding about bytes that are no LTX file. A right SHA-256 means that they were written like this. */
function damageFinding(damage: WalrustError, claimed: WalrustMetadata, isAsClaimed: boolean): ObjectFinding {
  if (claimed.sha256 === null) return decodingFinding("corrupt-object", damage);
  const since = isAsClaimed ? "is right: it was written like this" : "is not the one that its metadata says";
  const { code, message, context } = damage;
  const error = new WalrustError(code, `${message}; its SHA-256 ${since}`, { context, cause: damage });
  return decodingFinding("corrupt-object", error);
}

function readMetadata(object: LtxObject, metadata: ObjectMetadata): WalrustMetadata | ObjectFinding {
  try {
    return decodeMetadata(object.key, metadata);
  } catch (error) {
    if (!hasCode(error, "integrity")) throw error;
    return decodingFinding("bad-metadata", error);
  }
}

/**
 * Reads header and trailer of one object and judges them: two small ranged gets. An object of a few kilobytes
 * is read and judged whole, which takes one request less.
 * @throws WalrustError "not-found" or another storage code
 */
export async function checkEnds(
  store: ObjectStore,
  object: LtxObject,
  signal: AbortSignal | undefined,
): Promise<ObjectVerdict> {
  if (object.sizeBytes <= WHOLE_SIZE_MAX) return checkListed(store, object, {}, signal);
  const verdict = { object, facts: null, sha256: null };
  try {
    const { header, ...start } = await readStart(store, object, signal);
    const tail = await getRange(store, object.key, object.sizeBytes - LTX_TAIL_SIZE, LTX_TAIL_SIZE, signal);
    const { postApplyChecksum } = decodeTail(object, header, await tail.bytes());
    const metadata = decodeMetadata(object.key, start.metadata);
    const findings: ObjectFinding[] = [];
    if (start.sizeBytes !== object.sizeBytes) {
      const what = `has ${start.sizeBytes} bytes, the listing says ${object.sizeBytes}`;
      findings.push(objectFinding(object, "bad-size", what));
    }
    findings.push(...headerFindings(object, header, metadata));
    if (findings.some(({ code }) => code === "wrong-key")) return { ...verdict, findings };
    findings.push(...chainFindings(object, metadata, null, undefined));
    return { ...verdict, findings, facts: { object, header, postApplyChecksum, metadata } };
  } catch (error) {
    if (hasCode(error, "corrupt"))
      return { ...verdict, findings: [decodingFinding("corrupt-object", error)] };
    if (!hasCode(error, "integrity")) throw error;
    return { ...verdict, findings: [decodingFinding("bad-metadata", error)] };
  }
}

/**
 * Reads the capture time of an object from its header.
 * @throws WalrustError code "corrupt", "integrity" when key or metadata contradict the header, or a storage
 * code
 */
export async function readTime(store: ObjectStore, object: LtxObject, signal?: AbortSignal): Promise<number> {
  const { header, metadata } = await readStart(store, object, signal);
  const claims = headerFindings(object, header, decodeMetadata(object.key, metadata));
  throwFirstError(claims.filter(({ code }) => code === "wrong-key" || code === "time-mismatch"));
  return header.timestampMs;
}

/** The beginning of an object. @throws WalrustError code "corrupt" or a storage code */
async function readStart(
  store: ObjectStore,
  object: LtxObject,
  signal: AbortSignal | undefined,
): Promise<{ header: LtxHeader; metadata: ObjectMetadata; sizeBytes: number }> {
  const body = await getRange(store, object.key, 0, LTX_HEADER_SIZE, signal);
  const bytes = await body.bytes();
  const header = withKey(object.key, () => decodeLtxHeader(bytes));
  return { header, metadata: body.metadata, sizeBytes: body.sizeBytes };
}

function getRange(
  store: ObjectStore,
  key: string,
  offset: number,
  length: number,
  signal: AbortSignal | undefined,
): Promise<ObjectBody> {
  return store.get(key, { range: { offset, length }, ...(signal === undefined ? {} : { signal }) });
}

/** Decodes the trailer, and checks that the page index before it fits into the file. */
function decodeTail(object: LtxObject, header: LtxHeader, bytes: Uint8Array): LtxTrailer {
  const trailer = withKey(object.key, () => decodeLtxTrailer(bytes.subarray(8), header));
  const indexSize = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0);
  const indexSizeMax = object.sizeBytes - LTX_SIZE_MIN + 1;
  if (indexSize >= 1n && indexSize <= BigInt(indexSizeMax)) return trailer;
  const found = `its page index has ${indexSize} bytes, expected 1 to ${indexSizeMax}`;
  throw new WalrustError("corrupt", `${object.key}: ${found}`, { context: { key: object.key } });
}

function tooSmall(object: LtxObject): ObjectFinding {
  const what = `has ${object.sizeBytes} bytes, an LTX file has at least ${LTX_SIZE_MIN}`;
  return objectFinding(object, "bad-size", what);
}

/** Whether the header agrees with the key, the size of the object and its metadata. */
function headerFindings(object: LtxObject, header: LtxHeader, { timeMs }: WalrustMetadata): ObjectFinding[] {
  const findings: ObjectFinding[] = [];
  const add = (code: ObjectFinding["code"], what: string): void =>
    void findings.push(objectFinding(object, code, what));
  if (header.minTxid !== object.minTxid || header.maxTxid !== object.maxTxid) {
    add("wrong-key", `is TXID ${header.minTxid} to ${header.maxTxid} by its header`);
    return findings;
  }
  if (!isPlausibleSize(header, object.sizeBytes)) {
    const found = `${header.commit} pages of ${header.pageSizeBytes} bytes in the database`;
    add("bad-size", `has ${object.sizeBytes} bytes, which cannot be with ${found}`);
  }
  if (timeMs !== null && timeMs !== header.timestampMs) {
    add(
      "time-mismatch",
      `has time ${isoTime(timeMs)} in its metadata, ${isoTime(header.timestampMs)} in its header`,
    );
  }
  return findings;
}

/**
 * Whether the chain value of an object follows from its SHA-256 and the value before it.
 * @param sha256 of the bytes; null when they were not read
 */
function chainFindings(
  object: LtxObject,
  metadata: WalrustMetadata,
  sha256: Uint8Array | null,
  after: PathPoint = { txid: 0, chain: null },
): ObjectFinding[] {
  const { chain, previousChain } = metadata;
  const isContinuation = after.txid > 0 && object.minTxid === after.txid + 1;
  const before = { key: "the object before it", chain: isContinuation ? after.chain : null };
  const findings = chainLinkFindings(object, metadata, before);
  const valueBefore = previousChain ?? before.chain;
  // A claimed SHA-256 that is wrong breaks the link as well.
  const bytesSha256 = metadata.sha256 === null ? sha256 : parseHex32(metadata.sha256);
  if (!isChainLink(object) || chain === null || valueBefore === null || bytesSha256 === null) return findings;
  if (hex(nextChain(parseHex32(valueBefore), bytesSha256)) !== chain) {
    findings.push(objectFinding(object, "broken-chain", "does not follow from its own previous chain value"));
  } else if (object.maxTxid === 1 && valueBefore !== hex(CHAIN_ZERO)) {
    const what = "is the first snapshot but does not begin the chain";
    findings.push(objectFinding(object, "broken-chain", what));
  }
  return findings;
}

function isoTime(timeMs: number): string {
  const date = new Date(timeMs);
  return Number.isNaN(date.getTime()) ? `${timeMs} ms` : date.toISOString();
}

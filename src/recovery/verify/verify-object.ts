/**
 * One object, looked at by itself: its header and trailer, or every byte of it, against its key, its metadata
 * and its own link of the chain.
 *
 * Header and trailer are two small ranged gets; an object of a few kilobytes is read whole instead, which
 * takes one request less and checks everything. Memory is bounded whatever the object's size. Damage becomes
 * findings; only storage failures throw.
 */
import { hasCode, WalrustError } from "../../errors.ts";
import { CHAIN_ZERO, hex, isChainLink, nextChain, parseHex32 } from "../../format/chain.ts";
import type { LtxHeader, LtxTrailer } from "../../format/ltx.ts";
import { decodeLtxHeader, decodeLtxTrailer, LTX_HEADER_SIZE } from "../../format/ltx.ts";
import { LtxDecoder } from "../../format/ltx-decoder.ts";
import { type LtxObject, withKey } from "../../storage/bucket/catalog.ts";
import { decodeMetadata, type WalrustMetadata } from "../../storage/contract/object-metadata.ts";
import type { ObjectBody, ObjectMetadata, ObjectStore } from "../../storage/contract/store.ts";
import { getListed } from "../object/listed-body.ts";
import type { ObjectFacts } from "./verify-links.ts";
import type { FindingCode, Findings } from "./verify-report.ts";
import { isPlausibleSize, LTX_SIZE_MIN, LTX_TAIL_SIZE } from "./verify-size.ts";

/** Up to this size one whole get is cheaper than two ranged ones. */
export const WHOLE_SIZE_MAX = 8192;

/** What came of looking at an object. */
export interface ObjectCheck {
  readonly object: LtxObject;
  /** Null when the object cannot be used for further checks: what is wrong is a finding. */
  readonly facts: ObjectFacts | null;
  /** The object went away after it was listed. */
  readonly isVanished: boolean;
  /** Whether every byte was read. */
  readonly isRead: boolean;
  /** Findings about it, in the order they were found. */
  readonly problems: readonly ObjectProblem[];
}

/** A finding about one object. */
export interface ObjectProblem {
  readonly code: FindingCode;
  readonly message: string;
}

interface Reading {
  readonly header: LtxHeader;
  readonly trailer: LtxTrailer;
  readonly metadata: ObjectMetadata;
  readonly sizeBytes: number;
  /** SHA-256 of all bytes, if they were read. */
  readonly sha256: Uint8Array | null;
}

/**
 * Checks one object; `isWhole` reads every byte of it.
 * @throws WalrustError with a storage code
 */
export async function checkObject(
  store: ObjectStore,
  object: LtxObject,
  isWhole: boolean,
  signal: AbortSignal | undefined,
): Promise<ObjectCheck> {
  const isRead = isWhole || object.sizeBytes <= WHOLE_SIZE_MAX;
  const check = { object, facts: null, isVanished: false, isRead };
  if (object.sizeBytes < LTX_SIZE_MIN) {
    const message = `has ${object.sizeBytes} bytes, an LTX file has at least ${LTX_SIZE_MIN}`;
    return { ...check, isRead: false, problems: [{ code: "bad-size", message }] };
  }
  try {
    const reading = isRead ? await readWhole(store, object, signal) : await readEnds(store, object, signal);
    const metadata = decodeMetadata(object.key, reading.metadata);
    return { ...check, ...judge(object, reading, metadata) };
  } catch (error) {
    if (hasCode(error, "not-found")) return { ...check, isVanished: true, problems: [] };
    const code = hasCode(error, "corrupt") ? "corrupt-object" : "bad-metadata";
    if (!hasCode(error, "corrupt") && !hasCode(error, "integrity")) throw error;
    return { ...check, problems: [{ code, message: error.message }] };
  }
}

/** Adds what was found of an object to all findings. */
export function addProblems({ object, problems }: ObjectCheck, findings: Findings): void {
  for (const { code, message } of problems) findings.add(code, object.key, object.maxTxid, message);
}

async function readEnds(
  store: ObjectStore,
  object: LtxObject,
  signal: AbortSignal | undefined,
): Promise<Reading> {
  const { key, sizeBytes } = object;
  const start = await getRange(store, key, 0, LTX_HEADER_SIZE, signal);
  const header = decodeHeader(key, await start.bytes());
  const tail = await getRange(store, key, sizeBytes - LTX_TAIL_SIZE, LTX_TAIL_SIZE, signal);
  const trailer = decodeTail(object, header, await tail.bytes());
  return { header, trailer, metadata: start.metadata, sizeBytes: start.sizeBytes, sha256: null };
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

function decodeHeader(key: string, bytes: Uint8Array): LtxHeader {
  return withKey(key, () => decodeLtxHeader(bytes));
}

/** The trailer, and that the size of the index before it fits into the file. */
function decodeTail(object: LtxObject, header: LtxHeader, bytes: Uint8Array): LtxTrailer {
  const trailer = withKey(object.key, () => decodeLtxTrailer(bytes.subarray(8), header));
  const indexSize = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0);
  const indexSizeMax = object.sizeBytes - LTX_SIZE_MIN + 1;
  if (indexSize >= 1n && indexSize <= BigInt(indexSizeMax)) return trailer;
  const found = `its page index has ${indexSize} bytes, expected 1 to ${indexSizeMax}`;
  throw new WalrustError("corrupt", `${object.key}: ${found}`, { context: { key: object.key } });
}

async function readWhole(
  store: ObjectStore,
  object: LtxObject,
  signal: AbortSignal | undefined,
): Promise<Reading> {
  const { key } = object;
  const body = await getListed(store, object, signal);
  const hasher = new Bun.CryptoHasher("sha256");
  const decoder = new LtxDecoder();
  for await (const chunk of body.chunks) {
    hasher.update(chunk);
    withKey(key, () => {
      decoder.push(chunk);
      while (decoder.next());
    });
  }
  const trailer = withKey(key, () => decoder.finish());
  const sha256 = new Uint8Array(hasher.digest());
  return { header: decoder.header!, trailer, metadata: body.metadata, sizeBytes: decoder.bytesRead, sha256 };
}

/** Everything that can be judged about an object without knowing another one. */
function judge(
  object: LtxObject,
  reading: Reading,
  metadata: WalrustMetadata,
): { facts: ObjectFacts | null; problems: ObjectProblem[] } {
  const { header, trailer, sizeBytes, sha256 } = reading;
  const problems: ObjectProblem[] = [];
  const add = (code: FindingCode, message: string): void => void problems.push({ code, message });
  if (header.minTxid !== object.minTxid || header.maxTxid !== object.maxTxid) {
    add("wrong-key", `says in its header that it is TXID ${header.minTxid} to ${header.maxTxid}`);
    return { facts: null, problems };
  }
  if (sizeBytes !== object.sizeBytes) {
    add("bad-size", `has ${sizeBytes} bytes, the listing says ${object.sizeBytes}`);
  } else if (!isPlausibleSize(header, sizeBytes)) {
    const found = `${header.commit} pages of ${header.pageSizeBytes} bytes in the database`;
    add("bad-size", `has ${sizeBytes} bytes, which cannot be with ${found}`);
  }
  if (metadata.timeMs !== null && metadata.timeMs !== header.timestampMs) {
    add(
      "time-mismatch",
      `has the time ${isoTime(metadata.timeMs)}, its header ${isoTime(header.timestampMs)}`,
    );
  }
  if (sha256 !== null && metadata.sha256 !== null && metadata.sha256 !== hex(sha256)) {
    add("bad-sha256", `has SHA-256 ${hex(sha256)}, its metadata says ${metadata.sha256}`);
  }
  const chainProblem = ownChainProblemOrNull(object, metadata);
  if (chainProblem !== null) problems.push(chainProblem);
  return { facts: { object, header, postApplyChecksum: trailer.postApplyChecksum, metadata }, problems };
}

/** Whether the object's chain value follows from the value before it and its SHA-256. */
function ownChainProblemOrNull(object: LtxObject, metadata: WalrustMetadata): ObjectProblem | null {
  const { chain, previousChain, sha256 } = metadata;
  const isLink = isChainLink(object);
  // A missing value contradicts nothing: verify.ts counts it.
  if (!isLink || chain === null || sha256 === null || previousChain === null) return null;
  if (hex(nextChain(parseHex32(previousChain), parseHex32(sha256))) !== chain) {
    return { code: "broken-chain", message: "does not follow from its own previous chain value" };
  }
  if (object.maxTxid === 1 && previousChain !== hex(CHAIN_ZERO)) {
    return { code: "broken-chain", message: "is the first snapshot but does not begin the chain" };
  }
  return null;
}

function isoTime(timeMs: number): string {
  const date = new Date(timeMs);
  return Number.isNaN(date.getTime()) ? `${timeMs} ms` : date.toISOString();
}

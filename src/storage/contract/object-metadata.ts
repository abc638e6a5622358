/**
 * The user metadata of walrust's objects: written with every LTX object, read by restore, verify and the
 * writer. It has copies of facts in the object itself, and the link of the SHA-256 chain. Objects of
 * Litestream have only `litestream-timestamp` (s3) or nothing (file).
 */
import { WalrustError } from "../../errors.ts";
import type { ObjectMetadata } from "./store.ts";

/** The decoded metadata of an object. */
export interface WalrustMetadata {
  /** Time of the capture in ms since the epoch. */
  readonly timeMs: number | null;
  /** SHA-256 of the object's bytes, 64 hex digits. */
  readonly sha256: string | null;
  /** Chain value at the object's last TXID, 64 hex digits. */
  readonly chain: string | null;
  /** Chain value before the object's first TXID, 64 hex digits. */
  readonly previousChain: string | null;
  /** Id of the writer, 32 hex digits. */
  readonly writer: string | null;
  readonly version: string | null;
}

const HEX_64 = /^[0-9a-f]{64}$/;

/** The metadata in the form in which stores keep it. */
export function encodeMetadata(metadata: WalrustMetadata): ObjectMetadata {
  const result: Record<string, string> = {};
  if (metadata.timeMs !== null) result["litestream-timestamp"] = new Date(metadata.timeMs).toISOString();
  if (metadata.sha256 !== null) result["sha256"] = metadata.sha256;
  if (metadata.chain !== null) result["chain"] = metadata.chain;
  if (metadata.previousChain !== null) result["prev-chain"] = metadata.previousChain;
  if (metadata.writer !== null) result["walrust-writer"] = metadata.writer;
  if (metadata.version !== null) result["walrust-version"] = metadata.version;
  return result;
}

/**
 * Reads stored metadata; a missing field is null.
 * @throws WalrustError code "integrity" when a field is malformed
 */
export function decodeMetadata(key: string, metadata: ObjectMetadata): WalrustMetadata {
  const hash = (name: string): string | null => {
    const value = metadata[name];
    if (value === undefined) return null;
    if (!HEX_64.test(value)) throw malformed(key, name, value, "64 hex digits");
    return value;
  };
  const time = metadata["litestream-timestamp"];
  const timeMs = time === undefined ? null : Date.parse(time);
  if (timeMs !== null && Number.isNaN(timeMs))
    throw malformed(key, "litestream-timestamp", time!, "RFC 3339");
  return {
    timeMs,
    sha256: hash("sha256"),
    chain: hash("chain"),
    previousChain: hash("prev-chain"),
    writer: metadata["walrust-writer"] ?? null,
    version: metadata["walrust-version"] ?? null,
  };
}

function malformed(key: string, name: string, value: string, expected: string): WalrustError {
  return new WalrustError(
    "integrity",
    `Metadata ${name} of ${key} is ${JSON.stringify(value)}, expected ${expected}`,
    {
      hint: "The metadata of the object was edited or damaged; run `walrust verify`",
      context: { key },
    },
  );
}

/**
 * The format of a captured file: its name, and the footer after its LTX bytes. The head of spool.ts tells
 * when a file counts, and spool-log.ts how small ones lie in one file.
 *
 *   footer, 112 bytes, integers big-endian
 *   offset  size  field
 *        0     8  size of the LTX bytes, unsigned
 *        8    32  SHA-256 of the LTX bytes
 *       40    32  chain value before the first TXID of the file; zeros for a later snapshot, no link
 *       72    32  chain value at the last TXID of the file
 *      104     8  magic "WALRUST1"
 */
import { formatTxid, parseTxid, SNAPSHOT_LEVEL } from "../format/keys.ts";
import { TXID_MAX, type Txid } from "../format/types.ts";

/** Size of a footer in bytes. */
export const FOOTER_SIZE = 112;
/** Subfolder of uploaded files that are kept for a while (spool-cache.ts). */
export const SENT_FOLDER = "sent";
const MAGIC = new TextEncoder().encode("WALRUST1");
const NAME = /^([0-9a-f]{4})-([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/;

/** One complete file of the spool. */
export interface SpoolFile {
  readonly path: string;
  /** Where the LTX bytes begin: 0 in a file of their own, more in a log of increments. */
  readonly offset: number;
  readonly level: number;
  readonly minTxid: Txid;
  readonly maxTxid: Txid;
  /** Size of the LTX bytes. */
  readonly sizeBytes: number;
  readonly sha256: Uint8Array;
  readonly previousChain: Uint8Array;
  readonly chain: Uint8Array;
}

/** The content of a footer. */
export type SpoolFooter = Pick<SpoolFile, "sizeBytes" | "sha256" | "previousChain" | "chain">;

/** Level and TXIDs in the name of a complete file. */
export type SpoolFileName = Pick<SpoolFile, "level" | "minTxid" | "maxTxid">;

/** The footer of a file. */
export function encodeFooter({ sizeBytes, sha256, previousChain, chain }: SpoolFooter): Uint8Array {
  const footer = new Uint8Array(FOOTER_SIZE);
  new DataView(footer.buffer).setBigUint64(0, BigInt(sizeBytes));
  footer.set(sha256, 8);
  footer.set(previousChain, 40);
  footer.set(chain, 72);
  footer.set(MAGIC, 104);
  return footer;
}

/** Decodes a footer; null when it is none. */
export function decodeFooterOrNull(footer: Uint8Array): SpoolFooter | null {
  if (footer.length !== FOOTER_SIZE || !MAGIC.every((byte, index) => footer[104 + index] === byte))
    return null;
  const sizeBytes = Number(new DataView(footer.buffer, footer.byteOffset).getBigUint64(0));
  return {
    sizeBytes,
    sha256: footer.slice(8, 40),
    previousChain: footer.slice(40, 72),
    chain: footer.slice(72, 104),
  };
}

/** Parses the name of a complete file; null for any other name. */
export function parseSpoolFileNameOrNull(name: string): SpoolFileName | null {
  const match = NAME.exec(name);
  if (match === null) return null;
  const [, level, min, max] = match;
  if (!isTxid(min!) || !isTxid(max!)) return null;
  return { level: Number.parseInt(level!, 16), minTxid: parseTxid(min!), maxTxid: parseTxid(max!) };
}

/** Whether 16 hex digits are a TXID. */
export function isTxid(text: string): boolean {
  const value = Number.parseInt(text, 16);
  return value >= 1 && value <= TXID_MAX;
}

/** The name of a complete file. */
export function spoolFileName(level: number, minTxid: Txid, maxTxid: Txid): string {
  return `${level.toString(16).padStart(4, "0")}-${formatTxid(minTxid)}-${formatTxid(maxTxid)}.ltx`;
}

/** Whether a file is a snapshot, the first one or a later one. */
export function isSnapshotFile(file: SpoolFile): boolean {
  return file.level === SNAPSHOT_LEVEL;
}

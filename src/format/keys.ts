/**
 * Object keys: the place of an LTX file under the root of a destination, the same as in Litestream.
 *
 *   s3    <database>/<level, 4 hex digits>/<min TXID>-<max TXID>.ltx
 *   file  <database>/ltx/<level, decimal>/<min TXID>-<max TXID>.ltx
 *
 * TXIDs are 16 lower-case hexadecimal digits, so that a listing in byte order is in TXID order. Level 0 holds
 * increments, 1 to 3 (at most 8) compactions, 9 snapshots. <database> may contain slashes, and may be empty:
 * then the levels lie at the root. Parsing accepts exactly the keys that formatting produces; any other key
 * is not ours. Each key belongs to exactly one database. A folder is a level because LTX files lie directly
 * in it, so the database `tenants/0001` has keys such as `tenants/0001/0009/…`.
 * Source: Litestream 0.5.18, s3/replica_client.go and litestream.go.
 */
import { WalrustError } from "../errors.ts";
import { TXID_MAX, type Txid } from "./types.ts";

/** The level of snapshots. */
export const SNAPSHOT_LEVEL = 9;

/** How a destination names its objects. */
export type KeyLayout = "s3" | "file";

/** The parts of an object key. */
export interface ObjectName {
  readonly database: string;
  readonly level: number;
  readonly minTxid: Txid;
  readonly maxTxid: Txid;
}

/** A TXID as 16 lower-case hexadecimal digits. */
export function formatTxid(txid: Txid): string {
  return txid.toString(16).padStart(16, "0");
}

/** Parses 16 hexadecimal digits. @throws WalrustError "usage" on any other text, 0, or more than 2^53 - 1 */
export function parseTxid(text: string): Txid {
  const txid = txidOrNull(text.toLowerCase());
  if (txid === null) {
    throw new WalrustError(
      "usage",
      `Cannot parse TXID ${JSON.stringify(text.slice(0, 40))}: ` +
        `expected 16 hexadecimal digits from ${"1".padStart(16, "0")} to ${formatTxid(TXID_MAX)}`,
    );
  }
  return txid;
}

/** The name of an LTX file without its folder: `<min>-<max>.ltx`. */
export function ltxFileName(minTxid: Txid, maxTxid: Txid): string {
  return `${formatTxid(minTxid)}-${formatTxid(maxTxid)}.ltx`;
}

/** The common prefix of the keys of one database and level; ends with a slash. */
export function levelPrefix(layout: KeyLayout, database: string, level: number): string {
  if (!isLevel(level)) throw new WalrustError("internal", `Cannot name level ${level}: expected 0 to 9`);
  const folder = layout === "s3" ? level.toString(16).padStart(4, "0") : `ltx/${level}`;
  return `${databasePrefix(database)}${folder}/`;
}

/** The key of an LTX object. @throws WalrustError "internal" when the level or a TXID is out of range */
export function objectKey(
  layout: KeyLayout,
  database: string,
  level: number,
  minTxid: Txid,
  maxTxid: Txid,
): string {
  if (
    !(Number.isSafeInteger(minTxid) && Number.isSafeInteger(maxTxid) && minTxid >= 1 && minTxid <= maxTxid)
  ) {
    throw new WalrustError("internal", `Cannot name object ${minTxid}-${maxTxid}: expected 1 <= min <= max`);
  }
  return levelPrefix(layout, database, level) + ltxFileName(minTxid, maxTxid);
}

/** Parses a key; null when it is not the key of an LTX object in this layout. */
export function parseObjectKey(layout: KeyLayout, key: string): ObjectName | null {
  const match = (layout === "s3" ? S3_KEY : FILE_KEY).exec(key);
  if (match === null) return null;
  const minTxid = txidOrNull(match[3]!);
  const maxTxid = txidOrNull(match[4]!);
  if (minTxid === null || maxTxid === null || minTxid > maxTxid) return null;
  return { database: match[1] ?? "", level: Number(match[2]), minTxid, maxTxid };
}

/** Whether a folder directly below a database can be a level (s3), or the folder of all levels (file). */
export function isLevelFolder(layout: KeyLayout, name: string): boolean {
  return layout === "file" ? name === "ltx" : /^000[0-9]$/.test(name);
}

/** The key of the manifest of a database. */
export function manifestKey(database: string): string {
  return `${databasePrefix(database)}manifest.json`;
}

/**
 * The databases that may have a file where `database` needs a folder: `a` for `a/manifest.json/x`. A file
 * system, and most stores that imitate S3, cannot hold both.
 */
export function ownersInTheWay(database: string): string[] {
  const segments = database.split("/");
  const owners = segments.map((_, index) => {
    // In a folder bucket, sidecars and temporary files lie beside their object.
    const path = segments
      .slice(0, index + 1)
      .join("/")
      .replace(/(\.meta\.json|\.tmp)+$/, "");
    const object = parseObjectKey("s3", path) ?? parseObjectKey("file", path);
    if (object !== null) return object.database;
    return path.endsWith("/manifest.json") ? path.slice(0, -"/manifest.json".length) : "";
  });
  return owners.filter((owner) => owner !== "");
}

const S3_KEY = /^(?:(.+)\/)?000([0-9])\/([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/s;
const FILE_KEY = /^(?:(.+)\/)?ltx\/([0-9])\/([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/s;

function databasePrefix(database: string): string {
  if (database.startsWith("/") || database.endsWith("/")) {
    throw new WalrustError(
      "internal",
      `Cannot name an object of ${JSON.stringify(database)}: slash at its edge`,
    );
  }
  return database === "" ? "" : `${database}/`;
}

function isLevel(level: number): boolean {
  return Number.isInteger(level) && level >= 0 && level <= SNAPSHOT_LEVEL;
}

function txidOrNull(text: string): Txid | null {
  if (!/^[0-9a-f]{16}$/.test(text)) return null;
  const high = Number.parseInt(text.slice(0, 8), 16);
  const txid = high * 2 ** 32 + Number.parseInt(text.slice(8), 16);
  return high < 2 ** 21 && txid >= 1 ? (txid as Txid) : null;
}

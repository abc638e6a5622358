/**
 * Judges the ending of a restore from a corrupted bucket, from the recorded history and the keys in the
 * bucket alone. A restore may end in two ways:
 *
 * 1. It gives the recorded bytes of the TXID that was asked for. An earlier TXID is right for "latest" and
 *    for a time if and only if nothing in the bucket shows the later ones: no key, no hole between keys, no
 *    manifest. No object that it used contradicts its own metadata or its key.
 * 2. It exits with 5 or 6 and names an object, a TXID or the manifest.
 *
 * Anything else is an escape.
 */
import { WalrustError } from "../../../src/errors.ts";
import { decodeLtxFile } from "../../../src/format/ltx-decoder.ts";
import type { ObjectMetadata } from "../../../src/storage/contract/store.ts";
import { APP, type KeptObject, type Objects, type TemplateBucket } from "./template-bucket.ts";

/** A request for a point. */
export type Asked =
  | { readonly kind: "latest" }
  | { readonly kind: "txid"; readonly txid: number }
  | { readonly kind: "time"; readonly timeMs: number };

/** The ending of a restore. */
export type Ending =
  | {
      readonly txid: number;
      readonly bytes: Uint8Array;
      /** Keys of the objects that made the file. */
      readonly used: readonly string[];
    }
  | { readonly error: unknown };

/** An object by its key. */
interface Named {
  readonly key: string;
  readonly level: number;
  readonly minTxid: number;
  readonly maxTxid: number;
}

/** The objects of the database by their keys. */
export function namedObjects(objects: Objects, layout: "s3" | "file"): Named[] {
  const form = layout === "s3" ? "000([0-9])" : "ltx/([0-9])";
  const pattern = new RegExp(`^${APP}/${form}/([0-9a-f]{16})-([0-9a-f]{16})\\.ltx$`);
  return [...objects.keys()].flatMap((key) => {
    const [, level, min, max] = pattern.exec(key) ?? [];
    if (level === undefined) return [];
    const [minTxid, maxTxid] = [Number.parseInt(min!, 16), Number.parseInt(max!, 16)];
    const isKey = minTxid >= 1 && minTxid <= maxTxid;
    return isKey ? [{ key, level: Number(level), minTxid, maxTxid }] : [];
  });
}

/** The restorable TXIDs of a sound bucket, ascending. */
export function soundPoints({ objects, layout }: TemplateBucket): number[] {
  const named = namedObjects(objects, layout);
  const oldest = Math.min(...named.filter(({ minTxid }) => minTxid === 1).map(({ maxTxid }) => maxTxid));
  const points = new Set(named.map(({ maxTxid }) => maxTxid).filter((txid) => txid >= oldest));
  return [...points].sort((a, b) => a - b);
}

/** The escape that an ending is, in words, or null for an ending that is right. */
export function escapeOrNull(
  template: TemplateBucket,
  objects: Objects,
  asked: Asked,
  ending: Ending,
): string | null {
  if ("error" in ending) return badErrorOrNull(ending.error);
  const { txid, bytes, used } = ending;
  const image = template.images.get(txid);
  if (image === undefined) return `TXID ${txid} was never acknowledged`;
  if (Buffer.compare(image, bytes) !== 0) {
    return isBeyondDetection(template, objects, txid, used, bytes)
      ? null
      : `other bytes than those of TXID ${txid}`;
  }
  const expected = expectedTxid(template, asked);
  if (asked.kind === "time" && template.times.get(txid)! > asked.timeMs)
    return `TXID ${txid} of a later time`;
  // An expired object that is back may be a newer point before the time.
  if (expected === null || (asked.kind !== "time" && txid > expected)) return `TXID ${txid}, not ${expected}`;
  if (txid < expected) {
    if (asked.kind === "txid") return `TXID ${txid}, not ${expected}`;
    const passed = soundPoints(template).filter((point) => point > txid && point <= expected);
    const shown = passed.find((point) => isShown(point, template, objects));
    if (shown !== undefined) return `TXID ${txid}, not ${expected}, and the bucket shows ${shown}`;
  }
  for (const key of used) {
    const unnoticed = contradictionOrNull(key, objects.get(key)!, template.layout);
    if (unnoticed !== null) return `an object is used although ${unnoticed}`;
  }
  return null;
}

function badErrorOrNull(error: unknown): string | null {
  if (!(error instanceof WalrustError)) return `an untyped error: ${error}`;
  const { exitCode, message, hint = "" } = error;
  if (exitCode !== 5 && exitCode !== 6) return `exit ${exitCode}: ${message}`;
  const isNamed = /\.ltx|TXID \d|txid:\d|manifest|before the oldest|No backup of|nothing to restore/.test(
    `${message} ${hint}`,
  );
  return isNamed ? null : `an error that names nothing: ${message}`;
}

/**
 * Whether the used objects are of another history, and nothing of this one shows the difference: no object in
 * its place ends at the TXID or continues it, each merged object around it leads to the same bytes from both
 * states, and the manifest names neither the TXID nor the size of the snapshot. No restore can know better.
 * @param image the bytes that the objects lead to
 */
function isBeyondDetection(
  template: TemplateBucket,
  objects: Objects,
  txid: number,
  used: readonly string[],
  image: Uint8Array,
): boolean {
  const { objects: sound, expired, layout, images } = template;
  const isOwn = (key: string): boolean =>
    [sound, expired].some((those) => those.get(key)?.bytes === objects.get(key)!.bytes);
  if (used.some(isOwn)) return false;
  const touching = namedObjects(objects, layout).filter(
    ({ key, minTxid, maxTxid }) => minTxid <= txid + 1 && maxTxid >= txid && isOwn(key),
  );
  const isShowing = ({ key, minTxid, maxTxid }: Named): boolean => {
    if (maxTxid === txid || minTxid === txid + 1) return true;
    const { bytes } = objects.get(key)!;
    return minTxid > 1 && Buffer.compare(appliedTo(image, bytes), appliedTo(images.get(txid)!, bytes)) !== 0;
  };
  return !touching.some(isShowing) && !isNamedByManifest(objects, txid, used[0]!);
}

function isDecodable(bytes: Uint8Array): boolean {
  try {
    decodeLtxFile(bytes, () => {});
    return true;
  } catch {
    return false;
  }
}

/** The bytes of a database after an object. */
function appliedTo(before: Uint8Array, bytes: Uint8Array): Uint8Array {
  const pages = new Map<number, Uint8Array>();
  const { header } = decodeLtxFile(bytes, (pgno, page) => pages.set(pgno, page.slice()));
  const image = new Uint8Array(header.commit * header.pageSizeBytes);
  image.set(before.subarray(0, Math.min(before.length, image.length)));
  for (const [pgno, page] of pages) image.set(page, (pgno - 1) * header.pageSizeBytes);
  return image;
}

function isNamedByManifest(objects: Objects, txid: number, key: string): boolean {
  if (manifestMark(objects) === 0) return false;
  const { latest, snapshots } = JSON.parse(
    new TextDecoder().decode(objects.get(`${APP}/manifest.json`)!.bytes),
  );
  const size = snapshots?.find((one: { key?: unknown }) => one?.key === key)?.sizeBytes;
  const isOtherSize = size !== undefined && size !== objects.get(key)!.bytes.length;
  return isOtherSize || (latest.txid === txid && /^[0-9a-f]{64}$/.test(latest.chain));
}

function expectedTxid(template: TemplateBucket, asked: Asked): number | null {
  const points = soundPoints(template);
  if (asked.kind === "latest") return points.at(-1)!;
  if (asked.kind === "txid") return asked.txid;
  const isBefore = (txid: number): boolean => template.times.get(txid)! <= asked.timeMs;
  return points.findLast(isBefore) ?? [...template.images.keys()].findLast(isBefore) ?? null;
}

/** Whether a corrupted bucket shows that a TXID was a point that merging cannot have removed. */
function isShown(txid: number, template: TemplateBucket, objects: Objects): boolean {
  const named = namedObjects(objects, template.layout);
  const ending = named.filter(({ maxTxid }) => maxTxid === txid);
  const isBeyond = ({ key, minTxid }: Named): boolean => {
    // Only a whole database can be of another history without a trace.
    if (minTxid !== 1) return false;
    const { bytes } = objects.get(key)!;
    return (
      isDecodable(bytes) &&
      isBeyondDetection(template, objects, txid, [key], appliedTo(new Uint8Array(), bytes))
    );
  };
  if (ending.some((object) => !isBeyond(object))) return true;
  const newest = Math.max(0, ...named.map(({ maxTxid }) => maxTxid));
  if (txid > newest) return txid <= manifestMark(objects);
  const isMerged = named.some(
    ({ level, minTxid, maxTxid }) => level !== 9 && minTxid <= txid && txid <= maxTxid,
  );
  const oldest = Math.min(...named.filter(({ minTxid }) => minTxid === 1).map(({ maxTxid }) => maxTxid));
  return !isMerged && txid > oldest;
}

/** The newest TXID that a readable manifest names, or 0. */
function manifestMark(objects: Objects): number {
  const manifest = objects.get(`${APP}/manifest.json`);
  if (manifest === undefined) return 0;
  try {
    const value = JSON.parse(new TextDecoder().decode(manifest.bytes));
    const txid = value.format === 1 && typeof value.latest?.time === "string" ? value.latest.txid : 0;
    return Number.isSafeInteger(txid) ? txid : 0;
  } catch {
    return 0;
  }
}

/** A contradiction between an object, its key and its metadata, or null. */
function contradictionOrNull(key: string, object: KeptObject, layout: "s3" | "file"): string | null {
  const { bytes } = object;
  const header = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [, min, max] = /([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/.exec(key) ?? [];
  if (header.subarray(16, 32).toString("hex") !== `${min}${max}`) return `${key} has other TXIDs`;
  const digest = (...parts: Uint8Array[]): string =>
    parts.reduce((hasher, part) => hasher.update(part), new Bun.CryptoHasher("sha256")).digest("hex");
  const { sha256, chain, "prev-chain": previous, "litestream-timestamp": time } = metadataOf(object, layout);
  if (sha256 !== undefined && sha256 !== digest(bytes)) return `${key} has another SHA-256`;
  if (time !== undefined && Date.parse(time) !== Number(header.readBigUInt64BE(32))) {
    return `${key} has another time`;
  }
  const isLink = /\/(0000|ltx\/0)\//.test(key) || /0001-0{15}1\.ltx$/.test(key);
  if (!isLink || sha256 === undefined || chain === undefined || previous === undefined) return null;
  const follows = digest(Buffer.from(previous, "hex"), Buffer.from(sha256, "hex"));
  return follows === chain ? null : `${key} does not follow in the chain`;
}

/** The metadata that belongs to the bytes of an object; in a folder by the sidecar, if it has their size. */
function metadataOf({ bytes, metadata, sidecar }: KeptObject, layout: "s3" | "file"): ObjectMetadata {
  if (layout === "s3") return metadata;
  if (sidecar === null) return {};
  try {
    const { sizeBytes, metadata: described } = JSON.parse(sidecar);
    return sizeBytes === bytes.length ? described : {};
  } catch {
    return {};
  }
}

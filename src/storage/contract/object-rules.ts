/**
 * The rules of keys and user metadata, the same for every store, and the order of keys.
 *
 * A key that only some stores accept could not be copied to the others. A key with ".." would leave the root,
 * for a URL parser resolves it as a file system does. So all stores check here.
 */
import { WalrustError } from "../../errors.ts";
import type { ByteRange, ObjectMetadata } from "./store.ts";

/** The longest key in UTF-8 bytes; S3's limit. */
export const KEY_SIZE_MAX = 1024;

/** The most bytes of names and values of user metadata; S3's limit. */
export const METADATA_SIZE_MAX = 2048;

/**
 * Checks that `key` names an object below the root: non-empty segments separated by "/", none of them "." or
 * "..", well-formed Unicode without control characters, at most 1,024 UTF-8 bytes.
 *
 * @throws WalrustError "storage" otherwise.
 */
export function assertObjectKey(key: string): void {
  const reason = keyProblemOrNull(key);
  if (reason === null) return;
  throw new WalrustError("storage", `Cannot use object key ${JSON.stringify(key)}: ${reason}`);
}

/** The reason why a text is no key, or null. */
export function keyProblemOrNull(key: string): string | null {
  if (key === "") return "it is empty";
  if (!key.isWellFormed()) return "it is not well-formed Unicode";
  if (Buffer.byteLength(key) > KEY_SIZE_MAX) return `it is longer than ${KEY_SIZE_MAX} bytes`;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the pattern finds control characters
  if (/[\x00-\x1f\x7f]/.test(key)) return "it contains a control character";
  for (const segment of key.split("/")) {
    if (segment === "") return 'it has an empty segment (a "/" at an end, or two in a row)';
    if (segment === "." || segment === "..") return `it has the segment "${segment}"`;
  }
  return null;
}

/**
 * Checks the prefix of a listing: empty, or the beginning of a valid key. @throws WalrustError "storage"
 * otherwise.
 */
export function assertObjectPrefix(prefix: string): void {
  if (prefix === "") return;
  assertObjectKey(prefix.endsWith("/") ? prefix.slice(0, -1) : prefix);
}

/**
 * Checks the prefix of `listFolders`, which is empty or ends in "/". @throws WalrustError "storage"
 * otherwise.
 */
export function assertFolderPrefix(prefix: string): void {
  assertObjectPrefix(prefix);
  if (prefix === "" || prefix.endsWith("/")) return;
  throw new WalrustError(
    "storage",
    `Cannot list folders below ${JSON.stringify(prefix)}: it must end in "/"`,
  );
}

/**
 * Checks user metadata: names of lower-case letters, digits and "-", values of printable ASCII that neither
 * begin nor end with a space, 2,048 bytes in all.
 *
 * @throws WalrustError "storage" otherwise.
 */
export function assertObjectMetadata(metadata: ObjectMetadata): void {
  let sizeBytes = 0;
  for (const [name, value] of Object.entries(metadata)) {
    sizeBytes += name.length + value.length;
    if (!/^[a-z0-9][a-z0-9-]*$/.test(name)) {
      throw new WalrustError("storage", `Cannot use metadata name ${JSON.stringify(name)}: not [a-z0-9-]`);
    }
    if (!/^[\x20-\x7e]*$/.test(value) || value.trim() !== value) {
      throw new WalrustError("storage", `Cannot use metadata ${name}: its value is not printable ASCII`);
    }
  }
  if (sizeBytes <= METADATA_SIZE_MAX) return;
  throw new WalrustError(
    "storage",
    `Cannot use metadata of ${sizeBytes} bytes: at most ${METADATA_SIZE_MAX}`,
  );
}

/** Orders keys by their UTF-8 bytes, as S3 lists them: negative, 0 or positive. */
export function compareKeys(left: string, right: string): number {
  const length = Math.min(left.length, right.length);
  for (let index = 0; index < length; index++) {
    const a = left.charCodeAt(index);
    const b = right.charCodeAt(index);
    if (a !== b) return utf8Rank(a) - utf8Rank(b);
  }
  return left.length - right.length;
}

/** UTF-16 sorts surrogates (code points from 0x10000) before 0xE000 to 0xFFFF, UTF-8 after them. */
function utf8Rank(codeUnit: number): number {
  return codeUnit >= 0xd800 && codeUnit <= 0xdfff ? codeUnit + 0x10000 : codeUnit;
}

/** The part of an object of `sizeBytes` that a range covers. */
export function clampRange(range: ByteRange | undefined, sizeBytes: number): ByteRange {
  if (range === undefined) return { offset: 0, length: sizeBytes };
  const { offset, length } = range;
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
    throw new WalrustError("storage", `Cannot read ${length} bytes at ${offset}: not a byte range`);
  }
  const start = Math.min(offset, sizeBytes);
  return { offset: start, length: Math.min(length, sizeBytes - start) };
}

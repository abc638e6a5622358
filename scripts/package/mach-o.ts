/**
 * The signature of a macOS executable. Bun signs the executables that it compiles for arm64. Those for x64
 * keep the signature of Bun's own executable, which does not fit the new content, so that macOS would kill
 * the program. This module puts an ad-hoc signature in its place: hashes without a certificate, as a linker
 * does.
 *
 * A Mach-O file for 64 bits, little-endian: magic 0xfeedfacf at 0, number of load commands at 16, commands
 * from 32 on, each with type and size (4 bytes each). LC_CODE_SIGNATURE (0x1d) has offset (8) and size (12)
 * of the signature, which ends the file and the segment __LINKEDIT. LC_SEGMENT_64 (0x19) has name (8),
 * size in memory (32), offset (40) and size (48) in the file.
 *
 * The signature is big-endian: a SuperBlob (magic, length, count, then type and offset of each blob) with a
 * CodeDirectory (type 0): magic 0, length 4, version 8, flags 12, offset of hashes 16, of the identifier 20,
 * number of special slots 24, of pages 28, limit of the code 32, hash size 36, hash type 37, platform 38,
 * logarithm of the page size 39, offset 64, size 72 and flags 80 of the segment with code. It hashes each
 * page before the signature. Source: xnu, cs_blobs.h.
 */
const MAGIC_64 = 0xfeedfacf;
const FIRST_COMMAND = 32;
const LC_SEGMENT_64 = 0x19;
const LC_CODE_SIGNATURE = 0x1d;
const SUPER_BLOB = 0xfade0cc0;
const SUPER_BLOB_SIZE = 20;
const CODE_DIRECTORY = 0xfade0c02;
const CODE_DIRECTORY_SIZE = 88;
const VERSION = 0x20400;
/** Ad hoc, and made by a linker: another signature may replace it. */
const FLAGS = 0x20002;
const MAIN_BINARY = 1n;
const SHA256_TYPE = 2;
const HASH_SIZE = 32;
const PAGE_SHIFT = 12;
const PAGE_SIZE = 1 << PAGE_SHIFT;
/** The larger pages of a Mac: sizes in memory are multiples. */
const MEMORY_PAGE = 1n << 14n;

/** Whether every page has the hash that the signature names. @throws Error when there is no signature */
export function isSignatureValid(bytes: Uint8Array): boolean {
  const command = commandOf(bytes, LC_CODE_SIGNATURE);
  const file = viewOf(bytes);
  const offset = file.getUint32(command + 8, true);
  const view = viewOf(bytes.subarray(offset, offset + file.getUint32(command + 12, true)));
  const blobs = Array.from({ length: view.getUint32(8) }, (_, index) => view.getUint32(16 + 8 * index));
  const directory = blobs.find((blob) => view.getUint32(blob) === CODE_DIRECTORY);
  if (directory === undefined || view.getUint8(directory + 37) !== SHA256_TYPE) return false;
  const hashes = offset + directory + view.getUint32(directory + 16);
  const code = bytes.subarray(0, view.getUint32(directory + 32));
  return pagesOf(code, 1 << view.getUint8(directory + 39)).every((page, index) => {
    const start = hashes + index * HASH_SIZE;
    return Buffer.compare(sha256(page), bytes.subarray(start, start + HASH_SIZE)) === 0;
  });
}

/**
 * The executable with an ad-hoc signature in the place of its present one.
 * @throws Error when there is no place for a signature
 */
export function signAdHoc(bytes: Uint8Array, identifier: string): Uint8Array {
  const command = commandOf(bytes, LC_CODE_SIGNATURE);
  const limit = viewOf(bytes).getUint32(command + 8, true);
  const name = new TextEncoder().encode(`${identifier}\0`);
  const hashes = CODE_DIRECTORY_SIZE + name.length;
  const length = hashes + Math.ceil(limit / PAGE_SIZE) * HASH_SIZE;
  const signed = new Uint8Array(limit + SUPER_BLOB_SIZE + length);
  signed.set(bytes.subarray(0, limit));
  setSignatureSize(signed, command, SUPER_BLOB_SIZE + length);
  const pages = pagesOf(signed.subarray(0, limit), PAGE_SIZE);
  const view = viewOf(signed.subarray(limit));
  for (const [index, value] of [SUPER_BLOB, SUPER_BLOB_SIZE + length, 1, 0, SUPER_BLOB_SIZE].entries()) {
    view.setUint32(4 * index, value);
  }
  const directory = viewOf(signed.subarray(limit + SUPER_BLOB_SIZE));
  const fields = [
    CODE_DIRECTORY,
    length,
    VERSION,
    FLAGS,
    hashes,
    CODE_DIRECTORY_SIZE,
    0,
    pages.length,
    limit,
  ];
  for (const [index, value] of fields.entries()) directory.setUint32(4 * index, value);
  directory.setUint8(36, HASH_SIZE);
  directory.setUint8(37, SHA256_TYPE);
  directory.setUint8(39, PAGE_SHIFT);
  const text = commandOf(bytes, LC_SEGMENT_64, "__TEXT");
  directory.setBigUint64(64, viewOf(bytes).getBigUint64(text + 40, true));
  directory.setBigUint64(72, viewOf(bytes).getBigUint64(text + 48, true));
  directory.setBigUint64(80, MAIN_BINARY);
  const start = limit + SUPER_BLOB_SIZE;
  signed.set(name, start + CODE_DIRECTORY_SIZE);
  for (const [index, page] of pages.entries()) signed.set(sha256(page), start + hashes + index * HASH_SIZE);
  return signed;
}

/** Notes the size of the signature in its command and in the segment that it ends. */
function setSignatureSize(bytes: Uint8Array, command: number, size: number): void {
  const view = viewOf(bytes);
  view.setUint32(command + 12, size, true);
  const segment = commandOf(bytes, LC_SEGMENT_64, "__LINKEDIT");
  const fileSize = BigInt(bytes.length) - view.getBigUint64(segment + 40, true);
  view.setBigUint64(segment + 32, ((fileSize + MEMORY_PAGE - 1n) / MEMORY_PAGE) * MEMORY_PAGE, true);
  view.setBigUint64(segment + 48, fileSize, true);
}

/** Offset of the load command of a type, for segments with this name. @throws Error without such a command */
function commandOf(bytes: Uint8Array, type: number, segment?: string): number {
  const view = viewOf(bytes);
  if (view.getUint32(0, true) !== MAGIC_64) throw new Error("This is no Mach-O file for 64 bits");
  let offset = FIRST_COMMAND;
  for (let left = view.getUint32(16, true); left > 0; left--) {
    const name = new TextDecoder().decode(bytes.subarray(offset + 8, offset + 24)).replace(/\0.*$/, "");
    if (view.getUint32(offset, true) === type && (segment ?? name) === name) return offset;
    offset += view.getUint32(offset + 4, true);
  }
  throw new Error(`This Mach-O file has no ${segment ?? "place for a signature"}`);
}

function pagesOf(code: Uint8Array, pageSize: number): Uint8Array[] {
  const count = Math.ceil(code.length / pageSize);
  return Array.from({ length: count }, (_, index) => code.subarray(index * pageSize, (index + 1) * pageSize));
}

function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(new Bun.CryptoHasher("sha256").update(bytes).digest());
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

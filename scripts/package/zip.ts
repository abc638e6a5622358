/**
 * ZIP archives whose bytes depend on their content only: entries in the given order, one modification time,
 * fixed modes, no extra fields. Every entry is deflated. Source: APPNOTE.TXT 6.3.10, sections 4.3.7 to
 * 4.3.16.
 *
 * All numbers are little-endian. Before each entry's data stands a local header, and after all entries a
 * central header for each of them, with the same fields:
 *
 *   local  central  size  field
 *   0      0        4     signature
 *   -      4        2     made by: 3 << 8 (Unix, so that the mode counts) + version
 *   4      6        2     version needed to extract: 20
 *   6      8        2     flags: 0
 *   8      10       2     method: 8 (deflate)
 *   10     12       4     time and date: seconds / 2, minutes << 5, hours << 11, day << 16, month << 21,
 *                         years since 1980 << 25
 *   14     16       4     CRC-32 of the content
 *   18     20       4     size of the deflated content
 *   22     24       4     size of the content
 *   26     28       2     length of the name
 *   28     30       2     length of the extra field: 0
 *   -      32       6     length of the comment, number of the disk, internal attributes: 0
 *   -      38       4     external attributes: the file's mode << 16
 *   -      42       4     offset of the local header
 *   30     46             name
 *
 * The end of the archive has 22 bytes: signature, two disk numbers (0), the number of entries twice, size and
 * offset of the central headers, length of the comment (0). There is no ZIP64: sizes stay below 4 GiB.
 */
import { constants, crc32, deflateRawSync } from "node:zlib";

/** A file of an archive. */
export interface ZipEntry {
  /** Path with `/`, of ASCII characters. */
  readonly path: string;
  readonly content: Uint8Array;
  readonly isExecutable?: boolean;
}

const LOCAL_SIGNATURE = 0x04034b50;
const CENTRAL_SIGNATURE = 0x02014b50;
const END_SIGNATURE = 0x06054b50;
const LOCAL_SIZE = 30;
const CENTRAL_SIZE = 46;
const END_SIZE = 22;
const VERSION = 20;
const UNIX = 3 << 8;
const DEFLATED = 8;
const REGULAR_FILE = 0o100000;
const SIZE_MAX = 0xffff_ffff;
const COUNT_MAX = 0xffff;

/**
 * The bytes of an archive.
 * @param epochSeconds modification time of each entry; ZIP knows even seconds from 1980 on
 * @throws Error for a path that is not ASCII or is there twice, and for an archive that needs ZIP64
 */
export function zip(
  entries: readonly ZipEntry[],
  epochSeconds: number,
  level = constants.Z_BEST_COMPRESSION,
): Uint8Array {
  const paths = entries.map(({ path }) => path);
  const twice = paths.find((path, index) => paths.indexOf(path) !== index);
  if (twice !== undefined) throw new Error(`Two entries of a zip have the path ${twice}`);
  const time = dosTime(epochSeconds);
  const files: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const entry of entries) {
    const { path, content, isExecutable } = entry;
    if (!/^[\x21-\x7e]+$/.test(path)) throw new Error(`A zip cannot hold the path ${path}: not ASCII`);
    const name = Buffer.from(path);
    const deflated = deflateRawSync(content, { level });
    const shared = sharedFields(content, deflated.length, name.length, time);
    const mode = REGULAR_FILE | (isExecutable === true ? 0o755 : 0o644);
    directory.push(centralHeader(shared, mode, offset), name);
    files.push(localHeader(shared), name, deflated);
    offset += LOCAL_SIZE + name.length + deflated.length;
  }
  const central = Buffer.concat(directory);
  if (offset + central.length > SIZE_MAX || entries.length > COUNT_MAX) {
    throw new Error("A zip is larger than 4 GiB, or has too many entries");
  }
  return new Uint8Array(Buffer.concat([...files, central, endOf(entries.length, central.length, offset)]));
}

/** The fields of both headers, from the version that extraction needs to the length of the extra field. */
function sharedFields(content: Uint8Array, deflatedSize: number, nameLength: number, time: number): Buffer {
  const fields = Buffer.alloc(LOCAL_SIZE - 4);
  fields.writeUInt16LE(VERSION, 0);
  fields.writeUInt16LE(DEFLATED, 4);
  fields.writeUInt32LE(time, 6);
  fields.writeUInt32LE(crc32(content), 10);
  fields.writeUInt32LE(deflatedSize, 14);
  fields.writeUInt32LE(content.length, 18);
  fields.writeUInt16LE(nameLength, 22);
  return fields;
}

function localHeader(shared: Buffer): Buffer {
  const header = Buffer.alloc(LOCAL_SIZE);
  header.writeUInt32LE(LOCAL_SIGNATURE, 0);
  shared.copy(header, 4);
  return header;
}

function centralHeader(shared: Buffer, mode: number, offset: number): Buffer {
  const header = Buffer.alloc(CENTRAL_SIZE);
  header.writeUInt32LE(CENTRAL_SIGNATURE, 0);
  header.writeUInt16LE(UNIX | VERSION, 4);
  shared.copy(header, 6);
  header.writeUInt32LE(mode * 0x1_0000, 38);
  header.writeUInt32LE(offset, 42);
  return header;
}

function endOf(count: number, size: number, offset: number): Buffer {
  const end = Buffer.alloc(END_SIZE);
  end.writeUInt32LE(END_SIGNATURE, 0);
  end.writeUInt16LE(count, 8);
  end.writeUInt16LE(count, 10);
  end.writeUInt32LE(size, 12);
  end.writeUInt32LE(offset, 16);
  return end;
}

/** A time in UTC as ZIP writes it. */
function dosTime(epochSeconds: number): number {
  const date = new Date(epochSeconds * 1000);
  const year = date.getUTCFullYear();
  if (year < 1980) return (1 << 21) | (1 << 16);
  if (year > 2107) throw new Error(`A zip cannot hold the year ${year}`);
  const day = ((year - 1980) << 9) | ((date.getUTCMonth() + 1) << 5) | date.getUTCDate();
  const clock = (date.getUTCHours() << 11) | (date.getUTCMinutes() << 5) | (date.getUTCSeconds() >> 1);
  return day * 0x1_0000 + clock;
}

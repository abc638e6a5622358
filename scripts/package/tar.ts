/**
 * Tar archives (POSIX ustar) whose bytes depend on their content only: entries sorted by path, owner 0,
 * one modification time, fixed modes, and a gzip header without name and time. A path that ends in "/" is a
 * folder.
 *
 * A header block has 512 bytes: name 0 (100 bytes), mode 100 (8), uid 108 (8), gid 116 (8), size 124 (12),
 * mtime 136 (12), checksum 148 (8), type 156 (1), magic and version 257 (8), prefix 345 (155). Numbers are
 * octal digits with a NUL behind. Content is padded to blocks; two zero blocks end the archive.
 */
import { gzipSync } from "node:zlib";

/** A file or, without content, a folder of an archive. */
export interface TarEntry {
  /** Path with `/`, of ASCII characters; of a folder with a `/` at its end. */
  readonly path: string;
  readonly content: Uint8Array | string;
  readonly isExecutable?: boolean;
}

const BLOCK_SIZE = 512;
const NAME_SIZE = 100;

/**
 * The bytes of an archive.
 * @throws Error for a path that ustar cannot hold, and for two entries with one path
 */
export function tar(entries: readonly TarEntry[], epochSeconds: number): Uint8Array<ArrayBuffer> {
  const sorted = [...entries].sort((a, b) => (a.path < b.path ? -1 : 1));
  const parts: Uint8Array[] = [];
  for (const [index, entry] of sorted.entries()) {
    if (entry.path === sorted[index - 1]?.path)
      throw new Error(`Two entries of a tar have the path ${entry.path}`);
    const content =
      typeof entry.content === "string" ? new TextEncoder().encode(entry.content) : entry.content;
    parts.push(header(entry, content.length, epochSeconds), content);
    parts.push(new Uint8Array(-content.length & (BLOCK_SIZE - 1)));
  }
  parts.push(new Uint8Array(2 * BLOCK_SIZE));
  return new Uint8Array(Buffer.concat(parts));
}

/** The bytes of an archive, compressed with gzip at a level of zlib. @throws Error as `tar` does */
export function tarGzip(entries: readonly TarEntry[], epochSeconds: number, level: number): Uint8Array {
  return gzipSync(tar(entries, epochSeconds), { level });
}

function header(entry: TarEntry, size: number, epochSeconds: number): Uint8Array {
  const block = new Uint8Array(BLOCK_SIZE);
  const put = (offset: number, text: string): void => {
    block.set(new TextEncoder().encode(text), offset);
  };
  const octal = (value: number, digits: number): string => `${value.toString(8).padStart(digits, "0")}\0`;
  const { name, prefix } = splitPath(entry.path);
  put(0, name);
  const isFolder = entry.path.endsWith("/");
  put(100, octal(entry.isExecutable || isFolder ? 0o755 : 0o644, 7));
  put(108, octal(0, 7));
  put(116, octal(0, 7));
  put(124, octal(size, 11));
  put(136, octal(epochSeconds, 11));
  put(148, " ".repeat(8));
  put(156, isFolder ? "5" : "0");
  put(257, "ustar\x0000");
  put(345, prefix);
  const sum = block.reduce((total, byte) => total + byte, 0);
  put(148, `${octal(sum, 6)} `);
  return block;
}

function splitPath(path: string): { name: string; prefix: string } {
  if (!/^[\x21-\x7e]+$/.test(path)) throw new Error(`A tar cannot hold the path ${path}: not ASCII`);
  if (path.length <= NAME_SIZE) return { name: path, prefix: "" };
  const cut = path.indexOf("/", path.length - NAME_SIZE - 1);
  if (cut <= 0 || cut > 155) throw new Error(`A tar cannot hold the path ${path}: too long`);
  return { name: path.slice(cut + 1), prefix: path.slice(0, cut) };
}

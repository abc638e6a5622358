/**
 * The text of /proc/PID/smaps, PURE: one record for each mapping of a process.
 *
 * A record begins with a header, the line of /proc/PID/maps. Its numbers are hex, except the inode:
 *
 *   01a40000-0684a000 r-xp 01838000 fe:00 5376050      /usr/bin/walrust
 *   start-end         mode offset   device inode       path; absent for anonymous memory
 *
 * The end is exclusive. The mode has `r`, `w`, `x`, each `-` if missing, then `p` (private) or `s` (shared).
 * The kernel writes a newline in a path as `\012`, so no path begins a line. After the header come lines
 * `Name: number kB` and a few others. The last line is `VmFlags:` with two letters for each flag.
 *
 * The kernel writes each record at once; two records may show different moments. `Anonymous` counts private
 * pages in memory only: a private page that is swapped out counts in `Swap`. `Private_Dirty` also counts
 * pages of the page cache that are not written to the file yet. Source: proc(5), and
 * Documentation/filesystems/proc.rst and fs/proc/task_mmu.c of Linux 6.18.
 *
 * A text is valid if and only if (1) it ends with a newline, (2) it is a sequence of records, each with a
 * header as above, (3) each record has each field of `KILOBYTE_FIELDS` exactly once, with a decimal number,
 * and (4) each record ends with its only `VmFlags` line. So a text that is cut inside a record is not valid.
 */

/** One mapping. */
export interface Mapping {
  /** The header without the path: the same addresses, mode, offset and file, even if the file is renamed. */
  readonly identity: string;
  readonly startAddress: number;
  /** First address after the mapping. */
  readonly endAddress: number;
  /** Such as `r-xp`. */
  readonly mode: string;
  /** Empty for anonymous memory; ends with ` (deleted)` if the file has no name any more. */
  readonly path: string;
  readonly sizesKb: Readonly<Record<SizeName, number>>;
  /** Such as `rd`, `ex`, `mr`. */
  readonly flags: readonly string[];
}

/** The parsed sizes of a mapping; `pageSize` is the size of one page. */
export type SizeName = "resident" | "anonymous" | "dirty" | "swapped" | "pageSize";

const KILOBYTE_FIELDS: ReadonlyMap<string, SizeName> = new Map([
  ["Rss", "resident"],
  ["Anonymous", "anonymous"],
  ["Private_Dirty", "dirty"],
  ["Swap", "swapped"],
  ["KernelPageSize", "pageSize"],
]);
const HEADER =
  /^(([0-9a-f]{1,16})-([0-9a-f]{1,16}) ([r-][w-][x-][ps]) [0-9a-f]{1,16} [\da-f]+:[\da-f]+ \d{1,20}) *(.*)$/;
const FIELD = /^(\w+): +(\d{1,15}) kB$/;
const FLAGS = "VmFlags:";

/** Parses a text of smaps; null if the text is not valid. */
export function parseSmapsOrNull(text: string): Mapping[] | null {
  if (!text.endsWith("\n")) return null;
  const mappings: Mapping[] = [];
  const lines = text.slice(0, -1).split("\n");
  let startIndex = 0;
  for (const [index, line] of lines.entries()) {
    if (!line.startsWith(FLAGS)) continue;
    const mapping = parseRecordOrNull(lines.slice(startIndex, index + 1));
    if (mapping === null) return null;
    mappings.push(mapping);
    startIndex = index + 1;
  }
  return startIndex === lines.length ? mappings : null;
}

/** Parses the lines of one record; the last one is the line of the flags. */
function parseRecordOrNull([header = "", ...lines]: readonly string[]): Mapping | null {
  const parts = HEADER.exec(header);
  const flags = lines.pop()?.slice(FLAGS.length).split(" ").filter(Boolean);
  const sizesKb = parseSizesOrNull(lines);
  if (parts === null || flags === undefined || sizesKb === null) return null;
  const [, identity = "", start = "", end = "", mode = "", path = ""] = parts;
  const [startAddress, endAddress] = [Number.parseInt(start, 16), Number.parseInt(end, 16)];
  return { identity, startAddress, endAddress, mode, path, sizesKb, flags };
}

/** Parses the lines between header and flags; null if a size is missing, repeated or no number. */
function parseSizesOrNull(lines: readonly string[]): Mapping["sizesKb"] | null {
  const sizesKb: Partial<Record<SizeName, number>> = {};
  for (const line of lines) {
    const name = KILOBYTE_FIELDS.get(line.slice(0, line.indexOf(":")));
    if (name === undefined) continue;
    const value = FIELD.exec(line)?.[2];
    if (value === undefined || sizesKb[name] !== undefined) return null;
    sizesKb[name] = Number(value);
  }
  return Object.keys(sizesKb).length === KILOBYTE_FIELDS.size ? (sizesKb as Mapping["sizesKb"]) : null;
}

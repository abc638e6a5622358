/** Texts of /proc/PID/smaps, made from the facts that a test is about. */

/** Facts of one mapping; the defaults are those of the code of an executable. */
export interface MappingText {
  readonly range?: string;
  readonly mode?: string;
  readonly file?: string;
  readonly path?: string;
  readonly residentKb?: number;
  readonly anonymousKb?: number;
  readonly dirtyKb?: number;
  readonly swapKb?: number;
  readonly pageKb?: number;
  readonly flags?: string;
}

/** The executable of the texts. */
export const EXECUTABLE = "/usr/bin/walrust";

/** The line of /proc/PID/maps, without its newline. */
export function headerText(facts: MappingText): string {
  const { range = "01a40000-0684a000", mode = "r-xp", file = "fe:00 5376050", path = EXECUTABLE } = facts;
  return `${range} ${mode} 01838000 ${file}`.padEnd(73) + path;
}

/** The record of one mapping, as Linux 6.18 writes it. */
export function recordText(facts: MappingText = {}): string {
  const { residentKb = 35_180, anonymousKb = 0, dirtyKb = 0, swapKb = 0, pageKb = 4 } = facts;
  const { flags = "rd ex mr mw me" } = facts;
  const sizes: readonly (readonly [string, number])[] = [
    ["Size", 79_912],
    ["KernelPageSize", pageKb],
    ["MMUPageSize", 4],
    ["Rss", residentKb],
    ["Pss", residentKb],
    ["Pss_Dirty", 0],
    ["Shared_Clean", 8],
    ["Shared_Dirty", 0],
    ["Private_Clean", residentKb],
    ["Private_Dirty", dirtyKb],
    ["Referenced", residentKb],
    ["Anonymous", anonymousKb],
    ["KSM", 0],
    ["LazyFree", 0],
    ["AnonHugePages", 0],
    ["ShmemPmdMapped", 0],
    ["FilePmdMapped", 0],
    ["Shared_Hugetlb", 0],
    ["Private_Hugetlb", 0],
    ["Swap", swapKb],
    ["SwapPss", 0],
    ["Locked", 0],
  ];
  const lines = sizes.map(([name, kb]) => `${`${name}:`.padEnd(16)}${String(kb).padStart(8)} kB`);
  return [headerText(facts), ...lines, "THPeligible:           0", `VmFlags: ${flags} `, ""].join("\n");
}

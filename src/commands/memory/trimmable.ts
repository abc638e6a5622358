/**
 * Decides, PURE, which mappings MADV_DONTNEED may drop without any effect on the program.
 *
 * MADV_DONTNEED removes the pages of a mapping from the process. The next access maps the page of the file
 * again, usually from the page cache. A private copy of a page is lost for good: a process that loses a
 * relocated pointer crashes. Therefore a mapping is dropped if and only if all of these hold:
 *
 * 1. It maps the executable of this process, or a part of the C library that the executable names.
 * 2. It is private, readable and not writable, and it never was writable. The kernel sets the flag `ac` when
 *    a private mapping becomes writable, and keeps the flag when mprotect removes the permission. So the
 *    relocated read-only data of ELF (RELRO) carries `ac`. Any flag outside `HARMLESS_FLAGS` (locked memory,
 *    a device, a flag of a later kernel) excludes the mapping too.
 * 3. Its pages have 4 kB: no other size was tried.
 * 4. It fulfilled 1 to 3 at the start, before the program loaded anything, with the same identity as now. The
 *    name may change: an upgrade replaces the file of a running program.
 * 5. At the last full check it held no private page: `Anonymous`, `Private_Dirty` and `Swap` were 0. Without
 *    `Swap`, a private page that is swapped out would go unnoticed.
 *
 * The decision is older than the drop, and other threads map and unmap memory meanwhile. It holds anyway:
 *
 * - The kernel maps the executable, and the dynamic linker maps the libraries that the executable names,
 *   before the program runs. Neither is unmapped before the process ends: dlclose unloads only libraries
 *   that dlopen loaded. So no other memory takes the addresses of these mappings.
 * - dlopen loads further libraries (getaddrinfo does so for a resolver). dlopen first maps the whole library
 *   read-only and clean, and then replaces parts of it with writable data. A check at this moment would find
 *   2, 3 and 5 fulfilled. Condition 4 excludes the mapping, for its identity is new.
 * - A private page appears in a mapping that was never writable only when a debugger writes there. A drop
 *   removes its breakpoints: the code is again that of the file.
 * - mprotect changes the identity, for it changes the mode or splits the mapping. `areUnchanged` detects this
 *   before each drop, and the trimming ends. Nothing in the process does so: the linker relocates code only
 *   while it loads a library, and Bun writes its machine code to anonymous memory.
 *
 * A process with musl is excluded as a whole: it was not tried.
 */
import type { Mapping } from "./smaps.ts";

/**
 * `rd` readable, `ex` executable, `mr` `mw` `me` may become so, `dw` not writable as a file (before Linux
 * 5.15), `sd` soft-dirty, `rr` `sr` `hg` `nh` advice, `bt` guarded branches (arm64).
 */
const HARMLESS_FLAGS = /^(rd|ex|mr|mw|me|dw|sd|rr|sr|hg|nh|bt)$/;
const MODE = /^r-[-x]p$/;
const PAGE_KB = 4;
const C_LIBRARY = /\/(ld-linux-[\w-]+|libc|libm|libdl|libpthread|librt)\.so\.\d+$/;
const MUSL = /\/(ld-musl-|libc\.musl-)[^/]*$/;

/**
 * The identities of all mappings that fulfil conditions 1 to 3 at the start.
 * @param executable path of the executable, as in /proc/self/exe
 */
export function trimmableAtStart(mappings: readonly Mapping[], executable: string): ReadonlySet<string> {
  if (mappings.some(({ path }) => MUSL.test(path))) return new Set();
  const own = mappings.filter(({ path }) => path === executable || C_LIBRARY.test(path));
  return new Set(own.filter(isNeverWritable).map(({ identity }) => identity));
}

/**
 * The mappings that fulfil all conditions now.
 * @param known what `trimmableAtStart` returned
 */
export function planTrim(mappings: readonly Mapping[], known: ReadonlySet<string>): Mapping[] {
  return mappings.filter(
    (mapping) => known.has(mapping.identity) && isNeverWritable(mapping) && hasNoPrivatePage(mapping),
  );
}

/** Whether a text of /proc/self/maps shows each of these mappings with the same identity. */
export function areUnchanged(plan: readonly Mapping[], maps: string): boolean {
  const lines = `\n${maps}`;
  return plan.every(({ identity }) => lines.includes(`\n${identity} `));
}

function isNeverWritable({ mode, flags, sizesKb, startAddress, endAddress }: Mapping): boolean {
  const isPlain = flags.includes("rd") && flags.every((flag) => HARMLESS_FLAGS.test(flag));
  const isRange = Number.isSafeInteger(endAddress) && startAddress < endAddress;
  return MODE.test(mode) && isPlain && isRange && sizesKb.pageSize === PAGE_KB;
}

function hasNoPrivatePage({ sizesKb: { anonymous, dirty, swapped } }: Mapping): boolean {
  return anonymous === 0 && dirty === 0 && swapped === 0;
}

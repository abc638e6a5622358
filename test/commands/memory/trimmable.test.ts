/**
 * The choice of mappings: only clean, never written mappings of the executable and the C library, which were
 * there at the start. The oracle for this process is /proc/self/pagemap, where the kernel marks each page as
 * a page of a file or as a private one.
 */
import { describe, expect, test } from "bun:test";
import { closeSync, openSync, readFileSync, readlinkSync, readSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Mapping, parseSmapsOrNull } from "../../../src/commands/memory/smaps.ts";
import { areUnchanged, planTrim, trimmableAtStart } from "../../../src/commands/memory/trimmable.ts";
import { libcFunctionsOrNull } from "../../../src/env.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { tempFolder } from "../../support/temp.ts";
import { EXECUTABLE, headerText, type MappingText, recordText } from "./smaps-text.ts";

const LIBC = "/usr/lib/x86_64-linux-gnu/libc.so.6";
const PAGE_BYTES = 4096;

function mappingsOf(...facts: readonly MappingText[]): Mapping[] {
  return parseSmapsOrNull(facts.map(recordText).join(""))!;
}

/** The number of mappings to drop when the facts are the same at the start and now. */
function countTrimmed(...facts: readonly MappingText[]): number {
  const mappings = mappingsOf(...facts);
  return planTrim(mappings, trimmableAtStart(mappings, EXECUTABLE)).length;
}

function ownMappings(): Mapping[] {
  return parseSmapsOrNull(readFileSync("/proc/self/smaps", "latin1"))!;
}

describe("planTrim", () => {
  test("takes code and read-only data of the executable and of the C library", () => {
    expect(countTrimmed({})).toBe(1);
    expect(countTrimmed({ mode: "r--p", flags: "rd mr mw me" })).toBe(1);
    expect(countTrimmed({ path: LIBC })).toBe(1);
    expect(countTrimmed({ path: "/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1" })).toBe(1);
    // Debian's kernels track soft-dirty pages; kernels before 5.15 deny writers.
    expect(countTrimmed({ flags: "rd ex mr mw me dw sd" })).toBe(1);
  });

  const refused: readonly (readonly [string, MappingText])[] = [
    ["with a private page", { anonymousKb: 4 }],
    ["with a private page that is swapped out", { swapKb: 4 }],
    ["with a dirty page", { dirtyKb: 4 }],
    ["that is writable", { mode: "rw-p", flags: "rd wr mr mw me ac" }],
    ["that was writable: RELRO", { mode: "r--p", flags: "rd mr mw me ac" }],
    ["that is writable, with flags that deny it", { mode: "rwxp" }],
    ["that is shared", { mode: "r--s", flags: "rd sh mr me ms" }],
    ["that nobody can read", { mode: "---p", flags: "mr mw me" }],
    ["that is locked in memory", { flags: "rd ex mr mw me lo" }],
    ["without an account of its private pages", { flags: "rd ex mr mw me nr" }],
    ["with a flag of a later kernel", { flags: "rd ex mr mw me zz" }],
    ["without flags", { flags: "" }],
    ["with other pages", { pageKb: 64 }],
    ["with an address beyond 2^53", { range: "ffffffffff600000-ffffffffff601000" }],
    ["with an empty range", { range: "01a40000-01a40000" }],
    ["of a database", { path: "/srv/app.db", mode: "r--p", flags: "rd mr mw me" }],
    ["of a wal-index", { path: "/srv/app.db-shm", mode: "rw-s", flags: "rd wr sh mr mw me ms" }],
    ["of another library", { path: "/usr/lib/x86_64-linux-gnu/libnss_dns.so.2" }],
    ["of a library with a similar name", { path: "/usr/lib/libcrypto.so.3" }],
    ["of anonymous memory", { path: "", file: "00:00 0" }],
    ["of a file that is deleted at the start", { path: `${EXECUTABLE} (deleted)` }],
  ];
  for (const [what, facts] of refused) {
    test(`leaves a mapping ${what}`, () => expect(countTrimmed(facts)).toBe(0));
  }

  test("leaves a process with musl as it is", () => {
    expect(countTrimmed({}, { path: "/lib/ld-musl-x86_64.so.1" })).toBe(0);
    expect(countTrimmed({}, { path: "/lib/libc.musl-x86_64.so.1" })).toBe(0);
  });

  test("leaves a library that dlopen is just mapping, even at the place of an earlier one", () => {
    const part = { path: LIBC, mode: "r--p", flags: "rd mr mw me" };
    const known = trimmableAtStart(mappingsOf({ ...part, range: "7f00000-7f26000" }), EXECUTABLE);
    expect(planTrim(mappingsOf({ ...part, range: "7f00000-7f26000" }), known).length).toBe(1);
    // The linker maps the whole library read-only first, from the same start.
    expect(planTrim(mappingsOf({ ...part, range: "7f00000-80d5000" }), known)).toEqual([]);
    expect(planTrim(mappingsOf({ ...part, range: "7f00000-7f26000", file: "fe:00 9" }), known)).toEqual([]);
  });

  test("takes a mapping whose file an upgrade has replaced since the start", () => {
    const known = trimmableAtStart(mappingsOf({}), EXECUTABLE);
    expect(planTrim(mappingsOf({ path: `${EXECUTABLE} (deleted)` }), known).length).toBe(1);
  });

  test("takes no mapping with a private page, over random texts", () => {
    const random = seededRandom(11);
    const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)]!;
    let takenCount = 0;
    for (let round = 0; round < 1_000; round++) {
      const facts = Array.from({ length: 3 }, (_, index) => ({
        range: `${index + 1}000-${index + 1}f00`,
        mode: pick(["r--p", "r-xp", "rw-p", "r--s"]),
        path: pick([EXECUTABLE, LIBC, "/srv/app.db", ""]),
        anonymousKb: pick([0, 0, 0, 4]),
        swapKb: pick([0, 0, 0, 4]),
        dirtyKb: pick([0, 0, 0, 4]),
        flags: pick(["rd ex mr mw me", "rd mr mw me", "rd mr mw me ac", "rd wr mr mw me ac"]),
      }));
      const mappings = mappingsOf(...facts);
      for (const one of planTrim(mappings, trimmableAtStart(mappings, EXECUTABLE))) {
        takenCount++;
        expect(one.sizesKb).toMatchObject({ anonymous: 0, swapped: 0, dirty: 0 });
        expect(one.flags).not.toContain("ac");
      }
    }
    expect(takenCount).toBeGreaterThan(50);
  });
});

describe("areUnchanged", () => {
  test("compares addresses, mode, offset and file, but no name", () => {
    const plan = mappingsOf({});
    const others = `${headerText({ range: "1000-2000" })}\n`;
    expect(areUnchanged(plan, `${headerText({})}\n`)).toBe(true);
    expect(areUnchanged(plan, `${others}${headerText({ path: "/usr/bin/old (deleted)" })}\n`)).toBe(true);
    for (const changed of [
      { range: "01a40000-0684b000" },
      { range: "f01a40000-0684a000" },
      { mode: "rwxp" },
      { mode: "r--p" },
      { file: "fe:00 53760501" },
    ]) {
      expect(areUnchanged(plan, `${others}${headerText(changed)}\n`)).toBe(false);
    }
    expect(areUnchanged(plan, "")).toBe(false);
  });
});

describe.skipIf(process.platform !== "linux")("in this process", () => {
  test("planTrim takes only pages that the kernel marks as pages of a file", () => {
    const executable = readlinkSync("/proc/self/exe");
    const plan = planTrim(ownMappings(), trimmableAtStart(ownMappings(), executable));
    let presentCount = 0;
    for (const { startAddress, endAddress } of plan) {
      const pages = pageStates(startAddress, endAddress);
      presentCount += pages.filter(({ isPresent }) => isPresent).length;
      expect(pages.filter(({ isPrivate }) => isPrivate)).toEqual([]);
    }
    expect(presentCount).toBeGreaterThan(100);
  });

  test("a mapping that was written and made read-only again keeps `ac`, and is left", () => {
    const path = join(tempFolder("relro"), "library.bin");
    writeFileSync(path, Buffer.alloc(2 * PAGE_BYTES, 1));
    const libc = memoryCalls();
    const fd = openSync(path, "r");
    const written = libc.mmap(null, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    const clean = libc.mmap(null, PAGE_BYTES, PROT_READ, MAP_PRIVATE, fd, PAGE_BYTES);
    closeSync(fd);
    try {
      libc.memset(written, 7, PAGE_BYTES);
      libc.mprotect(written, PAGE_BYTES, PROT_READ);
      const mappings = ownMappings().filter((mapping) => mapping.path === path);
      const relro = mappings.find(({ startAddress }) => startAddress === written)!;
      expect(relro).toMatchObject({ mode: "r--p", sizesKb: { anonymous: 4 } });
      expect(pageStates(written, written + PAGE_BYTES)[0]!.isPrivate).toBe(true);
      // Even if the sizes hid the private page, the flag excludes the mapping.
      const hidden = { ...relro, sizesKb: { ...relro.sizesKb, anonymous: 0, dirty: 0 } };
      expect(planTrim([hidden], new Set([relro.identity]))).toEqual([]);
      expect([...trimmableAtStart(mappings, path)]).toEqual([
        mappings.find(({ startAddress }) => startAddress === clean)!.identity,
      ]);
    } finally {
      for (const address of [written, clean]) libc.munmap(address, PAGE_BYTES);
    }
  });
});

interface PageState {
  readonly isPresent: boolean;
  readonly isPrivate: boolean;
}

/**
 * The pages of a range. Source: Documentation/admin-guide/mm/pagemap.rst: 8 bytes a page; bit 63 present, bit
 * 62 swapped, bit 61 page of a file or shared memory.
 */
function pageStates(startAddress: number, endAddress: number): PageState[] {
  const count = (endAddress - startAddress) / PAGE_BYTES;
  const bytes = Buffer.alloc(count * 8);
  const fd = openSync("/proc/self/pagemap", "r");
  try {
    expect(readSync(fd, bytes, 0, bytes.length, (startAddress / PAGE_BYTES) * 8)).toBe(bytes.length);
  } finally {
    closeSync(fd);
  }
  return Array.from({ length: count }, (_, index) => {
    const high = bytes.readUInt32LE(index * 8 + 4);
    const [isPresent, isSwapped, isFile] = [31, 30, 29].map((bit) => (high >>> bit) % 2 === 1);
    return { isPresent: isPresent!, isPrivate: (isPresent! || isSwapped!) && !isFile! };
  });
}

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_PRIVATE = 2;

interface MemoryCalls {
  mmap(at: null, size: number, protection: number, flags: number, fd: number, offset: number): number;
  mprotect(at: number, size: number, protection: number): number;
  munmap(at: number, size: number): number;
  memset(at: number, byte: number, size: number): number;
}

function memoryCalls(): MemoryCalls {
  const libc = libcFunctionsOrNull({
    mmap: { args: ["ptr", "u64", "i32", "i32", "i32", "i64"], returns: "ptr" },
    mprotect: { args: ["u64", "u64", "i32"], returns: "i32" },
    munmap: { args: ["u64", "u64"], returns: "i32" },
    memset: { args: ["u64", "i32", "u64"], returns: "ptr" },
  });
  return libc as unknown as MemoryCalls;
}

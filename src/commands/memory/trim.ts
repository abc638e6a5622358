/**
 * Drops the clean pages of our own executable and its libraries again and again, on Linux.
 *
 * Most of the resident memory of a watch is code of Bun that ran once, at the start. The kernel leaves these
 * pages mapped until memory is short. `trimmable.ts` decides about the mappings and proves that a drop is
 * safe.
 *
 * Invariants: each drop is preceded by a comparison with /proc/self/maps, and at most `CHECK_INTERVAL_MS`
 * earlier by a full check of /proc/self/smaps. Nothing is dropped after `work` has ended. Anything unexpected
 * (no /proc, no madvise, an unknown text, a mapping that changed) ends the trimming with one line at level
 * debug, and nothing else.
 */
import { readFileSync, readlinkSync } from "node:fs";
import { type Env, libcFunctionsOrNull } from "../../env.ts";
import { errorMessage } from "../../errors.ts";
import { type Mapping, parseSmapsOrNull } from "./smaps.ts";
import { areUnchanged, planTrim, trimmableAtStart } from "./trimmable.ts";

/** Most pages are those of the start: they go early, so that the work does not come on top of them. */
export const FIRST_TRIM_MS = 100;
/** Pages in constant use come back within this time at the price of a minor fault for each 64 kB. */
export const TRIM_INTERVAL_MS = 1_000;
/** The kernel walks all page tables to write smaps: 2.5 ms of CPU with the parsing; maps takes 0.1 ms. */
export const CHECK_INTERVAL_MS = 60_000;

const MADV_DONTNEED = 4;

/** The memory of this process. */
export interface OwnMemory {
  /** Path of the executable, as in /proc/self/exe. */
  readonly executable: string;
  /** The text of /proc/self/`name`. @throws Error when it cannot be read */
  read(name: "maps" | "smaps"): string;
  /** Drops the pages of a mapping. @returns false when the kernel refuses */
  drop(mapping: Mapping): boolean;
}

type TrimEnv = Pick<Env, "log" | "sleep" | "monotonicMs">;

/** Drops pages again and again until the signal aborts. Never rejects. */
export async function trimUntil(signal: AbortSignal, env: TrimEnv, memory: OwnMemory): Promise<void> {
  try {
    // Before the first await: the caller has loaded nothing yet.
    const known = trimmableAtStart(readMappings(memory), memory.executable);
    let plan: readonly Mapping[] = [];
    let checkAtMs = env.monotonicMs();
    for (let waitMs = FIRST_TRIM_MS; known.size > 0; waitMs = Math.min(2 * waitMs, TRIM_INTERVAL_MS)) {
      await env.sleep(waitMs, signal);
      if (signal.aborted) return;
      if (env.monotonicMs() >= checkAtMs) {
        plan = planTrim(readMappings(memory), known);
        checkAtMs = env.monotonicMs() + CHECK_INTERVAL_MS;
      }
      if (!areUnchanged(plan, memory.read("maps"))) throw new Error("a mapping of the executable changed");
      for (const mapping of plan) {
        if (!memory.drop(mapping)) throw new Error(`madvise refuses ${mapping.identity}`);
      }
    }
    throw new Error("no mapping is known to be safe");
  } catch (error) {
    env.log.debug(`resident memory is not trimmed: ${errorMessage(error)}`);
  }
}

function readMappings(memory: OwnMemory): Mapping[] {
  const mappings = parseSmapsOrNull(memory.read("smaps"));
  if (mappings === null) throw new Error("/proc/self/smaps has an unknown format");
  return mappings;
}

/** The memory of this process; null on a platform where it is not trimmed. */
export function ownMemoryOrNull(): OwnMemory | null {
  if (process.platform !== "linux" || (process.arch !== "x64" && process.arch !== "arm64")) return null;
  const libc = libcFunctionsOrNull({ madvise: { args: ["u64", "u64", "i32"], returns: "i32" } });
  const executable = executableOrNull();
  if (libc === null || executable === null) return null;
  return {
    executable,
    read: (name) => readFileSync(`/proc/self/${name}`, "latin1"),
    drop: ({ startAddress, endAddress }) =>
      libc.madvise(startAddress, endAddress - startAddress, MADV_DONTNEED) === 0,
  };
}

function executableOrNull(): string | null {
  try {
    return readlinkSync("/proc/self/exe");
  } catch {
    // No /proc.
    return null;
  }
}

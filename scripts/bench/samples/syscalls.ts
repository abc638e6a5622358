/**
 * Counts the system calls of a running process for some seconds, with `perf stat` or else `strace -c`. The
 * counter slows the process down, so a case counts only after its other measurements. Without permission or
 * without either program the count is null, which the tables show as "not measured".
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { capture } from "../../toolchain.ts";

/** Counts the calls of all threads of a process. @returns null when no counter works here */
export async function countSystemCalls(
  pid: number,
  durationMs: number,
  folder: string,
): Promise<number | null> {
  const seconds = String(durationMs / 1000);
  const path = join(folder, "system-calls.txt");
  const counters = [
    {
      words: ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p", String(pid), "-o", path],
      end: ["--", "sleep", seconds],
      parse: parsePerfCount,
    },
    {
      words: ["timeout", "-s", "INT", seconds, "strace", "-c", "-f", "-qq", "-p", String(pid), "-o", path],
      end: [],
      parse: parseStraceCount,
    },
  ];
  for (const { words, end, parse } of counters) {
    const program = words.find((word) => word === "perf" || word === "strace") ?? "";
    if (Bun.which(program) === null || Bun.which(words[0] ?? "") === null) continue;
    await capture([...words, ...end]);
    const count = existsSync(path) ? parse(readFileSync(path, "utf8")) : null;
    if (count !== null) return count;
  }
  return null;
}

/** Reads the output of `perf stat -x,`; null when the kernel did not count. */
export function parsePerfCount(text: string): number | null {
  const count = text.match(/^(\d+),,raw_syscalls:sys_enter,/m)?.[1];
  return count === undefined ? null : Number(count);
}

/** Reads the last line of a table of `strace -c`; null without a table. */
export function parseStraceCount(text: string): number | null {
  const count = text.match(/^\s*100\.00\s+\S+\s+\S*\s+(\d+)\s.*total$/m)?.[1];
  return count === undefined ? null : Number(count);
}

/**
 * Reads memory, CPU time, descriptors, threads and connections from /proc.
 *
 * The peak of a program that ends by itself is its VmHWM, read every few milliseconds. `ru_maxrss` of wait4
 * includes the peak of the process that called exec: /bin/true reports 300 MB after a start by a benchmark of
 * 300 MB.
 */
import { readdirSync, readFileSync } from "node:fs";

/** One reading of a running process. */
export interface ProcessSample {
  readonly rssBytes: number;
  readonly anonymousBytes: number;
  /** Peak RSS (VmHWM). */
  readonly peakRssBytes: number;
  readonly threadCount: number;
  readonly descriptorCount: number;
  /** User and system time since the start of the process. */
  readonly cpuMs: number;
}

/** USER_HZ: fixed in Linux's interface to programs, independent of the kernel's own tick rate. */
const TICKS_PER_SECOND = 100;
const PEAK_INTERVAL_MS = 4;

/** Reads a process. @throws Error when the process is gone */
export function sampleProcess(pid: number): ProcessSample {
  const status = parseStatus(readFileSync(`/proc/${pid}/status`, "utf8"));
  const descriptorCount = readdirSync(`/proc/${pid}/fd`).length;
  return { ...status, descriptorCount, cpuMs: parseCpuMs(readFileSync(`/proc/${pid}/stat`, "utf8")) };
}

/** Parses /proc/PID/status. @throws Error when a line is missing, as in the status of a zombie */
export function parseStatus(text: string): Omit<ProcessSample, "descriptorCount" | "cpuMs"> {
  const field = (name: string): number => {
    const value = text.match(new RegExp(`^${name}:\\s+(\\d+)`, "m"))?.[1];
    if (value === undefined) throw new Error(`Cannot read /proc/PID/status: no ${name}`);
    return Number(value);
  };
  return {
    rssBytes: field("VmRSS") * 1024,
    anonymousBytes: field("RssAnon") * 1024,
    peakRssBytes: field("VmHWM") * 1024,
    threadCount: field("Threads"),
  };
}

/** utime + stime of /proc/PID/stat, after the name in parentheses, which may hold any characters. */
export function parseCpuMs(text: string): number {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND;
}

/**
 * Proportional share of memory: a page that several processes map counts in parts. Slower to read than
 * VmRSS: the kernel walks the page table. Null without permission.
 */
export function readPssBytes(pid: number): number | null {
  try {
    return parsePssBytes(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"));
  } catch {
    return null;
  }
}

/** Parses the text of /proc/PID/smaps_rollup. @throws Error when it has no Pss */
export function parsePssBytes(text: string): number {
  const value = text.match(/^Pss:\s+(\d+) kB/m)?.[1];
  if (value === undefined) throw new Error("Cannot read /proc/PID/smaps_rollup: no Pss");
  return Number(value) * 1024;
}

/** Established connections of this machine to a local port. */
export function countConnections(port: number): number {
  const tables = ["/proc/net/tcp", "/proc/net/tcp6"].map((path) => {
    try {
      return readFileSync(path, "utf8");
    } catch {
      return "";
    }
  });
  return tables.reduce((sum, text) => sum + parseConnections(text, port), 0);
}

/** Counts the established connections to a remote port in the text of /proc/net/tcp. */
export function parseConnections(text: string, port: number): number {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  return [...text.matchAll(/^\s*\d+: \S+ [0-9A-F]+:([0-9A-F]{4}) 01 /gm)].filter(([, end]) => end === hex)
    .length;
}

/** Busy time of all cores since boot: all but idle and waiting for disks. */
export function machineBusyMs(): number {
  return parseBusyMs(readFileSync("/proc/stat", "utf8"));
}

/** Parses the busy time from the text of /proc/stat. */
export function parseBusyMs(text: string): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softIrq = 0, steal = 0] = (
    text.match(/^cpu +(.*)$/m)?.[1] ?? ""
  )
    .split(" ")
    .map(Number);
  return ((user + nice + system + irq + softIrq + steal) * 1000) / TICKS_PER_SECOND;
}

/** Peak memory in bytes of a process that ends by itself, without a growth in its last 4 ms. */
export async function watchPeak(pid: number, ended: Promise<unknown>): Promise<number> {
  let isRunning = true;
  const stop = (): void => {
    isRunning = false;
  };
  ended.then(stop, stop);
  let peakBytes = 0;
  while (isRunning) {
    try {
      // Before setpriv has become the program, this is the size of setpriv: far smaller, so it never counts.
      peakBytes = Math.max(peakBytes, parseStatus(readFileSync(`/proc/${pid}/status`, "utf8")).peakRssBytes);
    } catch {
      // A zombie has no memory; its end is about to be reported.
    }
    await Bun.sleep(PEAK_INTERVAL_MS);
  }
  return peakBytes;
}

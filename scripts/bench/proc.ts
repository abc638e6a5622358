/**
 * What Linux tells about a process: memory, CPU time, descriptors, threads, all from /proc.
 *
 * The peak of a program that ends by itself is its VmHWM, looked at every few milliseconds. `ru_maxrss` of
 * wait4 is of no use here: the kernel folds the peak of the process that called exec into it, so that
 * /bin/true started by a benchmark of 300 MB reports 300 MB.
 */
import { readdirSync, readFileSync } from "node:fs";

/** One look at a running process. */
export interface ProcessSample {
  readonly rssBytes: number;
  readonly anonymousBytes: number;
  /** The most it ever was. */
  readonly peakRssBytes: number;
  readonly threadCount: number;
  readonly descriptorCount: number;
  /** User and system, since it started. */
  readonly cpuMs: number;
}

/** USER_HZ: fixed in Linux's interface to programs, whatever the kernel itself ticks at. */
const TICKS_PER_SECOND = 100;
const PEAK_INTERVAL_MS = 4;

/** Looks at a process. @throws Error when it is gone */
export function sampleProcess(pid: number): ProcessSample {
  const status = parseStatus(readFileSync(`/proc/${pid}/status`, "utf8"));
  const descriptorCount = readdirSync(`/proc/${pid}/fd`).length;
  return { ...status, descriptorCount, cpuMs: parseCpuMs(readFileSync(`/proc/${pid}/stat`, "utf8")) };
}

/** The memory and threads in /proc/PID/status. @throws Error when a line is missing, as in a zombie's */
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

/** utime + stime of /proc/PID/stat; the name in parentheses before them may hold anything. */
export function parseCpuMs(text: string): number {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND;
}

/** Time that all cores together were busy since boot: everything but idle and waiting for disks. */
export function machineBusyMs(): number {
  return parseBusyMs(readFileSync("/proc/stat", "utf8"));
}

/** The same from the text of /proc/stat. */
export function parseBusyMs(text: string): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softIrq = 0, steal = 0] = (
    text.match(/^cpu +(.*)$/m)?.[1] ?? ""
  )
    .split(" ")
    .map(Number);
  return ((user + nice + system + irq + softIrq + steal) * 1000) / TICKS_PER_SECOND;
}

/** The peak memory of a process that ends by itself, in bytes. What it gains in its last 4 ms is not seen. */
export async function watchPeak(pid: number, ended: Promise<unknown>): Promise<number> {
  let isRunning = true;
  const stop = (): void => {
    isRunning = false;
  };
  ended.then(stop, stop);
  let peakBytes = 0;
  while (isRunning) {
    try {
      // Before setpriv has become the program, this is its own size: far smaller, so it never counts.
      peakBytes = Math.max(peakBytes, parseStatus(readFileSync(`/proc/${pid}/status`, "utf8")).peakRssBytes);
    } catch {
      // A zombie has no memory any more: the end is being reported.
    }
    await Bun.sleep(PEAK_INTERVAL_MS);
  }
  return peakBytes;
}

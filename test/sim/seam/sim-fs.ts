/**
 * `node:fs` as the sources see it in the simulator: every call passes the gate, descriptors are registered,
 * times are simulated, folders are read in a fixed order, and calls with a callback run on the scheduler in
 * place of a pool thread.
 */
import * as fs from "node:fs";
import { isInWorld, withSimulatedTimes } from "./file-times.ts";
import { Crashed, operate } from "./gate.ts";
import { closed, opened, pathOf, renamed } from "./process-files.ts";
import { defer, shortened, simulatedTextOrNull, synced } from "./surroundings.ts";

export * from "node:fs";

type Path = string;

export function openSync(path: Path, flags: fs.OpenMode, mode?: fs.Mode): number {
  const isWrite = typeof flags === "number" ? (flags & 3) !== 0 : flags !== "r";
  return operate("openSync", path, isWrite, () => {
    const fd = fs.openSync(path, flags, mode);
    opened(fd, path);
    return fd;
  });
}

export function closeSync(fd: number): void {
  const path = pathOf(fd);
  operate("closeSync", path, false, () => {
    closed(fd);
    fs.closeSync(fd);
  });
}

export function readSync(fd: number, ...rest: unknown[]): number {
  const call = fs.readSync as (...parameters: unknown[]) => number;
  return operate("readSync", pathOf(fd), false, () => call(fd, ...rest));
}

export function writeSync(
  fd: number,
  bytes: Uint8Array,
  offset = 0,
  length = bytes.byteLength - offset,
  position: number | null = null,
): number {
  const path = pathOf(fd);
  return operate("writeSync", path, true, () =>
    fs.writeSync(fd, bytes, offset, shortened(path, length), position),
  );
}

export function fstatSync(fd: number, options?: fs.StatOptions): fs.Stats {
  const path = pathOf(fd);
  return operate("fstatSync", path, false, () =>
    withSimulatedTimes(fs.fstatSync(fd, options as undefined), path),
  );
}

type StatOptions = fs.StatSyncOptions;

export function statSync(path: Path, options?: StatOptions): fs.Stats | undefined {
  return operate("statSync", path, false, () => {
    const stats = fs.statSync(path, options as undefined) as fs.Stats | undefined;
    return stats && withSimulatedTimes(stats, path);
  });
}

export function lstatSync(path: Path, options?: StatOptions): fs.Stats | undefined {
  return operate("lstatSync", path, false, () => {
    const stats = fs.lstatSync(path, options as undefined) as fs.Stats | undefined;
    return stats && withSimulatedTimes(stats, path);
  });
}

export function existsSync(path: Path): boolean {
  return operate("existsSync", path, false, () => fs.existsSync(path));
}

export function readdirSync(path: Path, options?: unknown): unknown[] {
  const call = fs.readdirSync as unknown as (path: Path, options?: unknown) => unknown[];
  return operate("readdirSync", path, false, () => call(path, options).sort(byName));
}

/** The order of a folder is that of the file system, which a run cannot repeat. */
function byName(a: unknown, b: unknown): number {
  const [first, second] = [nameOf(a), nameOf(b)];
  return first < second ? -1 : first > second ? 1 : 0;
}

function nameOf(entry: unknown): string {
  return typeof entry === "string" ? entry : (entry as fs.Dirent).name;
}

export function renameSync(from: Path, to: Path): void {
  operate("renameSync", to, true, () => {
    fs.renameSync(from, to);
    renamed(from, to);
  });
}

export function unlinkSync(path: Path): void {
  operate("unlinkSync", path, true, () => fs.unlinkSync(path));
}

export function rmSync(path: Path, options?: fs.RmOptions): void {
  operate("rmSync", path, true, () => fs.rmSync(path, options));
}

export function mkdirSync(path: Path, options?: fs.MakeDirectoryOptions): string | undefined {
  return operate("mkdirSync", path, true, () => fs.mkdirSync(path, options));
}

export function ftruncateSync(fd: number, length = 0): void {
  operate("ftruncateSync", pathOf(fd), true, () => fs.ftruncateSync(fd, length));
}

export function fsyncSync(fd: number): void {
  const path = pathOf(fd);
  operate("fsyncSync", path, true, () => synced(path));
}

export function fdatasyncSync(fd: number): void {
  const path = pathOf(fd);
  operate("fdatasyncSync", path, true, () => synced(path));
}

export function readFileSync(path: Path, options?: unknown): string | Buffer {
  const simulated = simulatedTextOrNull(path);
  if (simulated !== null) return simulated;
  const call = fs.readFileSync as (path: Path, options?: unknown) => string | Buffer;
  if (!isInWorld(path)) return call(path, options);
  return operate("readFileSync", path, false, () => call(path, options));
}

export function writeFileSync(path: Path, data: string | Uint8Array, options?: fs.WriteFileOptions): void {
  operate("writeFileSync", path, true, () => fs.writeFileSync(path, data, options));
}

/** A disk without limits: a full disk is a fault that the judge injects. */
export function statfsSync(path: Path, options?: fs.StatFsOptions): fs.StatsFs {
  const stats = fs.statfsSync(path, options as undefined);
  const isBig = typeof stats.bavail === "bigint";
  const blocks = 1 << 30;
  const value = isBig ? BigInt(blocks) : blocks;
  return Object.assign(stats, { bavail: value, bfree: value, blocks: value });
}

type Callback = (error: unknown, ...results: unknown[]) => void;

/** Runs a call on the scheduler and gives its result to the callback. A dead process gets no answer. */
function later(callback: Callback | undefined, work: () => unknown): void {
  defer(() => {
    let result: unknown;
    try {
      result = work();
    } catch (error) {
      if (!(error instanceof Crashed)) callback?.(error);
      return;
    }
    callback?.(null, result);
  });
}

export function close(fd: number, callback?: Callback): void {
  later(callback, () => closeSync(fd));
}

export function read(fd: number, ...rest: unknown[]): void {
  const callback = rest.pop() as Callback;
  later(callback, () => readSync(fd, ...rest));
}

export function ftruncate(fd: number, length: number, callback: Callback): void {
  later(callback, () => ftruncateSync(fd, length));
}

export function fsync(fd: number, callback: Callback): void {
  later(callback, () => fsyncSync(fd));
}

/**
 * `node:fs/promises` as the sources see it in the simulator: the calls of `sim-fs.ts`, without a pool thread.
 * Only the calls that the store's bodies use are here; another one would reach the system unseen, so the
 * module exports no more.
 */
import { closeSync, openSync, readSync } from "./sim-fs.ts";

/** The part of a FileHandle that the sources use. */
export class FileHandle {
  constructor(readonly fd: number) {}

  async read(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ bytesRead: number; buffer: Uint8Array }> {
    return { bytesRead: readSync(this.fd, buffer, offset, length, position), buffer };
  }

  async close(): Promise<void> {
    closeSync(this.fd);
  }
}

/** Opens a file. */
export async function open(path: string, flags: string | number): Promise<FileHandle> {
  return new FileHandle(openSync(path, flags));
}

/** Refuses a call: no source that the simulator runs may make it. */
function refused(): never {
  throw new Error("the simulator has no such call of node:fs/promises");
}

export const lstat = refused;
export const readdir = refused;
export const link = refused;
export const rename = refused;
export const realpath = refused;
export const mkdir = refused;
export const stat = refused;
export const unlink = refused;

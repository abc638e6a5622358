/**
 * A small disk in memory (tmpfs) for walrust's local files, which can be filled to the last byte.
 */
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { capture } from "../../toolchain.ts";
import { namespaceOrReason } from "./namespace.ts";

const SIZE_BYTES = 128 << 20;
const CHUNK_BYTES = 1 << 20;
const BALLAST = "ballast";

/** A mounted disk. The mount disappears with the namespace of the run. */
export class SmallDisk {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Mounts a disk over an empty folder. @returns the disk, or the reason why there is none */
  static async mount(folder: string): Promise<SmallDisk | string> {
    const reason = namespaceOrReason();
    if (reason !== true) return reason;
    const options = `size=${SIZE_BYTES},mode=0700`;
    const { exitCode, stderr } = await capture(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]);
    return exitCode === 0 ? new SmallDisk(folder) : `cannot mount a tmpfs: ${stderr.trim()}`;
  }

  /** Fills the disk. */
  fill(): void {
    const fd = openSync(join(this.#folder, BALLAST), "w");
    try {
      // The last pieces are small, so that not even a small file finds room.
      for (let bytes = CHUNK_BYTES; bytes >= 1; bytes >>= 4) this.#fillBy(fd, Buffer.alloc(bytes));
    } finally {
      closeSync(fd);
    }
  }

  /** Makes room again. */
  empty(): void {
    rmSync(join(this.#folder, BALLAST), { force: true });
  }

  /** Removes the disk with its files. */
  async unmount(): Promise<void> {
    await capture(["umount", this.#folder]);
  }

  #fillBy(fd: number, chunk: Buffer): void {
    try {
      while (writeSync(fd, chunk) === chunk.length);
    } catch (error) {
      if ((error as { code?: string }).code !== "ENOSPC") throw error;
    }
  }
}

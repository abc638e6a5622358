/**
 * The wall clock of the watch, which jumps: clock-shim.c, compiled with the machine's C compiler and
 * preloaded into the process. The other processes keep the true time, so a jump is also a difference to the
 * clock of the storage.
 */
import { openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { capture } from "../../toolchain.ts";

const NS_PER_MS = 1_000_000n;

/** The clock of one watch at a time. */
export class ShiftedClock {
  /** Environment of the process whose clock jumps. */
  readonly env: Readonly<Record<string, string>>;
  readonly #fd: number;
  #offsetMs = 0;

  private constructor(libraryPath: string, offsetPath: string) {
    this.env = { LD_PRELOAD: libraryPath, WALRUST_CLOCK_OFFSET: offsetPath };
    writeFileSync(offsetPath, Buffer.alloc(8));
    this.#fd = openSync(offsetPath, "r+");
  }

  /** Compiles the library. @returns the clock, or the reason why there is none */
  static async make(folder: string): Promise<ShiftedClock | string> {
    const compiler = Bun.which("cc") ?? Bun.which("gcc") ?? Bun.which("clang");
    if (compiler === null) return "no C compiler";
    const libraryPath = join(folder, "clock-shim.so");
    const source = join(import.meta.dir, "clock-shim.c");
    const command = [compiler, "-shared", "-fPIC", "-O2", "-o", libraryPath, source];
    const { exitCode, stderr } = await capture(command);
    if (exitCode !== 0) return `the C compiler failed: ${stderr.trim().split("\n")[0]}`;
    return new ShiftedClock(libraryPath, join(folder, "clock-offset"));
  }

  /** Offset from the true time. */
  get offsetMs(): number {
    return this.#offsetMs;
  }

  /** The clock jumps to this offset from the true time. */
  jump(offsetMs: number): void {
    this.#offsetMs = offsetMs;
    const bytes = new BigInt64Array([BigInt(offsetMs) * NS_PER_MS]);
    writeSync(this.#fd, new Uint8Array(bytes.buffer), 0, 8, 0);
  }
}

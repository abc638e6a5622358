/**
 * Takes a write lease on a file (`fcntl(F_SETLEASE)`), says "held" or the error, and keeps it until it is
 * killed: whoever opens the file meanwhile, and not with O_NONBLOCK, waits for `lease-break-time` seconds.
 */
import { dlopen, FFIType } from "bun:ffi";
import { openSync } from "node:fs";
import { LIBC_NAMES } from "../../../src/database/files/ofd-lock.ts";

const F_SETLEASE = 1024;
const F_WRLCK = 1;

// The kernel asks for the lease with this signal, which would end the process.
process.on("SIGIO", () => {});

const symbols = { fcntl: { args: [FFIType.i32, FFIType.i32, FFIType.i64], returns: FFIType.i32 } } as const;
for (const name of LIBC_NAMES) {
  try {
    const fd = openSync(process.argv[2]!, "r+");
    const result = dlopen(name, symbols).symbols.fcntl(fd, F_SETLEASE, F_WRLCK);
    process.stdout.write(result === 0 ? "held\n" : "refused\n");
    break;
  } catch {
    // Another libc.
  }
}
setInterval(() => {}, 1 << 30);

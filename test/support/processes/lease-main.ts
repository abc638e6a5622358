/**
 * Takes a write lease on a file (`fcntl(F_SETLEASE)`), prints "held" or the error, and keeps the lease until
 * a kill. A process that opens the file without O_NONBLOCK meanwhile waits for `lease-break-time` seconds.
 */
import { FFIType } from "bun:ffi";
import { openSync } from "node:fs";
import { libcFunctionsOrNull } from "../../../src/env.ts";

const F_SETLEASE = 1024;
const F_WRLCK = 1;

// The kernel sends this signal to break the lease; unhandled, the signal ends the process.
process.on("SIGIO", () => {});

const fd = openSync(process.argv[2]!, "r+");
const libc = libcFunctionsOrNull({
  fcntl: { args: [FFIType.i32, FFIType.i32, FFIType.i64], returns: FFIType.i32 },
});
process.stdout.write(libc?.fcntl(fd, F_SETLEASE, F_WRLCK) === 0 ? "held\n" : "refused\n");
setInterval(() => {}, 1 << 30);

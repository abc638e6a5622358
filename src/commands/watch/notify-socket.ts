/**
 * The socket of a service manager (sd_notify(3)): a datagram socket of the family AF_UNIX, which Bun does not
 * have, so libc sends. Linux only, and loaded only when a service manager has set NOTIFY_SOCKET.
 *
 * `struct sockaddr_un` (unix(7)), in the byte order of the machine:
 *    0    2  sun_family  AF_UNIX
 *    2  108  sun_path    a path with a final 0; or 0 and an abstract name, whose length is that of the
 *    address
 *
 * Must never happen: a watch that waits for its service manager. A message that does not fit into the queue
 * is dropped, and the caller learns of it.
 */
import { FFIType, type Pointer, ptr } from "bun:ffi";
import { closeSync } from "node:fs";
import { libcFunctionsOrNull } from "../../env.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const PATH_OFFSET = 2;
const PATH_SIZE = 108;
/** The mark of an abstract name in NOTIFY_SOCKET. */
const ABSTRACT = "@";
const CLOCK_MONOTONIC = 1;
const MICROSECONDS = 1_000_000n;
const NANOSECONDS = 1_000n;

interface Libc {
  socket(family: number, kind: number, protocol: number): number;
  sendto(
    fd: number,
    text: Pointer,
    size: number,
    flags: number,
    address: Pointer,
    addressSize: number,
  ): unknown;
  clock_gettime(clock: number, time: Pointer): number;
}

/** A socket that messages are sent to. */
export class NotifySocket {
  private constructor(
    readonly libc: Libc,
    readonly fd: number,
    readonly address: Uint8Array,
  ) {}

  /**
   * Opens a socket. Null: the address is none that can be used here.
   * @param address the value of NOTIFY_SOCKET: an absolute path, or `@` and an abstract name
   */
  static openOrNull(address: string): NotifySocket | null {
    const encoded = process.platform === "linux" ? encodeAddressOrNull(address) : null;
    const libc = encoded === null ? null : loadLibcOrNull();
    if (encoded === null || libc === null) return null;
    const fd = libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? null : new NotifySocket(libc, fd, encoded);
  }

  /** Sends one message. @returns false when it could not be sent */
  send(text: string): boolean {
    const bytes = Buffer.from(text);
    const { libc, fd, address } = this;
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    return Number(libc.sendto(fd, ptr(bytes), bytes.length, flags, ptr(address), address.length)) >= 0;
  }

  /** The monotonic clock of the system, in µs. */
  monotonicUsec(): bigint {
    const time = new BigInt64Array(2);
    this.libc.clock_gettime(CLOCK_MONOTONIC, ptr(time));
    return time[0]! * MICROSECONDS + time[1]! / NANOSECONDS;
  }

  close(): void {
    closeSync(this.fd);
  }
}

/**
 * An address as the bytes of a `sockaddr_un`. Null: it is neither a path nor an abstract name, or too long.
 */
export function encodeAddressOrNull(address: string): Uint8Array | null {
  const isAbstract = address.startsWith(ABSTRACT);
  if (!isAbstract && !address.startsWith("/")) return null;
  const path = Buffer.from(isAbstract ? `\0${address.slice(1)}` : `${address}\0`);
  if (path.length < 2 || path.length > PATH_SIZE) return null;
  const encoded = new Uint8Array(PATH_OFFSET + path.length);
  new Uint16Array(encoded.buffer, 0, 1)[0] = AF_UNIX;
  encoded.set(path, PATH_OFFSET);
  return encoded;
}

function loadLibcOrNull(): Libc | null {
  const { i32, u32, u64, i64, ptr: pointer } = FFIType;
  return libcFunctionsOrNull({
    socket: { args: [i32, i32, i32], returns: i32 },
    sendto: { args: [i32, pointer, u64, i32, pointer, u32], returns: i64 },
    clock_gettime: { args: [i32, pointer], returns: i32 },
  });
}

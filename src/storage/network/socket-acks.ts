/**
 * How much the other side has acknowledged of what our TCP connections carry, as the kernel counts it
 * (`TCP_INFO`, Linux). A socket takes a body of some megabytes at once, long before a slow line has carried
 * it: only the acknowledgements tell that it moves.
 *
 * `struct tcp_info`, little-endian, the fields read here:
 *   24  4  tcpi_unacked       packets on their way
 *  120  8  tcpi_bytes_acked   bytes acknowledged since the connection was made
 *  144  4  tcpi_notsent_bytes bytes that wait to be sent
 */
import { FFIType, type Pointer, ptr } from "bun:ffi";
import { readdirSync } from "node:fs";
import { libcFunctionsOrNull } from "../../env.ts";

const IPPROTO_TCP = 6;
const TCP_INFO = 11;
const INFO_SIZE = 256;
/** Older kernels give less; without `tcpi_notsent_bytes` nothing is known. */
const INFO_SIZE_MIN = 148;
const UNACKED_OFFSET = 24;
const ACKED_OFFSET = 120;
const NOT_SENT_OFFSET = 144;

type GetSocketOption = (fd: number, level: number, name: number, value: Pointer, size: Pointer) => number;

let getSocketOption: GetSocketOption | null | undefined;

/** Looks at the connections of this process from time to time. */
export class SocketAcks {
  /** Acknowledged bytes of the connections that had something on its way at the last look, by descriptor. */
  #waiting = new Map<number, bigint>();

  /** Whether something had been sent and not acknowledged at the last look; false where that is not known. */
  get isWaiting(): boolean {
    return this.#waiting.size > 0;
  }

  /**
   * Whether something that was on its way at the last look has been acknowledged since, on any connection.
   * The first look finds nothing. Always false where the kernel cannot be asked.
   */
  look(): boolean {
    const before = this.#waiting;
    this.#waiting = new Map();
    let hasMoved = false;
    for (const fd of descriptors()) {
      const info = connectionOrNull(fd);
      if (info === null) continue;
      const acked = before.get(fd);
      hasMoved ||= acked !== undefined && info.ackedBytes > acked;
      if (info.isWaiting) this.#waiting.set(fd, info.ackedBytes);
    }
    return hasMoved;
  }
}

const info = new DataView(new ArrayBuffer(INFO_SIZE));
const infoSize = new Uint32Array(1);

function connectionOrNull(fd: number): { ackedBytes: bigint; isWaiting: boolean } | null {
  getSocketOption ??= loadOrNull();
  if (getSocketOption === null) return null;
  infoSize[0] = INFO_SIZE;
  if (getSocketOption(fd, IPPROTO_TCP, TCP_INFO, ptr(info), ptr(infoSize)) !== 0) return null;
  if ((infoSize[0] ?? 0) < INFO_SIZE_MIN) return null;
  const isWaiting = info.getUint32(UNACKED_OFFSET, true) > 0 || info.getUint32(NOT_SENT_OFFSET, true) > 0;
  return { ackedBytes: info.getBigUint64(ACKED_OFFSET, true), isWaiting };
}

/** The open descriptors; what is no TCP connection is passed over by the kernel's answer. */
function descriptors(): number[] {
  if (process.platform !== "linux") return [];
  try {
    return readdirSync("/proc/self/fd").map(Number);
  } catch {
    // No /proc, or no descriptor left to list it with.
    return [];
  }
}

function loadOrNull(): GetSocketOption | null {
  const { i32, ptr: pointer } = FFIType;
  const args = [i32, i32, i32, pointer, pointer] as const;
  return libcFunctionsOrNull({ getsockopt: { args, returns: i32 } })?.getsockopt ?? null;
}

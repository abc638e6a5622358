/**
 * Reads from the kernel how many bytes the other side of our TCP connections has acknowledged (`TCP_INFO`,
 * Linux). A socket takes a body of some megabytes at once, long before a slow line has carried it: only the
 * acknowledgements show that the body moves.
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
/** Older kernels answer less; without `tcpi_notsent_bytes` nothing can be concluded. */
const INFO_SIZE_MIN = 148;
const UNACKED_OFFSET = 24;
const ACKED_OFFSET = 120;
const NOT_SENT_OFFSET = 144;

type GetSocketOption = (fd: number, level: number, name: number, value: Pointer, size: Pointer) => number;

let getSocketOption: GetSocketOption | null | undefined;

/** Polls the connections of this process. */
export class SocketAcks {
  /** Acknowledged bytes of the connections that had bytes on their way at the last poll, by descriptor. */
  #waiting = new Map<number, bigint>();
  #isWaiting = false;

  /**
   * Whether a connection had bytes on their way at the last two polls; false if the kernel cannot tell. Bytes
   * on their way at one poll alone have just been sent: a scrape of the metrics, the answer to an upload.
   */
  get isWaiting(): boolean {
    return this.#isWaiting;
  }

  /**
   * Whether bytes that were on their way at the last poll have been acknowledged since, on any connection.
   * The first poll is false, and so is every poll if the kernel cannot tell.
   */
  poll(): boolean {
    const before = this.#waiting;
    this.#waiting = new Map();
    this.#isWaiting = false;
    let hasMoved = false;
    for (const fd of descriptors()) {
      const info = connectionOrNull(fd);
      if (info === null) continue;
      const acked = before.get(fd);
      hasMoved ||= acked !== undefined && info.ackedBytes > acked;
      if (!info.isWaiting) continue;
      this.#waiting.set(fd, info.ackedBytes);
      this.#isWaiting ||= acked !== undefined;
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

/** The open descriptors; the kernel refuses `TCP_INFO` for those that are no TCP connections. */
function descriptors(): number[] {
  if (process.platform !== "linux") return [];
  try {
    return readdirSync("/proc/self/fd").map(Number);
  } catch {
    // There is no /proc, or no descriptor left to list it with.
    return [];
  }
}

function loadOrNull(): GetSocketOption | null {
  const { i32, ptr: pointer } = FFIType;
  const args = [i32, i32, i32, pointer, pointer] as const;
  return libcFunctionsOrNull({ getsockopt: { args, returns: i32 } })?.getsockopt ?? null;
}

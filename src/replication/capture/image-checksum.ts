/**
 * Computes the checksum of a live database, page by page under a freeze. A restore of the same TXID has to
 * lead to this checksum: `verify --restore` asks a running watch for it.
 */
import { fstatSync } from "node:fs";
import { DatabaseImage } from "../../database/image.ts";
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import { pageChecksumInto } from "../../format/crc64.ts";
import { type Checksum, lockPgno } from "../../format/types.ts";
import type { WalIndexHeader } from "../../format/wal-index.ts";
import { SumXor } from "../../local/page-sums.ts";
import type { LiveDatabase } from "./live-database.ts";

/** The checksum of a live database at a TXID, as 16 hex digits. */
export interface LiveChecksum {
  readonly txid: number;
  readonly checksum: string;
}

const SLICE_BYTES = 1 << 20;

/**
 * Reads the whole database. Call it right after a capture under the same freeze, with that wal-index.
 * @throws WalrustError code "database", retryable, when the WAL cannot be read
 */
export async function imageChecksum(
  live: LiveDatabase,
  index: WalIndexHeader,
  env: Env,
  signal?: AbortSignal,
): Promise<Checksum> {
  const image = DatabaseImage.open(live.pin, index, fstatSync(live.pin.databaseFd).size);
  if (!(image instanceof DatabaseImage)) {
    throw new WalrustError("database", `Cannot read ${live.path}: ${image.reason}`, { retryable: true });
  }
  const { pageSizeBytes } = live.pin;
  const lock = lockPgno(pageSizeBytes);
  const xor = new SumXor();
  const sum = new Uint32Array(2);
  const onPage = (pgno: number, data: Uint8Array): void => {
    if (pgno === lock) return;
    pageChecksumInto(pgno, data, sum);
    xor.add(sum[0]!, sum[1]!);
  };
  try {
    const slicePages = Math.max(1, Math.floor(SLICE_BYTES / pageSizeBytes));
    while (image.readSlice(slicePages, onPage)) {
      await env.turn();
      signal?.throwIfAborted();
    }
  } finally {
    image.close();
  }
  return xor.checksum();
}

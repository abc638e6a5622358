/**
 * How much an anchor may write: a database file may say that it is terabytes long and hold nothing of it (a
 * sparse file costs its owner no disk), while an LTX file and page sums of it would fill ours.
 *
 * A page takes 8 bytes of page sums and some 20 in an LTX file even if it is all zeros. The blocks
 * of a file and its WAL allow for a multiple of that: file systems that compress show fewer blocks.
 */
import { fstatSync, statfsSync } from "node:fs";
import { WalrustError } from "../../errors.ts";
import type { LiveDatabase } from "./live-database.ts";

const BLOCK_SIZE = 512;
const SUM_SIZE = 8;
/** What any database may write. */
const OUTPUT_BYTES_BASE = 64 * 1024 * 1024;
const HELD_FACTOR = 8;
/** Below this much free disk no anchor goes on that writes more than a little. */
const FREE_BYTES_MIN = 256 * 1024 * 1024;
const LITTLE_BYTES = 64 * 1024 * 1024;
const BYTES_PER_DISK_CHECK = 64 * 1024 * 1024;

/** The bytes that an anchor may write. @param heldBytes what the database file and its WAL hold */
export function outputBytesMax(heldBytes: number): number {
  return OUTPUT_BYTES_BASE + HELD_FACTOR * heldBytes;
}

/** The limit of one anchor. */
export class AnchorLimit {
  readonly #live: LiveDatabase;
  readonly #commit: number;
  readonly #bytesMax: number;
  #nextDiskCheckBytes = BYTES_PER_DISK_CHECK;

  /**
   * @param commit pages of the image
   * @param walFrameCount frames of its WAL
   * @throws WalrustError code "database", retryable, when its page sums alone are too much
   */
  constructor(live: LiveDatabase, commit: number, walFrameCount: number) {
    this.#live = live;
    this.#commit = commit;
    const { blocks } = fstatSync(live.pin.databaseFd);
    this.#bytesMax = outputBytesMax(blocks * BLOCK_SIZE + walFrameCount * live.pin.pageSizeBytes);
    if (commit * SUM_SIZE > this.#bytesMax) throw this.#sparse();
  }

  /** @param spoolBytes what was written of the LTX file @throws WalrustError code "database", retryable */
  check(spoolBytes: number): void {
    const written = spoolBytes + this.#commit * SUM_SIZE;
    if (written > this.#bytesMax) throw this.#sparse();
    if (written < this.#nextDiskCheckBytes || written < LITTLE_BYTES) return;
    this.#nextDiskCheckBytes = written + BYTES_PER_DISK_CHECK;
    const { bavail, bsize } = statfsSync(this.#live.paths.spoolFolder);
    if (bavail * bsize >= FREE_BYTES_MIN) return;
    throw new WalrustError(
      "database",
      `Cannot write all of ${this.#live.path} down: the disk is nearly full`,
      {
        hint: `Free some space at ${this.#live.paths.spoolFolder}, or put it elsewhere with --cache-dir`,
        retryable: true,
      },
    );
  }

  #sparse(): WalrustError {
    const { path } = this.#live;
    const what = `it claims ${this.#commit} pages and holds next to nothing of them`;
    return new WalrustError("database", `Cannot replicate ${path}: ${what} (a sparse file)`, {
      hint: "Run VACUUM on it, or remove the file: no application of SQLite leaves one like it",
      context: { path },
      retryable: true,
    });
  }
}

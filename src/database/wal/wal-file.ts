/**
 * Opens a -wal file and reads its header, without SQLite. Nobody locks a -wal: its descriptors may be opened
 * and closed at any time.
 */
import { readSync } from "node:fs";
import { hasCode, systemCode, WalrustError } from "../../errors.ts";
import { decodeWalHeader, WAL_HEADER_SIZE, type WalHeader } from "../../format/wal.ts";
import { openRegular } from "../files/regular-file.ts";
import { walScratch } from "../files/scratch-buffers.ts";

/** The reason why frames of a WAL cannot be read: the history between two positions is not in the file. */
export interface WalBroken {
  readonly kind: "broken";
  readonly reason: string;
}

/**
 * Opens the -wal at `path` for reading. Null when it is missing, or walrust has no permission to read it.
 * @throws WalrustError code "database" when the file cannot be opened for another reason
 */
export function openWalOrNull(path: string): number | null {
  try {
    return openRegular(path, false);
  } catch (error) {
    if (error instanceof WalrustError) throw error;
    // SQLite cannot apply a WAL either that walrust may not read, and reports it.
    if (["ENOENT", "EACCES"].includes(systemCode(error) ?? "")) return null;
    throw new WalrustError("database", `Cannot read ${path}: ${systemCode(error) ?? "unknown error"}`, {
      hint: "walrust needs to read the -wal file, as every SQLite connection does",
      context: { path },
      cause: error,
    });
  }
}

/** Reads the header of an open WAL. A short or invalid header is an answer, not an exception. */
export function readWalHeader(fd: number): WalHeader | WalBroken {
  const bytes = walScratch.take(1 << 20).subarray(0, WAL_HEADER_SIZE);
  const read = readSync(fd, bytes, 0, WAL_HEADER_SIZE, 0);
  if (read < WAL_HEADER_SIZE) return { kind: "broken", reason: `the -wal file has only ${read} bytes` };
  try {
    return decodeWalHeader(bytes);
  } catch (error) {
    if (hasCode(error, "corrupt")) return { kind: "broken", reason: error.message };
    throw error;
  }
}

/** The header of an open WAL, or null when SQLite would ignore the file. */
export function walHeaderOrNull(fd: number): WalHeader | null {
  const header = readWalHeader(fd);
  return "kind" in header ? null : header;
}

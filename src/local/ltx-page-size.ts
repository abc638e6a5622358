/**
 * The page size of an LTX file of ours. A database that is replaced may go on with pages of another
 * size, and files of two page sizes are never merged.
 */
import { closeSync, readSync } from "node:fs";
import { systemCode, WalrustError } from "../errors.ts";
import { decodeLtxHeader, LTX_HEADER_SIZE } from "../format/ltx.ts";
import { openOwn } from "./own-file.ts";

/** The page size in bytes; null when the header cannot be read: whoever reads all of the file reports why. */
export function ltxPageSizeOrNull(path: string): number | null {
  try {
    const fd = openOwn(path);
    try {
      const bytes = new Uint8Array(LTX_HEADER_SIZE);
      if (readSync(fd, bytes, 0, LTX_HEADER_SIZE, 0) < LTX_HEADER_SIZE) return null;
      return decodeLtxHeader(bytes).pageSizeBytes;
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (error instanceof WalrustError || systemCode(error) !== undefined) return null;
    throw error;
  }
}

/**
 * The LTX bytes of small captured files, in memory from the capture to the upload: the upload then neither
 * reads the file nor hashes it again. The file in the spool stays the truth; a file without held bytes is
 * read from the disk.
 *
 * Invariants:
 * 1. All held bytes together stay within the limit: the oldest give way. So a store that is away costs no
 *    more memory, and bytes that nobody takes are forgotten.
 * 2. Held bytes are those that were written and hashed; nobody changes them.
 */
import type { SpoolFile } from "./spool-file.ts";

/** 500 databases with a commit of one page each hold 2 MB for a store that answers within a second. */
const BYTES_MAX = 4 << 20;

const bodies = new Map<SpoolFile, Uint8Array>();
let heldBytes = 0;

/** Holds a copy of the LTX bytes of a file that was just written. */
export function holdBody(file: SpoolFile, bytes: Uint8Array): void {
  bodies.set(file, bytes.slice());
  heldBytes += bytes.length;
  for (const oldest of bodies.keys()) {
    if (heldBytes <= BYTES_MAX) return;
    takeBodyOrNull(oldest);
  }
}

/** The held LTX bytes of a file, or null. */
export function bodyOrNull(file: SpoolFile): Uint8Array | null {
  return bodies.get(file) ?? null;
}

/** As `bodyOrNull`; the bytes are held no longer. */
export function takeBodyOrNull(file: SpoolFile): Uint8Array | null {
  const bytes = bodyOrNull(file);
  if (bytes === null) return null;
  bodies.delete(file);
  heldBytes -= bytes.length;
  return bytes;
}

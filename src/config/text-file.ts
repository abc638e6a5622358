/**
 * Reads a small text file whose size nobody vouches for: not more than the limit is read, so a device that
 * never ends does not fill the memory.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { errorMessage, systemCode } from "../errors.ts";

const CHUNK_SIZE = 64 * 1024;

/** What is in a file, or why that cannot be told; without any of its content. */
export type TextReading = { readonly text: string } | { readonly problem: string };

/**
 * Reads UTF-8 text, without a byte order mark. Pipes are read to their end.
 * @param sizeMax most bytes
 */
export function readTextFile(path: string, sizeMax: number): TextReading {
  let bytes: Uint8Array;
  try {
    bytes = readUpTo(path, sizeMax + 1);
  } catch (error) {
    return { problem: systemCode(error) ?? errorMessage(error) };
  }
  if (bytes.length > sizeMax) return { problem: `it is larger than ${sizeMax} bytes` };
  try {
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
  } catch {
    return { problem: "it is not UTF-8 text" };
  }
}

function readUpTo(path: string, byteCountMax: number): Uint8Array {
  const descriptor = openSync(path, "r");
  try {
    const chunks: Uint8Array[] = [];
    let byteCount = 0;
    while (byteCount < byteCountMax) {
      const chunk = new Uint8Array(Math.min(CHUNK_SIZE, byteCountMax - byteCount));
      const readCount = readSync(descriptor, chunk);
      if (readCount === 0) break;
      chunks.push(chunk.subarray(0, readCount));
      byteCount += readCount;
    }
    return Buffer.concat(chunks);
  } finally {
    closeSync(descriptor);
  }
}

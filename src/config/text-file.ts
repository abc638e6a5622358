/**
 * Reads a small text file of unknown size, up to a limit: an endless device does not fill the memory.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { errorMessage, systemCode } from "../errors.ts";
import type { FileFacts } from "./file-trust.ts";

const CHUNK_SIZE = 64 * 1024;

/** The text of a file, or the problem that kept it from being read; a problem quotes no content. */
export type TextReading =
  | { readonly text: string; readonly facts: FileFacts }
  | { readonly problem: string; readonly isDistrusted?: boolean };

/**
 * Reads UTF-8 text, without a byte order mark. Pipes are read to their end.
 * @param sizeMax limit in bytes
 * @param distrust returns the reason not to read the opened file, or null to read it. With this check,
 * opening
 *   never blocks: another user may have left a FIFO, or a file under a lease, at the path
 */
export function readTextFile(
  path: string,
  sizeMax: number,
  distrust: ((facts: FileFacts) => string | null) | null = null,
): TextReading {
  let bytes: Uint8Array;
  let facts: FileFacts;
  let descriptor: number | undefined;
  try {
    const patience = distrust === null ? 0 : constants.O_NONBLOCK;
    descriptor = openSync(path, constants.O_RDONLY | patience);
    const stats = fstatSync(descriptor);
    facts = { uid: stats.uid, gid: stats.gid, mode: stats.mode, isFile: stats.isFile() };
    const problem = distrust?.(facts) ?? null;
    if (problem !== null) return { problem, isDistrusted: true };
    bytes = readUpTo(descriptor, sizeMax + 1);
  } catch (error) {
    return { problem: systemCode(error) ?? errorMessage(error) };
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
  if (bytes.length > sizeMax) return { problem: `it is larger than ${sizeMax} bytes` };
  try {
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes), facts };
  } catch {
    return { problem: "it is not UTF-8 text" };
  }
}

function readUpTo(descriptor: number, byteCountMax: number): Uint8Array {
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
}

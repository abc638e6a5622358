/**
 * The sidecar `<object>.meta.json`, which holds the metadata of an object in a folder:
 *
 *   {"version":1,"sizeBytes":4096,"sha256":"<64 hex>","metadata":{…}}            settled
 *   {"version":1,"sizeBytes":…,"sha256":…,"metadata":{…},"previous":{…} | null}  an overwrite is under way
 *
 * A sidecar is in place before its object. During an overwrite the sidecar describes both the new and the old
 * content, and the SHA-256 of the object decides between them: at every moment, and after a crash at any
 * moment, metadata belongs to the bytes beside it. A sidecar is ignored if its size is not that of the
 * object: the object never appeared, or another program replaced it. An object without a sidecar is
 * Litestream's.
 */
import type { FileHandle } from "node:fs/promises";
import { hasCode, WalrustError } from "../../errors.ts";
import { parseBoundedJson } from "../contract/bounded-json.ts";
import { handleChunks } from "../contract/object-body.ts";
import type { ObjectMetadata } from "../contract/store.ts";
import { isAbsent } from "./file-calls.ts";
import { openFile } from "./file-inside.ts";

/** The end of a sidecar's name, after the name of its object. */
export const SIDECAR_SUFFIX = ".meta.json";

/** The largest sidecar that is read. */
const SIDECAR_SIZE_MAX = 16 * 1024;

const BOUNDS = { sizeMax: SIDECAR_SIZE_MAX, depthMax: 8, valuesMax: 1_000 };

/** A content that a sidecar describes. */
export interface SidecarEntry {
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly metadata: ObjectMetadata;
}

/**
 * A sidecar. It has `previous` during an overwrite: the old content, or null if that had no metadata.
 */
export interface Sidecar extends SidecarEntry {
  readonly previous?: SidecarEntry | null;
}

/** The sidecar's text. */
export function encodeSidecar(sidecar: Sidecar): string {
  return `${JSON.stringify({ version: 1, ...sidecar })}\n`;
}

/** Decodes a sidecar. @throws WalrustError "integrity" when the text is no sidecar */
function parseSidecar(text: string, path: string): Sidecar {
  const value = parseJson(text, path);
  const entry = entryOf(value, path);
  const previous = (value as { previous?: unknown }).previous;
  if (previous === undefined) return entry;
  return { ...entry, previous: previous === null ? null : entryOf(previous, path) };
}

function parseJson(text: string, path: string): unknown {
  try {
    return parseBoundedJson(new TextEncoder().encode(text), BOUNDS);
  } catch (cause) {
    throw damaged(path, hasCode(cause, "integrity") ? cause.message : "it is not JSON", cause);
  }
}

function entryOf(value: unknown, path: string): SidecarEntry {
  if (typeof value !== "object" || value === null) throw damaged(path, "it is not an object");
  const { sizeBytes, sha256, metadata } = value as Record<string, unknown>;
  if (!Number.isSafeInteger(sizeBytes)) throw damaged(path, "sizeBytes is not a number");
  if (typeof sha256 !== "string") throw damaged(path, "sha256 is not a string");
  if (typeof metadata !== "object" || metadata === null) throw damaged(path, "metadata is not an object");
  for (const [name, text] of Object.entries(metadata)) {
    if (typeof text !== "string") throw damaged(path, `metadata ${name} is not a string`);
  }
  return { sizeBytes: sizeBytes as number, sha256, metadata: metadata as ObjectMetadata };
}

function damaged(path: string, reason: string, cause?: unknown): WalrustError {
  return new WalrustError("integrity", `Cannot read metadata in ${path}: ${reason}`, {
    hint: "The object beside it may be intact; run `walrust verify`",
    cause,
  });
}

/**
 * The content of a sidecar that an object of `sizeBytes` has, or null. `hashObject` computes the object's
 * SHA-256; it is called only during an overwrite, or after an overwrite that a crash ended.
 */
async function matchingEntryOrNull(
  sidecar: Sidecar,
  sizeBytes: number,
  hashObject: () => Promise<string>,
): Promise<SidecarEntry | null> {
  const { previous, ...current } = sidecar;
  if (previous === undefined) return current.sizeBytes === sizeBytes ? current : null;
  const candidates = [current, previous].filter((entry) => entry?.sizeBytes === sizeBytes);
  if (candidates.length === 0) return null;
  const sha256 = await hashObject();
  return candidates.find((entry) => entry?.sha256 === sha256) ?? null;
}

/** The content of the object in place, by its sidecar; null if no sidecar describes it. */
export async function currentEntryOrNull(path: string): Promise<SidecarEntry | null> {
  const text = await readSidecarTextOrNull(path);
  if (text === null) return null;
  const handle = await openFile(path);
  try {
    const { size } = await handle.stat();
    const sidecar = parseSidecar(text, `${path}${SIDECAR_SUFFIX}`);
    return await matchingEntryOrNull(sidecar, size, () => hashHandle(handle, path, size));
  } finally {
    await handle.close();
  }
}

/** The metadata of an open object of `sizeBytes`, by the text of its sidecar. */
export async function readFileMetadata(
  handle: FileHandle,
  path: string,
  sizeBytes: number,
  sidecarText: string | null,
): Promise<ObjectMetadata> {
  if (sidecarText === null) return {};
  const sidecar = parseSidecar(sidecarText, `${path}${SIDECAR_SUFFIX}`);
  const entry = await matchingEntryOrNull(sidecar, sizeBytes, () => hashHandle(handle, path, sizeBytes));
  return entry?.metadata ?? {};
}

/** The text of an object's sidecar, or null without one. */
export async function readSidecarTextOrNull(path: string): Promise<string | null> {
  let handle: FileHandle;
  try {
    handle = await openFile(`${path}${SIDECAR_SUFFIX}`);
  } catch (error) {
    if (isAbsent(error)) return null;
    throw error;
  }
  try {
    const bytes = new Uint8Array(SIDECAR_SIZE_MAX);
    const { bytesRead } = await handle.read(bytes, 0, bytes.byteLength, 0);
    return new TextDecoder().decode(bytes.subarray(0, bytesRead));
  } finally {
    await handle.close();
  }
}

async function hashHandle(handle: FileHandle, path: string, sizeBytes: number): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  for await (const chunk of handleChunks(handle, path, 0, sizeBytes)) hasher.update(chunk);
  return hasher.digest("hex");
}

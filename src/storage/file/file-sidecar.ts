/**
 * The sidecar `<object>.meta.json` that carries an object's metadata on a file:// destination:
 *
 *   {"version":1,"sizeBytes":4096,"sha256":"<64 hex>","metadata":{…}}            settled
 *   {"version":1,"sizeBytes":…,"sha256":…,"metadata":{…},"previous":{…} | null}  an overwrite is under way
 *
 * A sidecar is in place before its object. While an object is being overwritten its sidecar speaks for the
 * new and the old content, and the object's own SHA-256 says which of them it is; so metadata never belongs
 * to other bytes, whenever somebody reads and wherever a crash falls. A sidecar whose object never appeared,
 * or was replaced by another program, does not fit in size and is ignored. No sidecar: Litestream wrote the
 * object.
 */
import { hasCode, WalrustError } from "../../errors.ts";
import { parseBoundedJson } from "../contract/bounded-json.ts";
import type { ObjectMetadata } from "../contract/store.ts";

/** What the name of a sidecar adds to its object's. */
export const SIDECAR_SUFFIX = ".meta.json";

/** The longest sidecar that is read. */
export const SIDECAR_SIZE_MAX = 16 * 1024;

const BOUNDS = { sizeMax: SIDECAR_SIZE_MAX, depthMax: 8, valuesMax: 1_000 };

/** The content one side of a sidecar speaks for. */
export interface SidecarEntry {
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly metadata: ObjectMetadata;
}

/**
 * A sidecar; `previous` is there while an overwrite is under way, null if the old content had no metadata.
 */
export interface Sidecar extends SidecarEntry {
  readonly previous?: SidecarEntry | null;
}

/** The sidecar's text. */
export function encodeSidecar(sidecar: Sidecar): string {
  return `${JSON.stringify({ version: 1, ...sidecar })}\n`;
}

/** Reads a sidecar. @throws WalrustError "integrity" when it is not one. */
export function parseSidecar(text: string, path: string): Sidecar {
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
    hint: "The object beside it may be whole: `walrust verify` tells.",
    cause,
  });
}

/**
 * The part of a sidecar that speaks for an object of `sizeBytes`, or null. `hashObject` gives the object's
 * SHA-256 and is asked only while an overwrite is under way, or after one that was cut off.
 */
export async function matchingEntryOrNull(
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

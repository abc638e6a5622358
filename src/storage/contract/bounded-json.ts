/**
 * Reads JSON of a bucket within bounds: checks the size while the bytes arrive, and the nesting and the
 * number of values before parsing. A parser spends some 80 bytes of memory on each byte of `[[[[`.
 */
import { WalrustError } from "../../errors.ts";
import type { ObjectBody } from "./store.ts";

/** The bounds of a document. */
export interface JsonBounds {
  readonly sizeMax: number;
  readonly depthMax: number;
  readonly valuesMax: number;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPENINGS: ReadonlySet<number> = new Set([0x5b, 0x7b]);
const CLOSINGS: ReadonlySet<number> = new Set([0x5d, 0x7d]);

/**
 * The value of a document.
 * @throws WalrustError code "integrity" past a bound, SyntaxError when the document is no JSON
 */
export function parseBoundedJson(bytes: Uint8Array, { sizeMax, depthMax, valuesMax }: JsonBounds): unknown {
  if (bytes.length > sizeMax) throw pastBound(`it has ${bytes.length} bytes`, sizeMax);
  let depth = 0;
  let valueCount = 1;
  let isInText = false;
  for (let index = 0; index < bytes.length; index++) {
    const byte = bytes[index]!;
    if (isInText) {
      if (byte === BACKSLASH) index++;
      else if (byte === QUOTE) isInText = false;
    } else if (byte === QUOTE) isInText = true;
    else if (byte === COMMA) valueCount++;
    else if (OPENINGS.has(byte)) {
      valueCount++;
      if (++depth > depthMax) throw pastBound("it is nested deeper", depthMax);
    } else if (CLOSINGS.has(byte)) depth--;
    if (valueCount > valuesMax) throw pastBound("it has more values", valuesMax);
  }
  return JSON.parse(new TextDecoder().decode(bytes));
}

/**
 * The bytes of a body that should be small, whatever size the store announced.
 * @throws WalrustError code "integrity" when more than `sizeMax` bytes arrive; the rest is not read
 */
export async function readBounded(body: ObjectBody, sizeMax: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of body.chunks) {
    sizeBytes += chunk.byteLength;
    if (sizeBytes > sizeMax) throw pastBound(`it has ${Math.max(sizeBytes, body.sizeBytes)} bytes`, sizeMax);
    chunks.push(chunk.slice());
  }
  return new Uint8Array(Buffer.concat(chunks));
}

function pastBound(found: string, max: number): WalrustError {
  return new WalrustError("integrity", `${found}, expected at most ${max}`);
}

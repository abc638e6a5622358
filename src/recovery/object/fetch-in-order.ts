/**
 * Fetches objects in order: small ones ahead and in parallel, large ones streamed at their turn. At most 8
 * objects and 8 MB are fetched ahead, which bounds memory.
 */
import { WalrustError } from "../../errors.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import { type FetchedObject, type ObjectSource, SMALL_OBJECT_SIZE } from "./object-source.ts";

const AHEAD_OBJECTS = 8;
const AHEAD_BYTES = 8 << 20;

/**
 * Fetches each object from the first source that holds it. Abandoning the iteration cancels everything that
 * was fetched ahead.
 * @param sources in the order they are asked
 */
export async function* fetchInOrder(
  sources: readonly ObjectSource[],
  objects: readonly LtxObject[],
  signal?: AbortSignal,
): AsyncGenerator<FetchedObject> {
  const aborter = new AbortController();
  const abort = (): void => aborter.abort();
  signal?.addEventListener("abort", abort, { once: true });
  const ahead = new Map<number, Promise<FetchedObject>>();
  let aheadBytes = 0;
  let next = 0;
  try {
    for (let i = 0; i < objects.length; i++) {
      for (next = Math.max(next, i); next < objects.length; next++) {
        const { sizeBytes } = objects[next]!;
        const isFull = ahead.size >= AHEAD_OBJECTS || aheadBytes + sizeBytes > AHEAD_BYTES;
        if (sizeBytes > SMALL_OBJECT_SIZE) {
          if (next === i) break;
          continue;
        }
        if (isFull && next !== i) break;
        const fetched = openFirst(sources, objects[next]!, aborter.signal);
        fetched.catch(() => {});
        ahead.set(next, fetched);
        aheadBytes += sizeBytes;
      }
      const waiting = ahead.get(i);
      if (waiting === undefined) {
        yield await openFirst(sources, objects[i]!, aborter.signal);
        continue;
      }
      const fetched = await waiting;
      ahead.delete(i);
      aheadBytes -= objects[i]!.sizeBytes;
      yield fetched;
    }
  } finally {
    signal?.removeEventListener("abort", abort);
    aborter.abort();
  }
}

async function openFirst(
  sources: readonly ObjectSource[],
  object: LtxObject,
  signal: AbortSignal,
): Promise<FetchedObject> {
  for (const source of sources) {
    const fetched = await source.openOrNull(object, signal);
    if (fetched !== null) return fetched;
  }
  throw new WalrustError("not-found", `No source holds ${object.key}`, { context: { key: object.key } });
}

/**
 * Where a restore gets its objects' bytes: in order, small ones fetched ahead in parallel, large ones
 * streamed at their turn. Memory is bounded by the window: at most 8 objects and 8 MB ahead.
 */
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import type { ObjectMetadata, ObjectStore } from "../../storage/contract/store.ts";
import { getListed } from "./listed-body.ts";

const AHEAD_OBJECTS = 8;
const AHEAD_BYTES = 8 << 20;
/** Larger objects are streamed. */
const SMALL_OBJECT_SIZE = 1 << 20;

/** One object at its turn. */
export interface FetchedObject {
  readonly object: LtxObject;
  readonly metadata: ObjectMetadata;
  readonly chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** Local copies of objects, which are used before the network where they are intact. */
export interface LocalCopies {
  /** Objects that are only here: captured, but never uploaded. */
  readonly unsent: readonly LtxObject[];
  /** The copy of an object, checked against its own SHA-256, or null. */
  open(object: LtxObject): Promise<FetchedObject | null>;
}

/** Fetches the objects in order. Abandoning the iteration cancels what was fetched ahead. */
export async function* fetchInOrder(
  store: ObjectStore,
  objects: readonly LtxObject[],
  signal?: AbortSignal,
  local?: LocalCopies,
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
        const fetched = fetchWhole(store, objects[next]!, aborter.signal, local);
        fetched.catch(() => {});
        ahead.set(next, fetched);
        aheadBytes += sizeBytes;
      }
      const waiting = ahead.get(i);
      if (waiting === undefined) {
        const copy = await local?.open(objects[i]!);
        yield copy ?? (await fetchStream(store, objects[i]!, aborter.signal));
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

async function fetchWhole(
  store: ObjectStore,
  object: LtxObject,
  signal: AbortSignal,
  local?: LocalCopies,
): Promise<FetchedObject> {
  const copy = await local?.open(object);
  if (copy) return copy;
  const body = await getListed(store, object, signal);
  // The listing called it small.
  const chunks = body.sizeBytes > SMALL_OBJECT_SIZE ? body.chunks : [await body.bytes()];
  return { object, metadata: body.metadata, chunks };
}

async function fetchStream(
  store: ObjectStore,
  object: LtxObject,
  signal: AbortSignal,
): Promise<FetchedObject> {
  const body = await getListed(store, object, signal);
  return { object, metadata: body.metadata, chunks: body.chunks };
}

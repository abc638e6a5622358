/**
 * Counts the bytes of objects that pass through a store, for the progress that a person sees. The calls and
 * their outcomes stay as they are.
 */
import { objectBody } from "../contract/object-body.ts";
import type { ObjectStore, PutOptions } from "../contract/store.ts";

/** Receives the bytes that passed. */
export interface StoreMeter {
  /** Bytes of an object that were read. */
  readonly onRead?: (byteCount: number, key: string) => void;
  /** Bytes of an object that the store has taken. */
  readonly onSent?: (byteCount: number, key: string) => void;
}

/** The store, with its bytes counted. */
export function meteredStore(inner: ObjectStore, { onRead, onSent }: StoreMeter): ObjectStore {
  return {
    url: inner.url,
    location: inner.location,
    layout: inner.layout,
    get capabilities() {
      return inner.capabilities;
    },
    put(key, body, options: PutOptions = {}) {
      if (onSent === undefined) return inner.put(key, body, options);
      const onBoth = (byteCount: number): void => {
        onSent(byteCount, key);
        options.onSent?.(byteCount);
      };
      return inner.put(key, body, { ...options, onSent: onBoth });
    },
    async get(key, options) {
      const body = await inner.get(key, options);
      if (onRead === undefined) return body;
      return objectBody(
        body,
        counted(body.chunks, (byteCount) => onRead(byteCount, key)),
      );
    },
    head: (key, options) => inner.head(key, options),
    list: (prefix, options) => inner.list(prefix, options),
    listFolders: (prefix, options) => inner.listFolders(prefix, options),
    delete: (keys, options) => inner.delete(keys, options),
    probe: (key, options) => inner.probe(key, options),
    ...(inner.leftovers && { leftovers: (folder) => inner.leftovers!(folder) }),
    ...(inner.removeLeftovers && { removeLeftovers: (keys) => inner.removeLeftovers!(keys) }),
    ...(inner.unfinishedUploads && {
      unfinishedUploads: (prefix, options) => inner.unfinishedUploads!(prefix, options),
    }),
    ...(inner.abortUploads && { abortUploads: (uploads, options) => inner.abortUploads!(uploads, options) }),
    close: () => inner.close(),
  };
}

async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  onRead: (byteCount: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    onRead(chunk.length);
    yield chunk;
  }
}

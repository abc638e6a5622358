/**
 * ObjectStore: the one seam between walrust and the place its objects live. Implementations: s3 and file;
 * both, and the memory store of the tests, pass one contract suite (test/storage/contract/contract.ts).
 *
 * Guarantees of every implementation:
 * 1. A put is atomic: a reader sees the whole object with its metadata, or nothing. It is durable when it
 *    resolves.
 * 2. `createOnly` never replaces an object: it rejects with code "precondition" and leaves the object as
 *    it is.
 * 3. A listing is sorted by key (bytewise ascending) and complete: a missing bucket or directory root is an
 *    error with code "missing-bucket", never an empty list. A prefix without objects is an empty list.
 * 4. A call resolves only if the store itself has answered: an answer of something in its place (a captive
 *    portal, a load balancer) is a retryable error.
 * 5. `get`, `head` of a missing key reject with code "not-found"; deleting a missing key succeeds.
 * 6. Keys are relative to the store's root (bucket + prefix), use "/" and never begin with one.
 */

/** User metadata of an object: lower-case names, ASCII values. */
export type ObjectMetadata = Readonly<Record<string, string>>;

/** One entry of a listing. */
export interface ObjectInfo {
  readonly key: string;
  readonly sizeBytes: number;
  /**
   * Last modification in ms since the epoch as the store tells it. A copy, never the truth: that is the LTX
   * header.
   */
  readonly modifiedMs: number;
  /** When the store got it, where that is another time than `modifiedMs`: in a folder, where we set that. */
  readonly storedMs?: number;
}

/** What a head or a get tells about an object. */
export interface ObjectHead extends ObjectInfo {
  readonly metadata: ObjectMetadata;
}

/** An object's content as a stream of chunks; a chunk is valid only until the next one is asked for. */
export interface ObjectBody extends ObjectHead {
  /** With a range, `sizeBytes` is still the size of the whole object. */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** The whole body in one array. Only for objects known to be small. */
  bytes(): Promise<Uint8Array>;
}

/** What is put: bytes in memory, or a region of a local file (read as it is sent, bounded memory). */
export type PutBody =
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly kind: "file"; readonly path: string; readonly offset: number; readonly sizeBytes: number };

/** Options of a put. */
export interface PutOptions {
  readonly metadata?: ObjectMetadata;
  /** Fail with "precondition" when the key exists (If-None-Match: *). */
  readonly createOnly?: boolean;
  /** ms since the epoch to be shown as the modification time where the store lets us (file). */
  readonly modifiedMs?: number;
  readonly contentType?: string;
  /** SHA-256 of the body as 64 hex digits, where the caller knows it already. */
  readonly sha256?: string;
  readonly signal?: AbortSignal;
  /** A turn among all uploads that was taken before; the put uses it up. */
  readonly turn?: PutReservation;
}

/**
 * A byte range: `length` bytes from `offset`. What lies past the end of the object is left out; that is no
 * error.
 */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** How far a listing came before it failed: for the store alone. */
export interface ListProgress {
  held: unknown;
}

/** Options of a listing. */
export interface ListOptions {
  /** Only keys after this one (exclusive). */
  readonly startAfter?: string;
  /** At most this many keys: the first ones in the order of the store. */
  readonly limit?: number;
  /** Given again with the same listing after a failure, it goes on where it failed. */
  readonly progress?: ListProgress;
  readonly signal?: AbortSignal;
}

/** A file below a destination that belongs to no object: what a crash left of a put. */
export interface Leftover {
  readonly key: string;
  /** A put that never ended, metadata without its object, or what is neither file nor folder. */
  readonly kind: "temporary" | "sidecar" | "stranger";
  /** When the file last changed, in ms since the epoch. */
  readonly changedMs: number;
}

/** What a store can promise; shown by `explain`. */
export interface StoreCapabilities {
  /** Whether create-only puts are enforced by the store; "unknown" until the first probe or put. */
  readonly conditionalPut: "yes" | "no" | "unknown";
  /** The same of uploads in parts; absent where there are none. */
  readonly conditionalComplete?: "yes" | "no" | "unknown";
}

/** A key that the store refuses to delete: its owner wants the object kept. */
export interface KeptKey {
  readonly key: string;
  /** What the store says, in its words. */
  readonly reason: string;
}

/** An upload in parts that has not ended, and that this process does not work on. */
export interface UnfinishedUpload {
  readonly key: string;
  readonly uploadId: string;
  /** When it was begun, on the store's clock, in ms since the epoch. */
  readonly initiatedMs: number;
}

/** Whether create-only writes need a look before and after: some kind of them is not enforced. */
export function isWeak({ conditionalPut, conditionalComplete }: StoreCapabilities): boolean {
  return conditionalPut === "no" || conditionalComplete === "no";
}

/**
 * Object storage under one root. @throws WalrustError with codes storage, auth, not-found, precondition,
 * missing-bucket.
 */
export interface ObjectStore {
  /** The destination as a person writes it: `s3://bucket/prefix` or `file:///dir`. */
  readonly url: string;
  /** Which key layout Litestream expects here: levels as 4 hex digits (s3) or `ltx/<decimal>` (file). */
  readonly layout: "s3" | "file";
  readonly capabilities: StoreCapabilities;

  put(key: string, body: PutBody, options?: PutOptions): Promise<void>;
  get(key: string, options?: { range?: ByteRange; signal?: AbortSignal }): Promise<ObjectBody>;
  head(key: string, options?: { signal?: AbortSignal }): Promise<ObjectHead>;
  /** All objects whose key begins with `prefix`, in pages behind the scenes. */
  list(prefix: string, options?: ListOptions): AsyncIterable<ObjectInfo>;
  /**
   * The names directly below `prefix` (which ends in "/" or is empty) that are "folders", without the slash.
   * A name twice means that the store changes names in its listings.
   */
  listFolders(prefix: string, options?: { signal?: AbortSignal }): Promise<string[]>;
  /**
   * Deletes many keys; a missing one counts as deleted.
   * @returns the keys that the store refuses to delete (a retention, a policy without the permission)
   */
  delete(keys: readonly string[], options?: { signal?: AbortSignal }): Promise<readonly KeptKey[]>;
  /**
   * Finds out whether create-only puts are enforced, with one probe object under `key` that is removed again.
   */
  probe(key: string): Promise<StoreCapabilities>;
  /** The leftovers directly in `folder` (empty or ending in "/"). Absent where puts leave none. */
  leftovers?(folder: string): Promise<Leftover[]>;
  /** Removes those of the keys that are leftovers still, and returns them. */
  removeLeftovers?(keys: readonly string[]): Promise<string[]>;
  /**
   * The uploads in parts below `prefix` that have not ended, without those of this process; empty where the
   * store does not list them. Absent where there are none.
   */
  unfinishedUploads?(prefix: string, options?: { signal?: AbortSignal }): Promise<UnfinishedUpload[]>;
  /** Aborts uploads; one that is gone counts as aborted. */
  abortUploads?(uploads: readonly UnfinishedUpload[], options?: { signal?: AbortSignal }): Promise<void>;
  close(): Promise<void>;
}

/** A place among the uploads that are on their way, taken before it is known what is uploaded. */
export interface PutReservation {
  /** Gives it back, unless a put has used it. */
  end(): void;
}

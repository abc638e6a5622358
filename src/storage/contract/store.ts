/**
 * ObjectStore: the one seam between walrust and the place its objects live. Implementations: s3 and file;
 * both, and the memory store of the tests, pass one contract suite (test/storage/contract/contract.ts). Three
 * wrappers implement it too: `RetryingStore` retries the calls of all databases, `BreakerStore` suspends
 * those of one database, and `RememberingStore` remembers its objects. No wrapper knows which store it wraps:
 * callers state their needs in a call's options.
 *
 * Guarantees of every implementation:
 * 1. A put is atomic: a reader sees the whole object with its metadata, or nothing. It is durable when it
 *    resolves.
 * 2. `createOnly` never replaces an object: it rejects with code "precondition" and leaves the object as it
 *    is.
 * 3. A listing is sorted by key (bytewise ascending) and complete: a missing bucket or directory root is an
 *    error with code "missing-bucket", never an empty list. A prefix without objects is an empty list.
 * 4. A call resolves only if the store itself has answered. An answer of something in its place (a captive
 *    portal, a load balancer) is a retryable error.
 * 5. `get` and `head` of a missing key reject with code "not-found"; deleting a missing key succeeds.
 * 6. Keys are relative to the store's root (bucket + prefix), use "/" and never begin with it.
 */
import type { PutReservation } from "./put-limit.ts";
import type { UploadMemory } from "./upload-memory.ts";

/** User metadata of an object: lower-case names, ASCII values. */
export type ObjectMetadata = Readonly<Record<string, string>>;

/** One entry of a listing. */
export interface ObjectInfo {
  readonly key: string;
  readonly sizeBytes: number;
  /**
   * Last modification in ms since the epoch, as the store reports it. The LTX header has the true time of a
   * capture.
   */
  readonly modifiedMs: number;
  /** When the object was stored, if `modifiedMs` is another time: a file store sets that to the capture's. */
  readonly storedMs?: number;
}

/** A checksum of the whole content of an object, which the store computed from the bytes it received. */
export interface ContentChecksum {
  readonly algorithm: "md5" | "sha256";
  /** Lower-case hex digits. */
  readonly hex: string;
}

/** The facts about an object that a head or a get answers. */
export interface ObjectHead extends ObjectInfo {
  readonly metadata: ObjectMetadata;
  /**
   * The presumed checksum of the content: it is one if it equals that of the bytes that were put. A value
   * that differs proves nothing. Only `head` gives it; absent if the store states none.
   */
  readonly checksum?: ContentChecksum;
}

/** An object's content as a stream of chunks; a chunk is valid until the next one is requested. */
export interface ObjectBody extends ObjectHead {
  /** With a range, `sizeBytes` is still the size of the whole object. */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** The whole body in one array. Only for objects known to be small. */
  bytes(): Promise<Uint8Array>;
}

/** The content of a put: bytes in memory, or a region of a local file that is read while it is sent. */
export type PutBody =
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly kind: "file"; readonly path: string; readonly offset: number; readonly sizeBytes: number };

/** Options of every call. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /**
   * Make one attempt, whatever the retry policy: the caller asks whether the store works. Only a store that
   * retries has to heed this.
   */
  readonly isSingleAttempt?: boolean;
  /** Learns of each attempt that follows a failed one. */
  readonly retries?: RetryListener;
}

/** Counts retries. */
export interface RetryListener {
  retried(): void;
}

/** Options of a put. */
export interface PutOptions extends CallOptions {
  readonly metadata?: ObjectMetadata;
  /** Fail with "precondition" when the key exists (If-None-Match: *). */
  readonly createOnly?: boolean;
  /** Modification time to set, in ms since the epoch; a bucket has no such time and ignores it. */
  readonly modifiedMs?: number;
  readonly contentType?: string;
  /** SHA-256 of the body as 64 hex digits, if the caller knows it. */
  readonly sha256?: string;
  /** A place below the limit on puts that was reserved for this put; the put uses it up. */
  readonly reservation?: PutReservation;
  /** Remembers a multipart upload, so that a later put of the same bytes at the same key continues it. */
  readonly uploadMemory?: UploadMemory;
  /**
   * Reports bytes that the store has taken: of a multipart upload part by part, also those that it had
   * before. A repeated attempt may report bytes again.
   */
  readonly onSent?: ((byteCount: number) => void) | undefined;
}

/** A byte range: `length` bytes from `offset`. A range that reaches past the end gives the bytes up to it. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** Options of a get. */
export interface GetOptions extends CallOptions {
  readonly range?: ByteRange;
}

/** How far a listing came before it failed. Only the store reads and writes `held`. */
export interface ListProgress {
  held: unknown;
}

/** Options of a listing. */
export interface ListOptions extends CallOptions {
  /** Only keys after this one (exclusive). */
  readonly startAfter?: string;
  /** At most this many keys: the first ones in the order of the store. */
  readonly limit?: number;
  /**
   * The caller is content with the LTX objects that this process knows of: no request, if the store remembers
   * them. Puts and deletes of others since the last other listing may be missing.
   */
  readonly isRemembered?: boolean;
  /** Handed in again with the same listing after a failure, so that the listing resumes where it failed. */
  readonly progress?: ListProgress;
}

/** A file below a destination that belongs to no object, such as the remains of a put after a crash. */
export interface Leftover {
  readonly key: string;
  /** A put that never ended, metadata without its object, or something that is neither file nor folder. */
  readonly kind: "temporary" | "sidecar" | "stranger";
  /** When the file last changed, in ms since the epoch. */
  readonly changedMs: number;
}

/** The promises of a store; `explain` shows them. */
export interface StoreCapabilities {
  /** Whether the store enforces create-only puts; "unknown" until the first probe or put. */
  readonly conditionalPut: "yes" | "no" | "unknown";
  /** The same for multipart uploads; absent for a store without them. */
  readonly conditionalComplete?: "yes" | "no" | "unknown";
}

/** A key that the store refuses to delete, because a policy of its owner keeps the object. */
export interface KeptKey {
  readonly key: string;
  /** The reason in the store's words. */
  readonly reason: string;
}

/** A multipart upload that has not ended, and that this process does not work on. */
export interface UnfinishedUpload {
  readonly key: string;
  readonly uploadId: string;
  /** When the upload began, on the store's clock, in ms since the epoch. */
  readonly initiatedMs: number;
}

/**
 * Whether the store does not enforce some kind of create-only write, so that puts need checks around them.
 */
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
  /**
   * The store itself: the URL, and the endpoint of an S3 store. Two stores with one URL differ in this, so
   * requests between processes are compared by it.
   */
  readonly location: string;
  /** The key layout that Litestream expects here: levels as 4 hex digits (s3) or `ltx/<decimal>` (file). */
  readonly layout: "s3" | "file";
  readonly capabilities: StoreCapabilities;

  put(key: string, body: PutBody, options?: PutOptions): Promise<void>;
  get(key: string, options?: GetOptions): Promise<ObjectBody>;
  head(key: string, options?: CallOptions): Promise<ObjectHead>;
  /** All objects whose key begins with `prefix`; the store requests them page by page. */
  list(prefix: string, options?: ListOptions): AsyncIterable<ObjectInfo>;
  /**
   * The names directly below `prefix` (which ends in "/" or is empty) that are "folders", without the slash.
   * A name that comes twice means that the store changes names in its listings.
   */
  listFolders(prefix: string, options?: CallOptions): Promise<string[]>;
  /**
   * Deletes many keys; a missing key counts as deleted.
   * @returns the keys that the store refuses to delete (a retention, a policy without the permission)
   */
  delete(keys: readonly string[], options?: CallOptions): Promise<readonly KeptKey[]>;
  /** Finds out whether create-only puts are enforced: puts an object at `key` twice, and removes it again. */
  probe(key: string, options?: CallOptions): Promise<StoreCapabilities>;
  /** The leftovers directly in `folder` (empty or ending in "/"). Absent if puts of this store leave none. */
  leftovers?(folder: string): Promise<Leftover[]>;
  /** Removes those of the keys that are still leftovers, and returns them. */
  removeLeftovers?(keys: readonly string[]): Promise<string[]>;
  /**
   * The multipart uploads below `prefix` that have not ended, without those of this process; empty if the
   * store does not list them. Absent for a store without such uploads.
   */
  unfinishedUploads?(prefix: string, options?: CallOptions): Promise<UnfinishedUpload[]>;
  /** Aborts uploads; an upload that is gone counts as aborted. */
  abortUploads?(uploads: readonly UnfinishedUpload[], options?: CallOptions): Promise<void>;
  close(): Promise<void>;
}

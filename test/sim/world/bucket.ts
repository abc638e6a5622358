/**
 * The content of the simulated bucket. It outlives every process, and reports each change to an observer that
 * judges the history. Invariant: the bytes of an object never change; an overwrite replaces the object.
 */
import type { ObjectMetadata } from "../../../src/storage/contract/store.ts";

/** An object of the bucket. */
export interface StoredObject {
  readonly bytes: Uint8Array;
  readonly metadata: ObjectMetadata;
  readonly modifiedMs: number;
}

/** Learns of each change. */
export interface BucketObserver {
  created(key: string, object: StoredObject): void;
  deleted(key: string): void;
  /** Somebody else deleted the object. */
  lost(key: string): void;
}

/** The objects of a run. */
export class Bucket {
  readonly objects = new Map<string, StoredObject>();
  /** Keys that no request sees until a time on the monotonic clock. */
  readonly hiddenUntilMs = new Map<string, number>();

  constructor(readonly observer: BucketObserver) {}

  /** Whether a key has an object that a request at this time sees. */
  has(key: string, nowMs: number): boolean {
    return this.objects.has(key) && nowMs >= (this.hiddenUntilMs.get(key) ?? 0);
  }

  /** Creates or replaces an object. */
  put(key: string, object: StoredObject): void {
    this.objects.set(key, object);
    this.observer.created(key, object);
  }

  /** Deletes an object. */
  delete(key: string): void {
    if (this.objects.delete(key)) this.observer.deleted(key);
  }

  /** Somebody else deletes an object. */
  lose(key: string): void {
    if (this.objects.delete(key)) this.observer.lost(key);
  }

  /** The keys that a request at this time sees below a prefix, in order. */
  keys(prefix: string, nowMs: number): string[] {
    return [...this.objects.keys()].filter((key) => key.startsWith(prefix) && this.has(key, nowMs)).sort();
  }
}

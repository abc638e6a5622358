/**
 * An ObjectStore behind a circuit breaker: while that is open, every call fails at once and nothing is sent.
 * It stands outside the retries, one for each database, so that one database's trouble suspends no other's.
 *
 * - A listing and a body are one call each, from the request to the last entry or chunk: what has begun goes
 *   on, and breaking off counts as a failure even if it began well.
 * - A trial is a single attempt. Its first entry or its head decides, so that a slow reader holds nobody up;
 *   for a big put, which could take minutes, a look at its key goes first and is the trial: if the store
 *   answers, calls pass again, on probation until one succeeds.
 */

import { objectBody, putBodySize } from "../contract/object-body.ts";
import type {
  ByteRange,
  KeptKey,
  Leftover,
  ListOptions,
  ObjectBody,
  ObjectHead,
  ObjectInfo,
  ObjectStore,
  PutBody,
  PutOptions,
  StoreCapabilities,
  UnfinishedUpload,
} from "../contract/store.ts";
import { type CircuitBreaker, type Passage, verdictOf } from "./circuit-breaker.ts";
import { RetryingStore } from "./retrying-store.ts";

/** A put of more than this is no trial by itself. */
const TRIAL_PUT_SIZE_MAX = 4 << 20;

/** Wraps a store with a circuit breaker. */
export class BreakerStore implements ObjectStore {
  readonly #inner: ObjectStore;
  readonly #breaker: CircuitBreaker;
  readonly #until: AbortSignal | undefined;

  /** @param until ends every call that has no signal of its own */
  constructor(inner: ObjectStore, breaker: CircuitBreaker, until?: AbortSignal) {
    this.#inner = inner;
    this.#breaker = breaker;
    this.#until = until;
  }

  get url(): string {
    return this.#inner.url;
  }

  get layout(): "s3" | "file" {
    return this.#inner.layout;
  }

  get capabilities(): StoreCapabilities {
    return this.#inner.capabilities;
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<void> {
    const isHalfOpen = this.#breaker.state === "half-open";
    if (isHalfOpen && putBodySize(body) > TRIAL_PUT_SIZE_MAX) await this.#look(key, options.signal);
    await this.#call((store) => store.put(key, body, this.#ended(options)));
  }

  async get(key: string, options: { range?: ByteRange; signal?: AbortSignal } = {}): Promise<ObjectBody> {
    const passage = this.#breaker.pass();
    const body = await this.#judge(passage, () => this.#storeFor(passage).get(key, this.#ended(options)));
    const { sizeBytes, modifiedMs, metadata, chunks } = body;
    const reading = passage.isTrial ? this.#decided(passage) : passage;
    return objectBody({ key, sizeBytes, modifiedMs, metadata }, this.#follow(reading, chunks));
  }

  async head(key: string, options: { signal?: AbortSignal } = {}): Promise<ObjectHead> {
    return await this.#call((store) => store.head(key, this.#ended(options)));
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    const passage = this.#breaker.pass();
    yield* this.#follow(passage, this.#storeFor(passage).list(prefix, this.#ended(options)));
  }

  async listFolders(prefix: string, options: { signal?: AbortSignal } = {}): Promise<string[]> {
    return await this.#call((store) => store.listFolders(prefix, this.#ended(options)));
  }

  async delete(keys: readonly string[], options: { signal?: AbortSignal } = {}): Promise<readonly KeptKey[]> {
    return await this.#call((store) => store.delete(keys, this.#ended(options)));
  }

  async probe(key: string): Promise<StoreCapabilities> {
    return await this.#call((store) => store.probe(key));
  }

  async leftovers(folder: string): Promise<Leftover[]> {
    return (await this.#call(async (store) => store.leftovers?.(folder))) ?? [];
  }

  async removeLeftovers(keys: readonly string[]): Promise<string[]> {
    return (await this.#call(async (store) => store.removeLeftovers?.(keys))) ?? [];
  }

  async unfinishedUploads(
    prefix: string,
    options: { signal?: AbortSignal } = {},
  ): Promise<UnfinishedUpload[]> {
    return (await this.#call(async (store) => store.unfinishedUploads?.(prefix, this.#ended(options)))) ?? [];
  }

  async abortUploads(
    uploads: readonly UnfinishedUpload[],
    options: { signal?: AbortSignal } = {},
  ): Promise<void> {
    await this.#call(async (store) => store.abortUploads?.(uploads, this.#ended(options)));
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }

  async #call<T>(work: (store: ObjectStore) => Promise<T>): Promise<T> {
    const passage = this.#breaker.pass();
    const result = await this.#judge(passage, () => work(this.#storeFor(passage)));
    this.#breaker.settle(passage, "works");
    return result;
  }

  /** Runs a part of a call; its failure is the call's. */
  async #judge<T>(passage: Passage, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      this.#breaker.settle(passage, verdictOf(error), error);
      throw error;
    }
  }

  /** Passes on what a call goes on to give, to its end. */
  async *#follow<T>(passage: Passage, parts: AsyncIterable<T>): AsyncGenerator<T> {
    const iterator = parts[Symbol.asyncIterator]();
    try {
      while (true) {
        const { done, value } = await this.#judge(passage, () => iterator.next());
        if (done) break;
        if (passage.isTrial) this.#breaker.settle(passage, "works");
        yield value;
      }
    } finally {
      this.#breaker.settle(passage, "works");
      await iterator.return?.();
    }
  }

  /** A trial is decided by the head of a body; reading on is a call of its own, and passes. */
  #decided(trial: Passage): Passage {
    this.#breaker.settle(trial, "works");
    return this.#breaker.pass();
  }

  /** The trial before a big put: any answer will do. */
  async #look(key: string, signal: AbortSignal | undefined): Promise<void> {
    const passage = this.#breaker.pass();
    try {
      await this.#storeFor(passage).head(key, this.#ended(signal === undefined ? {} : { signal }));
    } catch (error) {
      const verdict = verdictOf(error);
      if (verdict !== "works") {
        this.#breaker.settle(passage, verdict, error);
        throw error;
      }
    }
    this.#breaker.settle(passage, "answers");
  }

  #ended<Options extends { signal?: AbortSignal }>(options: Options): Options {
    if (options.signal !== undefined || this.#until === undefined) return options;
    return { ...options, signal: this.#until };
  }

  #storeFor({ isTrial }: Passage): ObjectStore {
    return isTrial && this.#inner instanceof RetryingStore ? this.#inner.once : this.#inner;
  }
}

/**
 * An ObjectStore behind the circuit breaker of one database. While the circuit is open, every call fails at
 * once and nothing is sent. Each database has a BreakerStore of its own, outside the shared retries, so that
 * failures at one database's prefix suspend no other database.
 *
 * - A listing and a body are one call each, from the request to the last entry or chunk. A call that has
 *   begun continues when the circuit opens. A call that breaks off counts as a failure, however far it came.
 * - A trial is a single attempt. The first entry of a listing, or the head of a body, decides the trial, so
 *   that a slow reader delays nobody.
 * - A big put could take minutes, so a HEAD of the same key is the trial instead. If the store answers the
 *   HEAD, calls pass again, on probation until one succeeds.
 */
import { objectBody, putBodySize } from "../contract/object-body.ts";
import type {
  CallOptions,
  GetOptions,
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
import { type AdmittedCall, type CircuitBreaker, outcomeOfError } from "./circuit-breaker.ts";

/** A put of more than this is no trial by itself. */
const TRIAL_PUT_SIZE_MAX = 4 << 20;

/** Gives the signal that is current when a call begins. */
export interface SignalSource {
  readonly signal: AbortSignal;
}

/** Suspends the calls of one database while its circuit is open. */
export class BreakerStore implements ObjectStore {
  readonly #inner: ObjectStore;
  readonly #breaker: CircuitBreaker;
  readonly #until: SignalSource | undefined;

  /** @param until ends every call that has no signal of its own */
  constructor(inner: ObjectStore, breaker: CircuitBreaker, until?: SignalSource) {
    this.#inner = inner;
    this.#breaker = breaker;
    this.#until = until;
  }

  get url(): string {
    return this.#inner.url;
  }

  get location(): string {
    return this.#inner.location;
  }

  get layout(): "s3" | "file" {
    return this.#inner.layout;
  }

  get capabilities(): StoreCapabilities {
    return this.#inner.capabilities;
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<void> {
    const isHalfOpen = this.#breaker.state === "half-open";
    if (isHalfOpen && putBodySize(body) > TRIAL_PUT_SIZE_MAX) await this.#tryHead(key, options);
    const counted = { ...options, retries: this.#breaker };
    await this.#call(counted, (admitted) => this.#inner.put(key, body, admitted));
  }

  async get(key: string, options: GetOptions = {}): Promise<ObjectBody> {
    const call = this.#breaker.admit();
    const body = await this.#settleFailure(call, () => this.#inner.get(key, this.#optionsOf(call, options)));
    const { sizeBytes, modifiedMs, metadata, chunks } = body;
    const reading = call.isTrial ? this.#afterTrial(call) : call;
    return objectBody({ key, sizeBytes, modifiedMs, metadata }, this.#follow(reading, chunks));
  }

  async head(key: string, options: CallOptions = {}): Promise<ObjectHead> {
    return await this.#call(options, (admitted) => this.#inner.head(key, admitted));
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    const call = this.#breaker.admit();
    yield* this.#follow(call, this.#inner.list(prefix, this.#optionsOf(call, options)));
  }

  async listFolders(prefix: string, options: CallOptions = {}): Promise<string[]> {
    return await this.#call(options, (admitted) => this.#inner.listFolders(prefix, admitted));
  }

  async delete(keys: readonly string[], options: CallOptions = {}): Promise<readonly KeptKey[]> {
    return await this.#call(options, (admitted) => this.#inner.delete(keys, admitted));
  }

  async probe(key: string, options: CallOptions = {}): Promise<StoreCapabilities> {
    return await this.#call(options, (admitted) => this.#inner.probe(key, admitted));
  }

  async leftovers(folder: string): Promise<Leftover[]> {
    return (await this.#call({}, async () => this.#inner.leftovers?.(folder))) ?? [];
  }

  async removeLeftovers(keys: readonly string[]): Promise<string[]> {
    return (await this.#call({}, async () => this.#inner.removeLeftovers?.(keys))) ?? [];
  }

  async unfinishedUploads(prefix: string, options: CallOptions = {}): Promise<UnfinishedUpload[]> {
    const list = async (admitted: CallOptions) => this.#inner.unfinishedUploads?.(prefix, admitted);
    return (await this.#call(options, list)) ?? [];
  }

  async abortUploads(uploads: readonly UnfinishedUpload[], options: CallOptions = {}): Promise<void> {
    await this.#call(options, async (admitted) => this.#inner.abortUploads?.(uploads, admitted));
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }

  async #call<Options extends CallOptions, T>(
    options: Options,
    work: (admitted: Options) => Promise<T>,
  ): Promise<T> {
    const call = this.#breaker.admit();
    const result = await this.#settleFailure(call, () => work(this.#optionsOf(call, options)));
    this.#breaker.settle(call, "succeeded");
    return result;
  }

  /** Runs a part of a call; a failure of the part is one of the call. */
  async #settleFailure<T>(call: AdmittedCall, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      this.#breaker.settle(call, outcomeOfError(error), error);
      throw error;
    }
  }

  /** Passes on the entries or chunks of a call, to its end. */
  async *#follow<T>(call: AdmittedCall, parts: AsyncIterable<T>): AsyncGenerator<T> {
    const iterator = parts[Symbol.asyncIterator]();
    try {
      while (true) {
        const { done, value } = await this.#settleFailure(call, () => iterator.next());
        if (done) break;
        if (call.isTrial) this.#breaker.settle(call, "succeeded");
        yield value;
      }
    } finally {
      this.#breaker.settle(call, "succeeded");
      await iterator.return?.();
    }
  }

  /** Settles a trial by the head of a body; reading the body is a call of its own, and passes. */
  #afterTrial(trial: AdmittedCall): AdmittedCall {
    this.#breaker.settle(trial, "succeeded");
    return this.#breaker.admit();
  }

  /** The trial before a big put: any answer of the store is enough. */
  async #tryHead(key: string, { signal }: PutOptions): Promise<void> {
    const call = this.#breaker.admit();
    try {
      await this.#inner.head(key, this.#optionsOf(call, { signal }));
    } catch (error) {
      const outcome = outcomeOfError(error);
      if (outcome !== "succeeded") {
        this.#breaker.settle(call, outcome, error);
        throw error;
      }
    }
    this.#breaker.settle(call, "answered");
  }

  /**
   * The options of a call as the store below gets them: a trial is one attempt, and every call has an end.
   */
  #optionsOf<Options extends CallOptions>({ isTrial }: AdmittedCall, options: Options): Options {
    const isEndless = options.signal === undefined && this.#until !== undefined;
    if (!isTrial && !isEndless) return options;
    const signal = options.signal ?? this.#until?.signal;
    return { ...options, signal, isSingleAttempt: isTrial || options.isSingleAttempt === true };
  }
}

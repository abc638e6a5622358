/**
 * An ObjectStore that retries every call of the store below it: a listing from the page that failed, a body
 * from where it broke off. All databases share one RetryingStore, so that one limit on puts holds for all.
 *
 * A put whose answer was lost may have taken effect; its repetition then finds our own object. So the error
 * "precondition" counts as success if the object there has our content and all our metadata, which names the
 * writer. This rule holds for the first attempt too: Bun's fetch repeats a request by itself when a
 * kept-alive connection was closed. Without metadata nothing distinguishes us from another writer of
 * the same bytes, so then only repeated attempts count.
 */
import type { Env } from "../../env.ts";
import { hasCode, WalrustError } from "../../errors.ts";
import { objectBody, putBodySha256, putBodySize } from "../contract/object-body.ts";
import type { PutLimit } from "../contract/put-limit.ts";
import { NO_RETRY, type RetryContext, type RetryPolicy, withRetry } from "../contract/retry.ts";
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

/** Retries the calls of a store. */
export class RetryingStore implements ObjectStore {
  readonly #inner: ObjectStore;
  readonly #env: Env;
  readonly #policy: RetryPolicy;
  readonly #putLimit: PutLimit | undefined;

  /**
   * @param putLimit limits attempts to put: an attempt takes a place, the wait before the next one takes none
   */
  constructor(inner: ObjectStore, env: Env, policy: RetryPolicy, putLimit?: PutLimit) {
    this.#inner = inner;
    this.#env = env;
    this.#policy = policy;
    this.#putLimit = putLimit;
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
    await withRetry(this.#context("put", options), async (attemptIndex) => {
      try {
        const attempt = (): Promise<void> => this.#inner.put(key, body, options);
        const facts = { sizeBytes: putBodySize(body), reservation: options.reservation };
        await (this.#putLimit === undefined ? attempt() : this.#putLimit.run(attempt, options.signal, facts));
      } catch (error) {
        if (!options.createOnly || !hasCode(error, "precondition")) throw error;
        const isAnonymous = Object.keys(options.metadata ?? {}).length === 0;
        if (isAnonymous && attemptIndex === 0) throw error;
        if (!(await this.#isOurs(key, body, options))) throw error;
      }
    });
  }

  async get(key: string, options: GetOptions = {}): Promise<ObjectBody> {
    const body = await withRetry(this.#context("get", options), () => this.#inner.get(key, options));
    return objectBody(headOf(body), this.#resumedChunks(body, options));
  }

  async head(key: string, options: CallOptions = {}): Promise<ObjectHead> {
    return await withRetry(this.#context("head", options), () => this.#inner.head(key, options));
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    let { startAfter } = options;
    const first = { ...options, progress: { held: null } };
    let entries = this.#inner.list(prefix, first)[Symbol.asyncIterator]();
    try {
      while (true) {
        const { done, value } = await withRetry(this.#context("list", options), async (attemptIndex) => {
          if (attemptIndex > 0) {
            const from = startAfter === options.startAfter ? first : { ...options, startAfter: startAfter! };
            entries = this.#inner.list(prefix, from)[Symbol.asyncIterator]();
          }
          return await entries.next();
        });
        if (done) return;
        startAfter = value.key;
        yield value;
      }
    } finally {
      await entries.return?.();
    }
  }

  async listFolders(prefix: string, options: CallOptions = {}): Promise<string[]> {
    const context = this.#context("listFolders", options);
    return await withRetry(context, () => this.#inner.listFolders(prefix, options));
  }

  async delete(keys: readonly string[], options: CallOptions = {}): Promise<readonly KeptKey[]> {
    const context = this.#context("delete", options);
    return await withRetry(context, () => this.#inner.delete(keys, options));
  }

  async probe(key: string, options: CallOptions = {}): Promise<StoreCapabilities> {
    return await withRetry(this.#context("probe", options), () => this.#inner.probe(key, options));
  }

  async leftovers(folder: string): Promise<Leftover[]> {
    return (await this.#inner.leftovers?.(folder)) ?? [];
  }

  async removeLeftovers(keys: readonly string[]): Promise<string[]> {
    return (await this.#inner.removeLeftovers?.(keys)) ?? [];
  }

  async unfinishedUploads(prefix: string, options: CallOptions = {}): Promise<UnfinishedUpload[]> {
    const context = this.#context("unfinishedUploads", options);
    return (await withRetry(context, async () => this.#inner.unfinishedUploads?.(prefix, options))) ?? [];
  }

  async abortUploads(uploads: readonly UnfinishedUpload[], options: CallOptions = {}): Promise<void> {
    const context = this.#context("abortUploads", options);
    await withRetry(context, async () => this.#inner.abortUploads?.(uploads, options));
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }

  #context(operation: string, { signal, isSingleAttempt, retries }: CallOptions): RetryContext {
    return {
      env: this.#env,
      policy: isSingleAttempt === true ? NO_RETRY : this.#policy,
      signal,
      onRetry: (error, retryIndex, delayMs) => {
        retries?.retried();
        this.#env.log.debug("a request to the store is retried", {
          operation,
          retry: retryIndex + 1,
          delayMs: Math.round(delayMs),
          reason: error.message,
        });
      },
    };
  }

  /** Whether the object at the key is the one that is being put: the same metadata, and the same bytes. */
  async #isOurs(key: string, body: PutBody, options: PutOptions): Promise<boolean> {
    try {
      return await this.#isSame(key, body, options);
    } catch (error) {
      // A gateway refuses the key while another caller's object is not visible yet.
      if (hasCode(error, "not-found")) return false;
      throw error;
    }
  }

  async #isSame(key: string, body: PutBody, options: PutOptions): Promise<boolean> {
    const { signal, isSingleAttempt = false } = options;
    const callOptions = { signal, isSingleAttempt };
    const head = await this.head(key, callOptions);
    const metadata = options.metadata ?? {};
    const names = new Set([...Object.keys(metadata), ...Object.keys(head.metadata)]);
    const isSameMetadata = [...names].every((name) => metadata[name] === head.metadata[name]);
    if (!isSameMetadata || head.sizeBytes !== putBodySize(body)) return false;
    const found = await this.get(key, callOptions);
    const hasher = new Bun.CryptoHasher("sha256");
    for await (const chunk of found.chunks) hasher.update(chunk);
    return hasher.digest("hex") === (options.sha256 ?? (await putBodySha256(body)));
  }

  /** The chunks of `first`; when the body breaks off, the rest is requested as a range of the same object. */
  async *#resumedChunks(first: ObjectBody, options: GetOptions): AsyncGenerator<Uint8Array> {
    const startOffset = options.range?.offset ?? 0;
    const lengthBytes = Math.min(options.range?.length ?? first.sizeBytes, first.sizeBytes - startOffset);
    let receivedBytes = 0;
    let chunks = first.chunks[Symbol.asyncIterator]();
    const context = this.#context("get", options);
    try {
      while (true) {
        const { done, value } = await withRetry(context, async (attemptIndex) => {
          if (attemptIndex > 0) {
            const range = { offset: startOffset + receivedBytes, length: lengthBytes - receivedBytes };
            chunks = (await this.#getSame(first, { ...options, range })).chunks[Symbol.asyncIterator]();
          }
          return await chunks.next();
        });
        if (done) return;
        receivedBytes += value.byteLength;
        yield value;
      }
    } finally {
      await chunks.return?.();
    }
  }

  async #getSame(first: ObjectHead, options: GetOptions): Promise<ObjectBody> {
    const body = await this.#inner.get(first.key, options);
    if (body.sizeBytes === first.sizeBytes && body.modifiedMs === first.modifiedMs) return body;
    await dropBody(body);
    throw new WalrustError("storage", `Cannot read ${first.key} in ${this.url}: it was replaced meanwhile`);
  }
}

function headOf({ key, sizeBytes, modifiedMs, metadata }: ObjectBody): ObjectHead {
  return { key, sizeBytes, modifiedMs, metadata };
}

/** Releases the connection of a body that is not read. */
async function dropBody(body: ObjectBody): Promise<void> {
  for await (const _ of body.chunks) return;
}

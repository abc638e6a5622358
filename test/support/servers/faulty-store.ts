/**
 * Injects faults around a store: a wrapper that calls the test's hooks before and after every operation. The
 * caller sees the error that a hook throws; the operation hangs while a hook awaits.
 */
import { WalrustError } from "../../../src/errors.ts";
import type {
  CallOptions,
  GetOptions,
  KeptKey,
  ListOptions,
  ObjectBody,
  ObjectHead,
  ObjectInfo,
  ObjectStore,
  PutBody,
  PutOptions,
  StoreCapabilities,
} from "../../../src/storage/contract/store.ts";

export type StoreOperation = "put" | "get" | "head" | "list" | "listFolders" | "delete";

type Hook = (operation: StoreOperation, key: string, signal: AbortSignal | undefined) => unknown;

/** A store with hooks, which records the keys of its operations. */
export class FaultyStore implements ObjectStore {
  before: Hook = () => {};
  after: Hook = () => {};
  /** Every operation in order, as `put key`. */
  readonly calls: string[] = [];

  constructor(readonly inner: ObjectStore) {}

  get url(): string {
    return this.inner.url;
  }

  get location(): string {
    return this.inner.location;
  }

  get layout(): "s3" | "file" {
    return this.inner.layout;
  }

  get capabilities(): StoreCapabilities {
    return this.inner.capabilities;
  }

  /** Keys of the puts in order, one entry for each attempt. */
  get puts(): string[] {
    return this.calls.filter((call) => call.startsWith("put ")).map((call) => call.slice(4));
  }

  async #run<T>(
    operation: StoreOperation,
    key: string,
    signal: AbortSignal | undefined,
    work: () => Promise<T>,
  ): Promise<T> {
    this.calls.push(`${operation} ${key}`);
    await this.before(operation, key, signal);
    const result = await work();
    await this.after(operation, key, signal);
    return result;
  }

  put(key: string, body: PutBody, options: PutOptions = {}): Promise<void> {
    return this.#run("put", key, options.signal, () => this.inner.put(key, body, options));
  }

  get(key: string, options: GetOptions = {}): Promise<ObjectBody> {
    return this.#run("get", key, options.signal, () => this.inner.get(key, options));
  }

  head(key: string, options: CallOptions = {}): Promise<ObjectHead> {
    return this.#run("head", key, options.signal, () => this.inner.head(key, options));
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    this.calls.push(`list ${prefix}`);
    await this.before("list", prefix, options.signal);
    yield* this.inner.list(prefix, options);
  }

  listFolders(prefix: string, options: CallOptions = {}): Promise<string[]> {
    return this.#run("listFolders", prefix, options.signal, () => this.inner.listFolders(prefix, options));
  }

  delete(keys: readonly string[], options: CallOptions = {}): Promise<readonly KeptKey[]> {
    return this.#run("delete", keys.join(" "), options.signal, () => this.inner.delete(keys, options));
  }

  probe(key: string, options: CallOptions = {}): Promise<StoreCapabilities> {
    return this.inner.probe(key, options);
  }

  close(): Promise<void> {
    return this.inner.close();
  }
}

/** The error of an unreachable store. */
export function unreachable(): WalrustError {
  return new WalrustError("storage", "Cannot reach the store: connection refused", { retryable: true });
}

/** A promise that never resolves and rejects when the signal aborts. */
export function hang(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => {
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

/** A promise that `open` resolves, for hooks that hold an operation back. */
export function gate(): { readonly passed: Promise<void>; open: () => void } {
  let open = (): void => {};
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open: () => open() };
}

/**
 * An ObjectStore in memory, for tests and the simulation. It gives the same order and the same errors as the
 * stores of `src/storage`. It has no faults of its own: a wrapper injects faults. Invariant: an entry's bytes
 * are a copy that never changes; an overwrite replaces the entry.
 */
import { type Env, SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { WalrustError } from "../../../src/errors.ts";
import { objectBodyOfBytes, putBodyChunks, putBodySize } from "../../../src/storage/contract/object-body.ts";
import {
  assertFolderPrefix,
  assertObjectKey,
  assertObjectMetadata,
  assertObjectPrefix,
  clampRange,
  compareKeys,
} from "../../../src/storage/contract/object-rules.ts";
import type {
  CallOptions,
  GetOptions,
  KeptKey,
  ListOptions,
  ObjectBody,
  ObjectHead,
  ObjectInfo,
  ObjectMetadata,
  ObjectStore,
  PutBody,
  PutOptions,
  StoreCapabilities,
} from "../../../src/storage/contract/store.ts";

interface Entry {
  readonly bytes: Uint8Array;
  readonly metadata: ObjectMetadata;
  readonly modifiedMs: number;
}

/** Settings of a MemoryStore; each has a default. */
export interface MemoryStoreOptions {
  readonly url?: string;
  readonly layout?: "s3" | "file";
  readonly env?: Pick<Env, "nowMs">;
  /** Whether a head states the MD5 of the content, like most S3 stores. */
  readonly hasChecksums?: boolean;
  /** False: every call fails with "missing-bucket". */
  readonly bucketExists?: boolean;
}

/** A store that keeps its objects in a Map. */
export class MemoryStore implements ObjectStore {
  readonly url: string;
  readonly location: string;
  readonly layout: "s3" | "file";
  readonly capabilities: StoreCapabilities = { conditionalPut: "yes" };
  readonly #env: Pick<Env, "nowMs">;
  readonly #hasChecksums: boolean;
  readonly #bucketExists: boolean;
  readonly #entries = new Map<string, Entry>();

  constructor(options: MemoryStoreOptions = {}) {
    this.url = options.url ?? "s3://memory";
    this.location = this.url;
    this.layout = options.layout ?? "s3";
    this.#env = options.env ?? systemEnv(SILENT_LOG);
    this.#hasChecksums = options.hasChecksums ?? false;
    this.#bucketExists = options.bucketExists ?? true;
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<void> {
    assertObjectKey(key);
    assertObjectMetadata(options.metadata ?? {});
    this.#assertUsable(options.signal);
    const bytes = await copyBody(body);
    // No await from here on: the check and the set are one step.
    if (options.createOnly && this.#entries.has(key)) {
      throw new WalrustError("precondition", `Cannot create ${key} in ${this.url}: it exists`, {
        context: { key },
      });
    }
    const modifiedMs = options.modifiedMs ?? this.#env.nowMs();
    this.#entries.set(key, { bytes, metadata: { ...options.metadata }, modifiedMs });
    options.onSent?.(bytes.byteLength);
  }

  async get(key: string, options: GetOptions = {}): Promise<ObjectBody> {
    const entry = this.#entryOf(key, options.signal);
    const { offset, length } = clampRange(options.range, entry.bytes.byteLength);
    return objectBodyOfBytes(headOf(key, entry), entry.bytes.slice(offset, offset + length));
  }

  async head(key: string, options: CallOptions = {}): Promise<ObjectHead> {
    const entry = this.#entryOf(key, options.signal);
    if (!this.#hasChecksums) return headOf(key, entry);
    const hex = new Bun.CryptoHasher("md5").update(entry.bytes).digest("hex");
    return { ...headOf(key, entry), checksum: { algorithm: "md5", hex } };
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    assertObjectPrefix(prefix);
    this.#assertUsable(options.signal);
    for (const key of this.#sortedKeys(prefix)) {
      if (options.startAfter !== undefined && compareKeys(key, options.startAfter) <= 0) continue;
      const entry = this.#entries.get(key);
      if (entry === undefined) continue;
      yield { key, sizeBytes: entry.bytes.byteLength, modifiedMs: entry.modifiedMs };
      options.signal?.throwIfAborted();
    }
  }

  async listFolders(prefix: string, options: CallOptions = {}): Promise<string[]> {
    assertFolderPrefix(prefix);
    this.#assertUsable(options.signal);
    const folders = new Set<string>();
    for (const key of this.#sortedKeys(prefix)) {
      const slash = key.indexOf("/", prefix.length);
      if (slash !== -1) folders.add(key.slice(prefix.length, slash));
    }
    return [...folders];
  }

  async delete(keys: readonly string[], options: CallOptions = {}): Promise<KeptKey[]> {
    for (const key of keys) assertObjectKey(key);
    this.#assertUsable(options.signal);
    for (const key of keys) this.#entries.delete(key);
    return [];
  }

  async probe(key: string): Promise<StoreCapabilities> {
    assertObjectKey(key);
    this.#assertUsable();
    return this.capabilities;
  }

  async close(): Promise<void> {}

  #entryOf(key: string, signal?: AbortSignal): Entry {
    assertObjectKey(key);
    this.#assertUsable(signal);
    const entry = this.#entries.get(key);
    if (entry !== undefined) return entry;
    throw new WalrustError("not-found", `Cannot read ${key} in ${this.url}: no such object`, {
      context: { key },
    });
  }

  #sortedKeys(prefix: string): string[] {
    return [...this.#entries.keys()].filter((key) => key.startsWith(prefix)).sort(compareKeys);
  }

  #assertUsable(signal?: AbortSignal): void {
    signal?.throwIfAborted();
    if (this.#bucketExists) return;
    throw new WalrustError("missing-bucket", `Cannot use ${this.url}: the bucket does not exist`);
  }
}

function headOf(key: string, entry: Entry): ObjectHead {
  const { bytes, metadata, modifiedMs } = entry;
  return { key, sizeBytes: bytes.byteLength, modifiedMs, metadata };
}

async function copyBody(body: PutBody): Promise<Uint8Array> {
  const bytes = new Uint8Array(putBodySize(body));
  let offset = 0;
  for await (const chunk of putBodyChunks(body)) {
    bytes.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return bytes;
}

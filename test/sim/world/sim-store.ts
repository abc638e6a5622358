/**
 * The store as one simulated process sees it: each request takes effect at an event of the scheduler, and its
 * answer arrives at a later one. Between the two the process may crash, and a request of a dead process may
 * still take effect.
 */
import { readFileSync } from "node:fs";
import { WalrustError } from "../../../src/errors.ts";
import { objectBodyOfBytes } from "../../../src/storage/contract/object-body.ts";
import {
  assertFolderPrefix,
  assertObjectKey,
  assertObjectMetadata,
  assertObjectPrefix,
  clampRange,
} from "../../../src/storage/contract/object-rules.ts";
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
import type { Bucket, StoredObject } from "./bucket.ts";
import { type Owner, type Scheduler, WORLD } from "./scheduler.ts";
import type { StoreFaults } from "./store-faults.ts";

/** The probability that a request of a crashed process has already left it. */
const SENT_PROBABILITY = 0.6;

/** The store of one process. */
export class SimStore implements ObjectStore {
  readonly url = "s3://simulated";
  readonly location = "s3://simulated";
  readonly layout = "s3";
  readonly capabilities: StoreCapabilities = { conditionalPut: "yes" };

  constructor(
    readonly bucket: Bucket,
    readonly faults: StoreFaults,
    readonly scheduler: Scheduler,
    readonly owner: Owner,
  ) {}

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<void> {
    assertObjectKey(key);
    assertObjectMetadata(options.metadata ?? {});
    // The region of a file is read when the request arrives: as in a real upload, bytes follow one another.
    const held = body.kind === "bytes" ? body.bytes.slice() : null;
    await this.#request("put", key, options.signal, held !== null, () => {
      if (options.createOnly === true && this.bucket.has(key, this.scheduler.nowMs)) {
        throw new WalrustError("precondition", `Cannot create ${key}: it exists`, { context: { key } });
      }
      const modifiedMs = Math.floor(this.scheduler.wallMs);
      this.bucket.put(key, { bytes: held ?? regionOf(body), metadata: { ...options.metadata }, modifiedMs });
    });
  }

  get(key: string, options: GetOptions = {}): Promise<ObjectBody> {
    return this.#request("get", key, options.signal, true, () => {
      const object = this.#objectOf(key);
      const { offset, length } = clampRange(options.range, object.bytes.byteLength);
      return objectBodyOfBytes(headOf(key, object), object.bytes.slice(offset, offset + length));
    });
  }

  head(key: string, options: CallOptions = {}): Promise<ObjectHead> {
    return this.#request("head", key, options.signal, true, () => {
      const object = this.#objectOf(key);
      const hex = new Bun.CryptoHasher("md5").update(object.bytes).digest("hex");
      return { ...headOf(key, object), checksum: { algorithm: "md5" as const, hex } };
    });
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    assertObjectPrefix(prefix);
    const infos = await this.#request("list", prefix, options.signal, true, () =>
      this.bucket
        .keys(prefix, this.scheduler.nowMs)
        .filter((key) => options.startAfter === undefined || key > options.startAfter)
        .slice(0, options.limit ?? Number.POSITIVE_INFINITY)
        .map((key) => infoOf(key, this.#objectOf(key))),
    );
    for (const info of infos) {
      yield info;
      options.signal?.throwIfAborted();
    }
  }

  listFolders(prefix: string, options: CallOptions = {}): Promise<string[]> {
    assertFolderPrefix(prefix);
    return this.#request("listFolders", prefix, options.signal, true, () => {
      const rests = this.bucket
        .keys(prefix, this.scheduler.nowMs)
        .map((key) => key.slice(prefix.length))
        .filter((rest) => rest.includes("/"));
      return [...new Set(rests.map((rest) => rest.slice(0, rest.indexOf("/"))))];
    });
  }

  delete(keys: readonly string[], options: CallOptions = {}): Promise<KeptKey[]> {
    for (const key of keys) assertObjectKey(key);
    return this.#request("delete", keys.join(" "), options.signal, true, () => {
      for (const key of keys) this.bucket.delete(key);
      return [];
    });
  }

  probe(key: string): Promise<StoreCapabilities> {
    return this.#request("probe", "", undefined, true, () => {
      assertObjectKey(key);
      return this.capabilities;
    });
  }

  async close(): Promise<void> {}

  #objectOf(key: string): StoredObject {
    assertObjectKey(key);
    const object = this.bucket.objects.get(key);
    if (object !== undefined && this.bucket.has(key, this.scheduler.nowMs)) return object;
    throw new WalrustError("not-found", `Cannot read ${key}: no such object`, { context: { key } });
  }

  /** @param isWhole whether the request can take effect without the process that sent it */
  #request<T>(
    verb: string,
    key: string,
    signal: AbortSignal | undefined,
    isWhole: boolean,
    effect: () => T,
  ): Promise<T> {
    const { scheduler, owner, faults } = this;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const onAbort = (): void => reject(signal?.reason);
      signal?.addEventListener("abort", onAbort, { once: true });
      const fate = faults.fate();
      const label = `${verb} ${key}`;
      const answer = (text: string, give: () => void): void => {
        scheduler.after(fate.answerDelayMs, `answer ${text} to ${label}`, owner, () => {
          signal?.removeEventListener("abort", onAbort);
          give();
        });
      };
      scheduler.after(fate.delayMs, `store ${label}`, WORLD, () => {
        const isSent = owner.isAlive || (isWhole && faults.chance.is(SENT_PROBABILITY));
        if (!isSent || owner.hasNoRequests === true) return;
        const { before, after } = fate;
        if (before !== null) return answer(before.message, () => reject(before));
        try {
          const result = effect();
          if (after !== null) answer(`${after.message} (after its effect)`, () => reject(after));
          else answer("ok", () => resolve(result));
        } catch (error) {
          answer(String(error), () => reject(error));
        }
      });
    });
  }
}

function regionOf(body: PutBody): Uint8Array {
  if (body.kind === "bytes") return body.bytes;
  return new Uint8Array(readFileSync(body.path).subarray(body.offset, body.offset + body.sizeBytes));
}

function infoOf(key: string, { bytes, modifiedMs }: StoredObject): ObjectInfo {
  return { key, sizeBytes: bytes.byteLength, modifiedMs };
}

function headOf(key: string, object: StoredObject): ObjectHead {
  return { ...infoOf(key, object), metadata: object.metadata };
}

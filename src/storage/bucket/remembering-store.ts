/**
 * An ObjectStore that remembers the LTX objects of one database, so that a listing needs no request: a watch
 * is the only writer of its prefix, and knows what it has put and deleted since the last listing.
 *
 * Invariants:
 * 1. Only a listing with `isRemembered` is answered from memory. Every other listing asks the store, and a
 *    listing of a whole level replaces the memory of that level.
 * 2. A level that is not known is listed from the store. Unknown is a level after the start, after a put or
 *    delete that failed (it may have taken effect; a refused create-only put shows another writer), and after
 *    an object turned out to be missing.
 * 3. Puts and deletes that end while a listing runs count, whether the listing shows them or not.
 * 4. A remembered listing holds the LTX objects of this database alone, and tells no time but `storedMs`.
 *
 * The memory may be wrong by what others did since the last listing of the store. So it shows where work is
 * due, and proves nothing: whoever deletes on its strength asks the store for the objects that must remain.
 */
import type { Env } from "../../env.ts";
import { hasCode } from "../../errors.ts";
import { levelPrefix, objectKey, parseObjectKey } from "../../format/keys.ts";
import { putBodySize } from "../contract/object-body.ts";
import type { ObjectMemory, RememberedObject } from "../contract/object-memory.ts";
import { compareKeys } from "../contract/object-rules.ts";
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
import { LEVELS } from "./catalog.ts";

const TXID_DIGITS = 16;
/** Remembered objects between which other work gets its turn. */
const TURN_COUNT = 500;

/** A listing of a whole level that is under way. */
interface Listing {
  readonly level: number;
  /** Keys that were put or deleted meanwhile, with the object or null. */
  readonly changes: Map<string, RememberedObject | null>;
  /** The level was forgotten meanwhile. */
  isVoid: boolean;
}

/** A store whose objects of one database are remembered. */
export class RememberingStore implements ObjectStore {
  readonly #inner: ObjectStore;
  readonly #database: string;
  readonly #memory: ObjectMemory;
  readonly #env: Pick<Env, "nowMs" | "turn">;
  /** Null while no listing is under way. */
  #listings: Set<Listing> | null = null;

  /** @param memory of this database alone */
  constructor(inner: ObjectStore, database: string, memory: ObjectMemory, env: Pick<Env, "nowMs" | "turn">) {
    this.#inner = inner;
    this.#database = database;
    this.#memory = memory;
    this.#env = env;
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
    const name = this.#nameOrNull(key);
    if (name === null) return await this.#inner.put(key, body, options);
    try {
      await this.#inner.put(key, body, options);
    } catch (error) {
      this.#forget(name.level);
      throw error;
    }
    const { level, minTxid, maxTxid } = name;
    const object = { minTxid, maxTxid, sizeBytes: putBodySize(body), storedMs: this.#env.nowMs() };
    this.#memory.add(level, object);
    this.#changed(level, key, object);
  }

  async get(key: string, options: GetOptions = {}): Promise<ObjectBody> {
    return await this.#orForget(key, () => this.#inner.get(key, options));
  }

  async head(key: string, options: CallOptions = {}): Promise<ObjectHead> {
    return await this.#orForget(key, () => this.#inner.head(key, options));
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    const { isRemembered = false, ...asked } = options;
    const level = LEVELS.find((one) => levelPrefix(this.layout, this.#database, one) === prefix);
    const isPart = asked.startAfter !== undefined || asked.limit !== undefined;
    if (level === undefined || asked.limit !== undefined || (isPart && !isRemembered)) {
      return yield* this.#inner.list(prefix, asked);
    }
    const { startAfter = "" } = asked;
    const known = isRemembered ? this.#memory.readOrNull(level, fromTxid(prefix, startAfter)) : null;
    if (known !== null) return yield* this.#infosOf(level, known, startAfter);
    for await (const info of this.#listLevel(level, prefix, asked)) {
      if (compareKeys(info.key, startAfter) > 0) yield info;
    }
  }

  /** Without a request nothing else would get its turn, and a level may have thousands of objects. */
  async *#infosOf(
    level: number,
    objects: readonly RememberedObject[],
    startAfter: string,
  ): AsyncGenerator<ObjectInfo> {
    let count = 0;
    for (const { minTxid, maxTxid, sizeBytes, storedMs } of objects) {
      const key = objectKey(this.layout, this.#database, level, minTxid, maxTxid);
      if (startAfter !== "" && compareKeys(key, startAfter) <= 0) continue;
      yield { key, sizeBytes, modifiedMs: storedMs, storedMs };
      if (++count % TURN_COUNT === 0) await this.#env.turn();
    }
  }

  /** Lists a whole level from the store, and remembers it when the listing has come to its end. */
  async *#listLevel(level: number, prefix: string, options: ListOptions): AsyncGenerator<ObjectInfo> {
    const listing: Listing = { level, changes: new Map(), isVoid: false };
    this.#listings ??= new Set();
    this.#listings.add(listing);
    const found = new Map<string, RememberedObject>();
    try {
      const { startAfter: _, ...whole } = options;
      for await (const info of this.#inner.list(prefix, whole)) {
        const name = this.#nameOrNull(info.key);
        if (name?.level === level) {
          const { minTxid, maxTxid } = name;
          const { sizeBytes, storedMs = info.modifiedMs } = info;
          found.set(info.key, { minTxid, maxTxid, sizeBytes, storedMs });
        }
        yield info;
      }
      for (const [key, object] of listing.changes) {
        if (object === null) found.delete(key);
        else found.set(key, object);
      }
      if (!listing.isVoid) this.#memory.replace(level, [...found.values()]);
    } finally {
      this.#listings?.delete(listing);
      if (this.#listings?.size === 0) this.#listings = null;
    }
  }

  async listFolders(prefix: string, options: CallOptions = {}): Promise<string[]> {
    return await this.#inner.listFolders(prefix, options);
  }

  async delete(keys: readonly string[], options: CallOptions = {}): Promise<readonly KeptKey[]> {
    let kept: readonly KeptKey[];
    try {
      kept = await this.#inner.delete(keys, options);
    } catch (error) {
      for (const key of keys) {
        const name = this.#nameOrNull(key);
        if (name !== null) this.#forget(name.level);
      }
      throw error;
    }
    const isKept = new Set(kept.map(({ key }) => key));
    for (const level of LEVELS) this.#deleted(level, new Set(keys.filter((key) => !isKept.has(key))));
    return kept;
  }

  #deleted(level: number, keys: ReadonlySet<string>): void {
    const gone = [...keys].filter((key) => this.#nameOrNull(key)?.level === level);
    if (gone.length === 0) return;
    const isGone = ({ minTxid, maxTxid }: RememberedObject): boolean =>
      keys.has(objectKey(this.layout, this.#database, level, minTxid, maxTxid));
    this.#memory.remove(level, isGone);
    for (const key of gone) this.#changed(level, key, null);
  }

  async probe(key: string, options: CallOptions = {}): Promise<StoreCapabilities> {
    return await this.#inner.probe(key, options);
  }

  async leftovers(folder: string): Promise<Leftover[]> {
    return (await this.#inner.leftovers?.(folder)) ?? [];
  }

  async removeLeftovers(keys: readonly string[]): Promise<string[]> {
    return (await this.#inner.removeLeftovers?.(keys)) ?? [];
  }

  async unfinishedUploads(prefix: string, options: CallOptions = {}): Promise<UnfinishedUpload[]> {
    return (await this.#inner.unfinishedUploads?.(prefix, options)) ?? [];
  }

  async abortUploads(uploads: readonly UnfinishedUpload[], options: CallOptions = {}): Promise<void> {
    await this.#inner.abortUploads?.(uploads, options);
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }

  /** The parts of a key of this database, or null. */
  #nameOrNull(key: string): ReturnType<typeof parseObjectKey> {
    const name = parseObjectKey(this.layout, key);
    return name?.database === this.#database ? name : null;
  }

  /** Reads an object; an object that is missing shows that the memory may be wrong. */
  async #orForget<T>(key: string, read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      const name = hasCode(error, "not-found") ? this.#nameOrNull(key) : null;
      if (name !== null) this.#forget(name.level);
      throw error;
    }
  }

  #changed(level: number, key: string, object: RememberedObject | null): void {
    for (const listing of this.#listings ?? []) if (listing.level === level) listing.changes.set(key, object);
  }

  #forget(level: number): void {
    this.#memory.forget(level);
    for (const listing of this.#listings ?? []) listing.isVoid ||= listing.level === level;
  }
}

/** The smallest min TXID that a key after `startAfter` can have; 0 if `startAfter` does not show one. */
function fromTxid(prefix: string, startAfter: string): number {
  if (!startAfter.startsWith(prefix)) return 0;
  const txid = Number.parseInt(startAfter.slice(prefix.length, prefix.length + TXID_DIGITS), 16);
  return Number.isSafeInteger(txid) ? txid : 0;
}

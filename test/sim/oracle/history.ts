/**
 * The judge of the bucket: replays each object of a database when the store accepts it, and compares each
 * state with the images that the application saw after its commits. From src it uses the LTX decoder alone.
 *
 * The judge demands of every object:
 * 1. TXIDs without gap and without duplicate: an increment begins where the last one ended.
 * 2. An unbroken chain: the metadata names the SHA-256 of the bytes and the chain values before and after.
 * 3. Whole transactions: the state after an increment is an image that the application committed.
 * 4. A snapshot or a merged object leads to the very state that the increments led to.
 * 5. Times that never decrease from increment to increment.
 * 6. After a deletion, the newest state can still be reached from a snapshot, and from the oldest one. After
 *    somebody else has deleted objects, a deletion must only not make it worse.
 */
import { LtxDecoder } from "../../../src/format/ltx-decoder.ts";
import type { BucketObserver, StoredObject } from "../world/bucket.ts";
import { digestOf, type Image, pageDigest } from "./image.ts";

/** An object that the store holds. */
interface Held {
  readonly level: number;
  readonly min: number;
  readonly max: number;
}

/** The state of a database after a TXID. */
export interface Point {
  readonly txid: number;
  readonly image: Image;
  readonly digest: string;
  /** The image that the application committed, by its digest. */
  readonly committed: string | null;
  readonly chain: string;
  readonly timeMs: number;
  /** Whether the increment holds every page. */
  readonly isFull: boolean;
  /** Pages whose content differs from the state before. */
  readonly changedCount: number;
}

/** Whether the application has ever committed an image, under its digest. */
export type IsCommitted = (database: string, digest: string) => boolean;

/** Called with each violation. */
export type OnViolation = (text: string) => void;

const KEY = /^(.*)\/000([0-9])\/([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/;
const SNAPSHOT_LEVEL = 9;

interface Decoded {
  readonly pages: Map<number, number>;
  readonly commit: number;
  readonly timeMs: number;
  readonly min: number;
  readonly max: number;
  readonly pageSizeBytes: number;
}

/** The history of one database in the bucket. */
export class DatabaseHistory {
  readonly points = new Map<number, Point>();
  /** Images of snapshots between two points, by TXID. */
  readonly snapshots = new Map<number, string>();
  readonly held = new Map<string, Held>();
  head: Point | null = null;
  #pageSizeBytes = 0;
  /** Objects that somebody else has deleted: SHA-256 by key. */
  readonly #lost = new Map<string, string | undefined>();
  readonly #hashes = new Map<string, string>();
  lostCount = 0;

  constructor(
    readonly name: string,
    readonly isCommitted: IsCommitted,
    readonly fail: OnViolation,
    readonly onPoint: (point: Point) => void,
  ) {}

  /** The store has accepted an object. */
  created(key: string, level: number, { bytes, metadata }: StoredObject): void {
    const object = decode(bytes);
    const [, , , min = "", max = ""] = KEY.exec(key) ?? [];
    if (object.min !== Number.parseInt(min, 16) || object.max !== Number.parseInt(max, 16)) {
      this.fail(`${key} says in its header that it is ${object.min}-${object.max}`);
    }
    if (this.held.has(key)) this.fail(`${key} was overwritten`);
    this.held.set(key, { level, min: object.min, max: object.max });
    const sha256 = hashOf(bytes);
    if (metadata["sha256"] !== sha256) this.fail(`${key} has another SHA-256 than its metadata`);
    this.#hashes.set(key, sha256);
    // The store had accepted the same object, its answer was lost, and somebody deleted the object.
    if (level === 0 && this.#lost.get(key) === sha256) return;
    const isLink = level === 0 || (level === SNAPSHOT_LEVEL && object.max === 1);
    if (isLink) this.#link(key, object, metadata, sha256);
    else this.#merged(key, level, object, metadata);
  }

  /** The store has deleted an object. */
  deleted(key: string): void {
    const wasReachable = this.isReachable(this.head?.txid ?? 0);
    this.held.delete(key);
    if (this.lostCount > 0 && !wasReachable) return;
    const newest = Math.max(0, ...[...this.held.values()].map(({ max }) => max));
    const head = this.head?.txid ?? 0;
    if (newest < head) this.fail(`${key} was deleted, and the newest TXID is ${newest} instead of ${head}`);
    if (this.lostCount === 0 && this.#hasHole(head))
      this.fail(`${key} was deleted: nothing leads on from the oldest snapshot`);
    if (!this.isReachable(head))
      this.fail(`${key} was deleted, and TXID ${head} cannot be restored any more`);
  }

  /** Somebody else has deleted an object. */
  lost(key: string): void {
    this.held.delete(key);
    this.#lost.set(key, this.#hashes.get(key));
    this.lostCount++;
  }

  /** Whether increments do not lead from the oldest snapshot to a TXID: the points between are lost. */
  #hasHole(txid: number): boolean {
    const objects = [...this.held.values()];
    const snapshots = objects.filter(({ level }) => level === SNAPSHOT_LEVEL);
    let reached = Math.min(...snapshots.map(({ max }) => max));
    for (const { level, min, max } of objects.sort((a, b) => a.min - b.min)) {
      if (level !== SNAPSHOT_LEVEL && min <= reached + 1) reached = Math.max(reached, max);
    }
    return reached < txid;
  }

  /** Whether objects lead from a snapshot to a TXID. */
  isReachable(txid: number): boolean {
    const objects = [...this.held.values()];
    const reached = new Set(
      objects.filter(({ level, max }) => level === SNAPSHOT_LEVEL && max <= txid).map(({ max }) => max),
    );
    const links = objects.filter(({ level }) => level !== SNAPSHOT_LEVEL).sort((a, b) => a.min - b.min);
    for (const { min, max } of links) {
      if (max <= txid && [...reached].some((at) => at >= min - 1 && at < max)) reached.add(max);
    }
    return reached.has(txid);
  }

  /** The TXIDs that a restore could reach. */
  reachable(): number[] {
    return [...this.points.keys(), ...this.snapshots.keys()].filter((txid) => this.isReachable(txid));
  }

  /** The image that a restore at a TXID has to give. */
  digestAt(txid: number): string | undefined {
    return this.points.get(txid)?.digest ?? this.snapshots.get(txid);
  }

  #link(key: string, object: Decoded, metadata: StoredObject["metadata"], sha256: string): void {
    const before = this.head;
    const expected = (before?.txid ?? 0) + 1;
    if (object.min !== expected)
      return this.fail(`${key} follows TXID ${expected - 1}: a gap or a duplicate`);
    const previous = before?.chain ?? "0".repeat(64);
    const chain = hashOf(Buffer.concat([Buffer.from(previous, "hex"), Buffer.from(sha256, "hex")]));
    if (metadata["prev-chain"] !== previous) this.fail(`${key} names another chain value before it`);
    if (metadata["chain"] !== chain) this.fail(`${key} breaks the chain`);
    if (object.timeMs < (before?.timeMs ?? 0)) this.fail(`${key} is older than the increment before it`);
    const base = object.pageSizeBytes === this.#pageSizeBytes ? (before?.image ?? []) : [];
    const image = applied(base, object);
    const digest = digestOf(image);
    if (image.includes(MISSING)) this.fail(`${key} lacks pages that no increment wrote`);
    const committed = this.#committedOrNull(image);
    if (committed === null) {
      this.fail(`${key} leads to a state that the application never committed (${digest})`);
    }
    const changedCount = image.filter((page, index) => page !== base[index]).length;
    const isFull = object.pages.size === object.commit;
    const { max: txid, timeMs } = object;
    const point = { txid, image, digest, committed, chain, timeMs, isFull, changedCount };
    this.#pageSizeBytes = object.pageSizeBytes;
    this.points.set(txid, point);
    this.head = point;
    this.onPoint(point);
  }

  /**
   * The committed image that an image stands for, or null. A power cut may leave a file that is longer than
   * the database in it; SQLite ignores the rest.
   */
  #committedOrNull(image: Image): string | null {
    for (let count = image.length; count > 0; count--) {
      const digest = digestOf(image.slice(0, count));
      if (this.isCommitted(this.name, digest)) return digest;
    }
    return null;
  }

  /** A snapshot of a TXID that captures which waited together have passed: another point to restore. */
  #between(key: string, level: number, object: Decoded): void {
    const isPassed = object.max < (this.head?.txid ?? 0);
    if (level !== SNAPSHOT_LEVEL || !isPassed)
      return this.fail(`${key} ends at a TXID that no increment reached`);
    const image = applied([], object);
    if (this.#committedOrNull(image) === null) this.fail(`${key} is no state that the application committed`);
    this.snapshots.set(object.max, digestOf(image));
  }

  #merged(key: string, level: number, object: Decoded, metadata: StoredObject["metadata"]): void {
    const point = this.points.get(object.max);
    if (point === undefined) return this.#between(key, level, object);
    const base = object.min === 1 ? [] : (this.points.get(object.min - 1)?.image ?? null);
    if (base === null) return this.fail(`${key} begins after a TXID that no increment reached`);
    if (digestOf(applied(base, object)) !== point.digest) {
      this.fail(`${key} leads to another state than the increments up to TXID ${object.max}`);
    }
    if (metadata["chain"] !== point.chain)
      this.fail(`${key} has another chain value than TXID ${object.max}`);
    if (object.timeMs !== point.timeMs) this.fail(`${key} has another time than TXID ${object.max}`);
  }
}

const MISSING = -1;

function applied(base: Image, { pages, commit }: Decoded): Image {
  const image = Array.from({ length: commit }, (_, index) => base[index] ?? MISSING);
  for (const [pgno, digest] of pages) image[pgno - 1] = digest;
  return image;
}

function decode(bytes: Uint8Array): Decoded {
  const decoder = new LtxDecoder();
  decoder.push(bytes);
  const pages = new Map<number, number>();
  while (decoder.next()) pages.set(decoder.pgno, pageDigest(decoder.page));
  decoder.finish();
  const { commit, timestampMs, minTxid, maxTxid, pageSizeBytes } = decoder.header!;
  return { pages, commit, timeMs: timestampMs, min: minTxid, max: maxTxid, pageSizeBytes };
}

function hashOf(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}

/** The histories of all databases of a bucket. */
export class Histories implements BucketObserver {
  readonly #byName = new Map<string, DatabaseHistory>();

  constructor(
    readonly isCommitted: IsCommitted,
    readonly fail: OnViolation,
    readonly onPoint: (name: string, point: Point) => void,
  ) {}

  /** The history of a database, empty at first. */
  of(name: string): DatabaseHistory {
    let history = this.#byName.get(name);
    if (history === undefined) {
      history = new DatabaseHistory(name, this.isCommitted, this.fail, (point) => this.onPoint(name, point));
      this.#byName.set(name, history);
    }
    return history;
  }

  created(key: string, object: StoredObject): void {
    const [, name, level] = KEY.exec(key) ?? [];
    if (name !== undefined) this.of(name).created(key, Number(level), object);
    else if (key.endsWith("/manifest.json")) this.#manifest(key, object);
  }

  deleted(key: string): void {
    const [, name] = KEY.exec(key) ?? [];
    if (name !== undefined) this.of(name).deleted(key);
  }

  lost(key: string): void {
    const [, name] = KEY.exec(key) ?? [];
    if (name !== undefined) this.of(name).lost(key);
  }

  /** A manifest names nothing that the bucket did not have. */
  #manifest(key: string, { bytes }: StoredObject): void {
    const history = this.of(key.slice(0, -"/manifest.json".length));
    const { latest } = JSON.parse(new TextDecoder().decode(bytes)) as {
      latest: { txid: number; chain: string };
    };
    const point = history.points.get(latest.txid);
    if (point === undefined) this.fail(`${key} names TXID ${latest.txid}, which the bucket never had`);
    else if (point.chain !== latest.chain) this.fail(`${key} names another chain value`);
  }
}

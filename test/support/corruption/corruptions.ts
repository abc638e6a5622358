/**
 * The ways in which a bucket is corrupted: each takes objects of a bucket and changes them. A corruption is
 * one of them, or two after each other. The same random numbers give the same corruption.
 */
import type { ObjectMetadata } from "../../../src/storage/contract/store.ts";
import {
  APP,
  type KeptObject,
  NEIGHBOUR,
  type Objects,
  sidecarText,
  type TemplateBucket,
} from "./template-bucket.ts";

/** The kinds of corruptions. */
export const CORRUPTION_KINDS = [
  "flip",
  "truncate",
  "delete",
  "duplicate",
  "swap",
  "rename",
  "replay",
  "metadata",
  "manifest",
  "sidecar",
] as const;

/** A kind of corruption. */
export type CorruptionKind = (typeof CORRUPTION_KINDS)[number];

/** A corrupted bucket. */
export interface CorruptedBucket {
  readonly objects: Objects;
  readonly kinds: readonly CorruptionKind[];
  /** Each step in words, for the report of a failure. */
  readonly steps: readonly string[];
}

/** Corrupts a bucket once, or twice at every third time. */
export function corruptBucket(template: TemplateBucket, random: () => number): CorruptedBucket {
  for (;;) {
    const corrupter = new Corrupter(template, random);
    const kinds: CorruptionKind[] = [];
    for (let count = random() < 0.35 ? 2 : 1; count > 0; count--) kinds.push(corrupter.step());
    const { objects, steps } = corrupter;
    if (!isBeyondDetection(template, objects)) return { objects, kinds, steps };
  }
}

/**
 * Whether an object of another history of Litestream has the place of one with the same TXIDs. Nothing in
 * the object or beside it shows the difference, so no restore can find it.
 */
function isBeyondDetection({ origin, objects: sound, former }: TemplateBucket, objects: Objects): boolean {
  if (origin === "walrust") return false;
  const foreign = new Set([...former.values()].map(({ bytes }) => bytes));
  for (const [key, { bytes }] of sound) if (!key.startsWith(`${APP}/`)) foreign.add(bytes);
  return [...objects].some(([key, { bytes }]) => {
    const txids = Buffer.from(bytes).subarray(16, 32).toString("hex");
    return key.startsWith(`${APP}/`) && foreign.has(bytes) && key.slice(-37, -4).replace("-", "") === txids;
  });
}

const MANIFEST = `${APP}/manifest.json`;
const FIELDS = ["sha256", "chain", "prev-chain", "litestream-timestamp", "walrust-writer"] as const;

class Corrupter {
  readonly objects: Map<string, KeptObject>;
  readonly steps: string[] = [];
  readonly #template: TemplateBucket;
  readonly #random: () => number;

  constructor(template: TemplateBucket, random: () => number) {
    this.#template = template;
    this.#random = random;
    this.objects = new Map(template.objects);
  }

  /** Makes one step of a kind that this bucket has something for. */
  step(): CorruptionKind {
    const acts: Readonly<Record<CorruptionKind, () => string | null>> = {
      flip: () => this.#flip(),
      truncate: () => this.#truncate(),
      delete: () => this.#delete(),
      duplicate: () => this.#copy(false),
      swap: () => this.#swap(),
      rename: () => this.#copy(true),
      replay: () => this.#replay(),
      metadata: () => this.#metadata(),
      manifest: () => this.#manifest(),
      sidecar: () => this.#sidecar(),
    };
    for (;;) {
      const kind = this.#pick(CORRUPTION_KINDS);
      const done = acts[kind]();
      if (done === null) continue;
      this.steps.push(`${kind}: ${done}`);
      return kind;
    }
  }

  #below(count: number): number {
    return Math.floor(this.#random() * count);
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#below(items.length)]!;
  }

  #keys(database = APP): string[] {
    return [...this.objects.keys()].filter((key) => key.startsWith(`${database}/`) && key.endsWith(".ltx"));
  }

  /** An object of the database; the newest ones and snapshots more often than others. */
  #victim(): string | null {
    const keys = this.#keys();
    if (keys.length === 0) return null;
    const dice = this.#random();
    if (dice < 0.15)
      return keys.toSorted((a, b) => (a.slice(-20) < b.slice(-20) ? 1 : -1))[this.#below(2)] ?? keys[0]!;
    if (dice < 0.3) {
      const snapshots = keys.filter((key) => /\/(0009|9)\//.test(key));
      if (snapshots.length > 0) return this.#pick(snapshots);
    }
    return this.#pick(keys);
  }

  #setBytes(key: string, bytes: Uint8Array): void {
    this.objects.set(key, { ...this.objects.get(key)!, bytes });
  }

  #setMetadata(key: string, metadata: ObjectMetadata): void {
    const object = this.objects.get(key)!;
    const sidecar = object.sidecar === null ? null : sidecarText(object.bytes, metadata);
    this.objects.set(key, { ...object, metadata, sidecar });
  }

  #flip(): string | null {
    const key = this.#victim();
    const bytes = key === null ? null : this.objects.get(key)!.bytes.slice();
    if (key === null || bytes === null || bytes.length === 0) return null;
    const places = [this.#below(bytes.length), this.#below(100), bytes.length - 1 - this.#below(40)];
    const at = Math.max(0, Math.min(bytes.length - 1, this.#pick(places)));
    const mask = this.#random() < 0.5 ? 1 << this.#below(8) : 1 + this.#below(255);
    bytes[at] = bytes[at]! ^ mask;
    this.#setBytes(key, bytes);
    return `${key} at ${at} by ${mask}`;
  }

  #truncate(): string | null {
    const key = this.#victim();
    if (key === null) return null;
    const { bytes } = this.objects.get(key)!;
    const lengths = [0, this.#below(bytes.length), bytes.length - 1, bytes.length - 16, this.#below(110)];
    if (this.#random() < 0.2) {
      const extra = Uint8Array.from({ length: 1 + this.#below(40) }, () => this.#below(256));
      this.#setBytes(key, new Uint8Array(Buffer.concat([bytes, extra])));
      return `${key} with ${extra.length} more bytes`;
    }
    const length = Math.max(0, this.#pick(lengths));
    this.#setBytes(key, bytes.slice(0, length));
    return `${key} to ${length} bytes`;
  }

  #delete(): string | null {
    const keys = this.#keys().toSorted((a, b) => (a.slice(-20) < b.slice(-20) ? -1 : 1));
    if (keys.length === 0) return null;
    const dice = this.#random();
    let gone = [this.#victim()!];
    if (dice < 0.2) gone = keys.slice(-1 - this.#below(keys.length));
    else if (dice < 0.3) gone = keys.slice(0, 1 + this.#below(keys.length));
    else if (dice < 0.5) {
      const from = this.#below(keys.length);
      gone = keys.slice(from, from + 1 + this.#below(4));
    } else if (dice < 0.55) gone = keys;
    for (const key of gone) this.objects.delete(key);
    return gone.join(", ");
  }

  /** Copies or moves an object to another level, other TXIDs or another database. */
  #copy(isMove: boolean): string | null {
    const dice = this.#random();
    const source = dice < 0.2 ? this.#pick(this.#keys(NEIGHBOUR)) : this.#victim();
    if (source === null || source === undefined) return null;
    const target = dice < 0.2 ? source.replace(NEIGHBOUR, APP) : this.#otherKey(source);
    this.objects.set(target, this.objects.get(source)!);
    if (isMove && target !== source) this.objects.delete(source);
    return `${source} to ${target}`;
  }

  #otherKey(key: string): string {
    const [, folder = "", min = "", max = ""] = /^(.*\/)([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/.exec(key) ?? [];
    const [low, high] = [Number.parseInt(min, 16), Number.parseInt(max, 16)];
    const level = (value: number): string =>
      folder.replace(/(000|ltx\/)[0-9]\/$/, (_, before) => `${before}${value}/`);
    const name = (from: number, to: number): string =>
      `${hex16(Math.max(1, from))}-${hex16(Math.max(from, to, 1))}.ltx`;
    const shift = this.#below(5) - 2;
    return this.#pick([
      () => level(this.#pick([0, 1, 2, 3, 9])) + name(low, high),
      () => folder + name(low + shift, high + shift),
      () => folder + name(low, high + shift),
      () => folder + name(low + shift, high),
      () => level(9) + name(1, high),
      () => key.replace(APP, NEIGHBOUR),
      () => `${folder}${min}-${max}.ltx.old`,
    ])();
  }

  #swap(): string | null {
    const one = this.#victim();
    const candidates = this.#random() < 0.75 ? this.#keys() : this.#keys(NEIGHBOUR);
    const twin = one?.replace(APP, NEIGHBOUR) ?? "";
    const other = this.#random() < 0.3 && this.objects.has(twin) ? twin : (this.#pick(candidates) ?? null);
    if (one === null || other === null || one === other) return null;
    const [first, second] = [this.objects.get(one)!, this.objects.get(other)!];
    const isBytesOnly = this.#random() < 0.4;
    this.objects.set(one, isBytesOnly ? { ...first, bytes: second.bytes } : second);
    this.objects.set(other, isBytesOnly ? { ...second, bytes: first.bytes } : first);
    return `${one} and ${other}${isBytesOnly ? ", bytes only" : ""}`;
  }

  /** Puts an object of another time or another database in the place of one of this database. */
  #replay(): string | null {
    const { expired, former, manifests } = this.#template;
    const dice = this.#random();
    if (dice < 0.2 && expired.size > 0) {
      const key = this.#pick([...expired.keys()]);
      this.objects.set(key, expired.get(key)!);
      return `the expired ${key}`;
    }
    if (dice < 0.3 && manifests.length > 1) {
      const index = this.#below(manifests.length - 1);
      this.objects.set(MANIFEST, manifests[index]!);
      return `manifest ${index} of ${manifests.length}`;
    }
    const source = dice < 0.5 ? this.#twins(NEIGHBOUR) : former;
    const keys = [...source.keys()].filter((key) => key.endsWith(".ltx"));
    const count = this.#random() < 0.7 ? 1 : 2;
    const victim = this.#victim();
    if (keys.length === 0 || victim === null) return null;
    const first = source.has(victim) && this.#random() < 0.8 ? victim : this.#pick(keys);
    const places = [first, this.#pick(keys)].slice(0, count);
    if (this.#random() < 0.1) {
      this.objects.set(victim, source.get(first)!);
      return `${first} of another history as ${victim}`;
    }
    for (const key of places) this.#put(key, source.get(key)!);
    return `${places.join(", ")} of ${dice < 0.5 ? "the neighbour" : "a former life"}`;
  }

  /** Puts an object, without its metadata at every fourth time. */
  #put(key: string, object: KeptObject): void {
    const isBare = this.#random() < 0.25;
    this.objects.set(key, isBare ? { ...object, metadata: {}, sidecar: null } : object);
  }

  #twins(database: string): Map<string, KeptObject> {
    const keys = [...this.#template.objects.keys()].filter((key) => key.startsWith(`${database}/`));
    return new Map(keys.map((key) => [key.replace(database, APP), this.#template.objects.get(key)!]));
  }

  #metadata(): string | null {
    const key = this.#victim();
    if (key === null || Object.keys(this.objects.get(key)!.metadata).length === 0) return null;
    const { metadata } = this.objects.get(key)!;
    if (this.#random() < 0.1) {
      this.objects.set(key, { ...this.objects.get(key)!, metadata: {}, sidecar: null });
      return `all of ${key} removed`;
    }
    const names = FIELDS.filter((name) => name in metadata);
    const field = this.#pick(names);
    const other = this.objects.get(this.#pick(this.#keys()))!.metadata[field];
    const hash = Array.from({ length: 64 }, () => this.#below(16).toString(16)).join("");
    const time = new Date(Date.UTC(2026, 2, 1, 12) + this.#below(100_000)).toISOString();
    const value = this.#pick([
      field === "litestream-timestamp" ? time : hash,
      other ?? null,
      "0".repeat(64),
      "x",
      null,
    ]);
    const { [field]: before, ...rest } = metadata;
    if (value === before) return null;
    this.#setMetadata(key, value === null ? rest : { ...rest, [field]: value });
    return `${field} of ${key} as ${value}`;
  }

  #manifest(): string | null {
    const manifest = this.objects.get(MANIFEST);
    const text = manifest === undefined ? "" : new TextDecoder().decode(manifest.bytes);
    // An earlier step may have garbled it.
    if (!text.startsWith("{") || !text.endsWith("}\n")) return null;
    const value = JSON.parse(text) as { latest: { txid: number; time: string; chain: string } };
    const latest = (change: object): string =>
      JSON.stringify({ ...value, latest: { ...value.latest, ...change } });
    const foreign = this.objects.get(`${NEIGHBOUR}/manifest.json`);
    const changed = this.#pick<string | null>([
      null,
      "",
      "null",
      "[]",
      text.slice(0, this.#below(text.length)),
      text.replace('"format": 1', '"format": 2'),
      latest({ txid: value.latest.txid + 1 + this.#below(3) }),
      latest({ txid: Math.max(1, value.latest.txid - 1 - this.#below(3)) }),
      latest({ txid: -1 }),
      latest({ time: "2026-01-01T00:00:00Z" }),
      latest({ chain: "5".repeat(64) }),
      latest({ chain: 5 }),
      JSON.stringify({ ...value, snapshots: [], levels: {}, writer: "f".repeat(32) }),
      foreign === undefined ? null : new TextDecoder().decode(foreign.bytes),
    ]);
    if (changed === null) this.objects.delete(MANIFEST);
    else this.#setBytes(MANIFEST, new TextEncoder().encode(changed));
    return changed === null ? "removed" : changed.replace(/\s+/g, " ").slice(0, 120);
  }

  /** Changes the text of a sidecar. */
  #sidecar(): string | null {
    const key = this.#victim();
    const object = key === null ? undefined : this.objects.get(key);
    if (key === null || object === undefined || object.sidecar === null) return null;
    const { sidecar } = object;
    const at = this.#below(sidecar.length);
    const flipped = String.fromCharCode(32 + ((sidecar.charCodeAt(at) + 1 + this.#below(90)) % 94));
    const other = this.objects.get(this.#pick(this.#keys()))!.sidecar;
    const changed = this.#pick([
      null,
      "",
      sidecar.slice(0, at),
      sidecar.slice(0, at) + flipped + sidecar.slice(at + 1),
      other,
    ]);
    this.objects.set(key, { ...object, sidecar: changed });
    return `of ${key} as ${changed?.slice(0, 200) ?? "nothing"}`;
  }
}

function hex16(value: number): string {
  return value.toString(16).padStart(16, "0");
}

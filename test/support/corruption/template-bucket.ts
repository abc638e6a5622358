/**
 * A bucket to corrupt: two databases with increments, merges of levels 1 to 3, snapshots, expired and pruned
 * objects and manifests, as a watch leaves them, and the recorded bytes of each TXID. The same seed gives the
 * same bucket. Beside the bucket are the objects that a bad neighbour could put into it: expired objects of
 * the database, earlier manifests, and a former life of the prefix with other content under the same keys.
 *
 * A bucket of Litestream has the same objects without a SHA-256, a chain or database checksums.
 */
import { hex } from "../../../src/format/chain.ts";
import { parseObjectKey } from "../../../src/format/keys.ts";
import { FLAG_NO_CHECKSUM } from "../../../src/format/ltx.ts";
import { decodeLtxFile } from "../../../src/format/ltx-decoder.ts";
import { LtxEncoder } from "../../../src/format/ltx-encoder.ts";
import { NO_CHECKSUM } from "../../../src/format/types.ts";
import { CompactionProgress, compactInto } from "../../../src/replication/upkeep/compaction.ts";
import { type LtxObject, listObjects } from "../../../src/storage/bucket/catalog.ts";
import { buildManifest, writeManifest } from "../../../src/storage/bucket/manifest.ts";
import type { ObjectMetadata } from "../../../src/storage/contract/store.ts";
import { putTiny, TINY_WRITER, TinyHistory } from "../histories/tiny-history.ts";
import { allKeys, readObject } from "../oracles/history-oracle.ts";
import { recordingEnv } from "../recording-log.ts";
import { seededRandom } from "../seeded-random.ts";
import { MemoryStore } from "../servers/memory-store.ts";

/** The database under test, and its neighbour in the bucket. */
export const APP = "app";
export const NEIGHBOUR = "apples";

/** The bytes and metadata of an object; in a folder, also the text of the sidecar with the metadata. */
export interface KeptObject {
  readonly bytes: Uint8Array;
  readonly metadata: ObjectMetadata;
  /** Null without a sidecar, and in a bucket of the S3 layout. */
  readonly sidecar: string | null;
}

/** Objects by key. */
export type Objects = ReadonlyMap<string, KeptObject>;

/** A sound bucket, and objects that do not belong into it any more. */
export interface TemplateBucket {
  readonly layout: "s3" | "file";
  readonly origin: "walrust" | "litestream";
  readonly objects: Objects;
  /** Objects of the database that were merged or pruned, and then deleted. */
  readonly expired: Objects;
  /** Objects of a former life of the database. */
  readonly former: Objects;
  /** Earlier manifests of the database, oldest first. */
  readonly manifests: readonly KeptObject[];
  readonly images: ReadonlyMap<number, Buffer>;
  readonly times: ReadonlyMap<number, number>;
}

type Step = "commit" | "snapshot" | "manifest" | "prune" | `merge ${1 | 2 | 3}` | `expire ${0 | 1 | 2}`;

const START_MS = Date.UTC(2026, 2, 1, 12);
const DAY_MS = 86_400_000;

/** The steps of a watch, and the time between two commits. */
interface LifePlan {
  readonly steps: readonly Step[];
  readonly gapsMs: readonly number[];
}

const UPKEEP: readonly (readonly [step: Step, probability: number])[] = [
  ["snapshot", 0.14],
  ["merge 1", 0.25],
  ["merge 2", 0.12],
  ["merge 3", 0.06],
  ["expire 0", 0.08],
  ["expire 1", 0.06],
  ["expire 2", 0.04],
  ["prune", 0.04],
  ["manifest", 0.12],
];

function planLife(random: () => number): LifePlan {
  const count = 1 + Math.floor(random() ** 0.7 * 24);
  const steps: Step[] = [];
  const gapsMs: number[] = [];
  for (let commit = 0; commit < count; commit++) {
    steps.push("commit");
    gapsMs.push(1 + Math.floor(random() * 4000));
    for (const [step, probability] of UPKEEP) if (random() < probability) steps.push(step);
  }
  return { steps, gapsMs };
}

/** The life of one database in a store of its own. */
class Life {
  readonly store: MemoryStore;
  readonly history: TinyHistory;
  readonly expired = new Map<string, KeptObject>();
  readonly manifests: KeptObject[] = [];
  #nowMs: number;
  readonly #name: string;
  readonly #spoolFolder: string;

  constructor(
    name: string,
    layout: "s3" | "file",
    spoolFolder: string,
    { seed, startMs }: { readonly seed: number; readonly startMs: number },
  ) {
    this.#name = name;
    this.#spoolFolder = spoolFolder;
    this.#nowMs = startMs;
    this.store = new MemoryStore({ layout });
    this.history = new TinyHistory(seededRandom(seed));
  }

  async run({ steps, gapsMs }: LifePlan): Promise<this> {
    for (const step of steps) {
      const [verb, level] = step.split(" ");
      if (verb === "commit") {
        this.#nowMs += gapsMs[this.history.txid]!;
        await putTiny(this.store, this.#name, this.history.commit(this.#nowMs));
      } else if (verb === "snapshot") {
        const isNew = !(await this.#snapshots()).includes(this.history.txid);
        if (isNew) await putTiny(this.store, this.#name, this.history.snapshot());
      } else if (verb === "merge") await this.#merge(Number(level));
      else if (verb === "expire") await this.#expire(Number(level));
      else if (verb === "prune") await this.#prune();
      else await this.#writeManifest();
    }
    return this;
  }

  #list(): Promise<LtxObject[]> {
    return listObjects(this.store, this.#name);
  }

  async #snapshots(): Promise<number[]> {
    return (await this.#list()).filter(({ level }) => level === 9).map(({ maxTxid }) => maxTxid);
  }

  async #merge(level: number): Promise<void> {
    const { env } = recordingEnv({ nowMs: () => this.#nowMs, turn: () => Promise.resolve() });
    const own = { store: this.store, name: this.#name, spoolFolder: this.#spoolFolder };
    const target = { ...own, writer: TINY_WRITER, version: "test", env };
    await compactInto(target, level, new CompactionProgress());
  }

  async #expire(level: number): Promise<void> {
    const objects = await this.#list();
    const covers = objects.filter((object) => object.level > level && object.level < 9);
    await this.#delete(
      objects.filter(
        (object) =>
          object.level === level &&
          covers.some((cover) => cover.minTxid <= object.minTxid && cover.maxTxid >= object.maxTxid),
      ),
    );
  }

  /** Deletes what is older than the newest snapshot but one. */
  async #prune(): Promise<void> {
    const oldest = (await this.#snapshots()).sort((a, b) => a - b).at(-2);
    if (oldest === undefined) return;
    const objects = await this.#list();
    await this.#delete(
      objects.filter(({ level, maxTxid }) => (level === 9 ? maxTxid < oldest : maxTxid <= oldest)),
    );
  }

  async #delete(objects: readonly LtxObject[]): Promise<void> {
    for (const { key } of objects) this.expired.set(key, kept(await readObject(this.store, key), this.store));
    await this.store.delete(objects.map(({ key }) => key));
  }

  async #writeManifest(): Promise<void> {
    const { txid, times, chains } = this.history;
    const mark = { pageSizeBytes: 512, timeMs: times.get(txid)!, chain: hex(chains.get(txid)!) };
    const names = { txid: txid as LtxObject["maxTxid"], writer: TINY_WRITER };
    await writeManifest(this.store, buildManifest(this.#name, await this.#list(), { ...mark, ...names }));
    this.manifests.push(kept(await readObject(this.store, `${this.#name}/manifest.json`), this.store));
  }

  async objects(): Promise<Map<string, KeptObject>> {
    const objects = new Map<string, KeptObject>();
    for (const key of await allKeys(this.store)) {
      objects.set(key, kept(await readObject(this.store, key), this.store));
    }
    return objects;
  }
}

function kept(
  { bytes, metadata }: Pick<KeptObject, "bytes" | "metadata">,
  { layout }: Pick<MemoryStore, "layout">,
): KeptObject {
  const hasSidecar = layout === "file" && Object.keys(metadata).length > 0;
  return { bytes, metadata, sidecar: hasSidecar ? sidecarText(bytes, metadata) : null };
}

/** The sidecar of an object in a folder. */
export function sidecarText(bytes: Uint8Array, metadata: ObjectMetadata): string {
  const sha256 = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
  return `${JSON.stringify({ version: 1, sizeBytes: bytes.length, sha256, metadata })}\n`;
}

/** An object as Litestream writes it: without database checksums, and with no metadata but its time. */
function asLitestream({ bytes, metadata }: KeptObject, layout: "s3" | "file"): KeptObject {
  const pages: [pgno: number, data: Uint8Array][] = [];
  const { header } = decodeLtxFile(bytes, (pgno, page) => pages.push([pgno, page.slice()]));
  const chunks: Uint8Array[] = [];
  const plain = { ...header, flags: FLAG_NO_CHECKSUM, preApplyChecksum: NO_CHECKSUM };
  const encoder = new LtxEncoder(plain, (chunk) => chunks.push(chunk.slice()));
  for (const [pgno, data] of pages) encoder.page(pgno, data);
  encoder.finish(NO_CHECKSUM);
  const time = metadata["litestream-timestamp"]!;
  const left: ObjectMetadata = layout === "s3" ? { "litestream-timestamp": time } : {};
  return { bytes: new Uint8Array(Buffer.concat(chunks)), metadata: left, sidecar: null };
}

function litestreamObjects(objects: Objects, layout: "s3" | "file"): Map<string, KeptObject> {
  const converted = new Map<string, KeptObject>();
  for (const [key, object] of objects) {
    const name = parseObjectKey(layout, key);
    if (name === null) continue;
    // Litestream begins with a level-0 file, and has no snapshot of TXID 1.
    const isFirst = name.level === 9 && name.maxTxid === 1;
    const ownKey = isFirst ? key.replace(layout === "s3" ? "/0009/" : "/ltx/9/", levelZero(layout)) : key;
    converted.set(ownKey, asLitestream(object, layout));
  }
  return converted;
}

function levelZero(layout: "s3" | "file"): string {
  return layout === "s3" ? "/0000/" : "/ltx/0/";
}

/**
 * Makes the bucket of a seed.
 * @param folder for the temporary files of merges
 */
export async function templateBucket(seed: number, folder: string): Promise<TemplateBucket> {
  const random = seededRandom(seed);
  const layout = random() < 0.3 ? "file" : "s3";
  const origin = random() < 0.25 ? "litestream" : "walrust";
  const plan = planLife(random);
  const live = (name: string, number: number, startMs: number): Promise<Life> =>
    new Life(name, layout, folder, { seed: seed * 3 + number, startMs }).run(plan);
  const app = await live(APP, 1, START_MS);
  const neighbour = await live(NEIGHBOUR, 2, START_MS + 700);
  const former = await live(APP, 3, START_MS - DAY_MS);
  const own = (objects: Objects): Objects =>
    origin === "walrust" ? objects : litestreamObjects(objects, layout);
  return {
    layout,
    origin,
    objects: new Map([...own(await app.objects()), ...own(await neighbour.objects())]),
    expired: own(app.expired),
    former: new Map([...own(former.expired), ...own(await former.objects())]),
    manifests: origin === "walrust" ? app.manifests : [],
    images: app.history.images,
    times: app.history.times,
  };
}

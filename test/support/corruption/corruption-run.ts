/**
 * Runs seeds of the corruption test: each corrupts a bucket, and restores it at the latest point, at a TXID
 * and at a time. A seed repeats its run exactly.
 */
import { mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Env } from "../../../src/env.ts";
import type { Txid } from "../../../src/format/types.ts";
import { checkInProcess } from "../../../src/recovery/integrity/integrity-child.ts";
import type { PointInTime } from "../../../src/recovery/plan/restore-point.ts";
import { restore } from "../../../src/recovery/restore/restore-database.ts";
import type { GetOptions, ObjectBody, ObjectStore } from "../../../src/storage/contract/store.ts";
import { FileStore } from "../../../src/storage/file/file-store.ts";
import { recordingEnv } from "../recording-log.ts";
import { seededRandom } from "../seeded-random.ts";
import { FaultyStore } from "../servers/faulty-store.ts";
import { MemoryStore } from "../servers/memory-store.ts";
import { type CorruptionKind, corruptBucket } from "./corruptions.ts";
import { type Asked, type Ending, escapeOrNull, soundPoints } from "./restore-judge.ts";
import { APP, type Objects, type TemplateBucket, templateBucket } from "./template-bucket.ts";

/** So many buckets are made; the seeds take turns. */
const TEMPLATES = 127;

/** A restore that broke the promise. */
export interface Escape {
  readonly seed: number;
  readonly asked: Asked;
  readonly what: string;
  readonly steps: readonly string[];
}

/** The restores of one seed. */
export interface SeedResult {
  readonly kinds: readonly CorruptionKind[];
  readonly layout: "s3" | "file";
  readonly origin: "walrust" | "litestream";
  readonly restored: number;
  readonly refused: number;
  readonly escapes: readonly Escape[];
}

/** Runs seeds one after the other. */
export class CorruptionRun {
  readonly #templates = new Map<number, TemplateBucket>();

  /** @param folder an empty folder for buckets and restored files */
  constructor(readonly folder: string) {}

  /** Runs one seed. */
  async seed(seed: number): Promise<SeedResult> {
    const template = await this.#template(seed % TEMPLATES);
    const random = seededRandom(seed * 7919 + 13);
    const { objects, kinds, steps } = corruptBucket(template, random);
    const store = new ReadingStore(await this.#materialize(template, objects));
    const escapes: Escape[] = [];
    let restored = 0;
    const asks = askedPoints(template, random);
    for (const asked of asks) {
      const ending = await this.#endingOf(template, store, asked);
      if ("txid" in ending) restored++;
      const what = escapeOrNull(template, objects, asked, ending);
      if (what !== null) escapes.push({ seed, asked, what, steps });
    }
    const { layout, origin } = template;
    return { kinds, layout, origin, restored, refused: asks.length - restored, escapes };
  }

  /** The bucket of a seed, and its corruption, in words. */
  async describe(seed: number): Promise<string[]> {
    const template = await this.#template(seed % TEMPLATES);
    const { objects, steps } = corruptBucket(template, seededRandom(seed * 7919 + 13));
    const names = (those: Objects): string[] => [...those.keys()].filter((key) => key.startsWith(`${APP}/`));
    return [
      `${template.origin}, layout ${template.layout}, TXIDs 1 to ${Math.max(...template.images.keys())}`,
      `sound: ${names(template.objects).join(" ")}`,
      ...steps,
      `corrupted: ${names(objects).join(" ")}`,
    ];
  }

  async #template(seed: number): Promise<TemplateBucket> {
    const known = this.#templates.get(seed) ?? (await templateBucket(seed, this.folder));
    this.#templates.set(seed, known);
    return known;
  }

  async #materialize({ layout, times }: TemplateBucket, objects: Objects): Promise<ObjectStore> {
    const store = new MemoryStore({ layout });
    const root = join(this.folder, "bucket");
    rmSync(root, { recursive: true, force: true });
    mkdirSync(root);
    for (const [key, { bytes, metadata, sidecar }] of objects) {
      if (layout === "s3") {
        await store.put(key, { kind: "bytes", bytes }, { metadata });
        continue;
      }
      const path = join(root, key);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, bytes);
      const time = (times.get(Number.parseInt(key.slice(-20, -4), 16)) ?? 0) / 1000;
      utimesSync(path, time, time);
      if (sidecar !== null) writeFileSync(`${path}.meta.json`, sidecar);
    }
    return layout === "s3" ? store : new FileStore({ path: root });
  }

  async #endingOf({ times }: TemplateBucket, store: ReadingStore, asked: Asked): Promise<Ending> {
    const outputPath = join(this.folder, "out.db");
    rmSync(outputPath, { force: true });
    const { env } = recordingEnv({ nowMs: () => Math.max(...times.values()) + 3_600_000 });
    const request = { name: APP, outputPath, point: pointOf(asked), force: false, dryRun: false };
    let reads: readonly string[] = [];
    const checker: typeof checkInProcess = (...input) => {
      reads = [...store.wholeReads];
      return checkInProcess(...input);
    };
    store.wholeReads.length = 0;
    try {
      const { txid, objects } = await restore(request, { store, env: env as Env, checker });
      return { txid, bytes: readFileSync(outputPath), used: reads.slice(-objects) };
    } catch (error) {
      const isLeft = await Bun.file(outputPath).exists();
      return { error: isLeft ? new Error("the target of a failed restore exists") : error };
    }
  }
}

/** A store that records the objects that are read in full. */
class ReadingStore extends FaultyStore {
  readonly wholeReads: string[] = [];

  override async get(key: string, options: GetOptions = {}): Promise<ObjectBody> {
    const body = await super.get(key, options);
    if (options.range === undefined && key.endsWith(".ltx")) this.wholeReads.push(key);
    return body;
  }
}

function askedPoints(template: TemplateBucket, random: () => number): Asked[] {
  const points = soundPoints(template);
  const newest = points.at(-1)!;
  const pick = (): number => points[Math.floor(random() * points.length)]!;
  const txid = random() < 0.85 ? pick() : 1 + Math.floor(random() * (newest + 1));
  const offsetsMs = [0, 0, 1, -1, 350];
  const timeMs = template.times.get(pick())! + offsetsMs[Math.floor(random() * offsetsMs.length)]!;
  return [{ kind: "latest" }, { kind: "txid", txid }, { kind: "time", timeMs }];
}

function pointOf(asked: Asked): PointInTime {
  return asked.kind === "txid" ? { kind: "txid", txid: asked.txid as Txid } : asked;
}

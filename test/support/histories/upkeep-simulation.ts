/**
 * A simulated bucket over days, on a simulated clock: random commits and snapshots, compaction and retention
 * by the real Maintenance. Crashes and failures occur between any two operations of the store. The simulation
 * checks every rule after each operation. The first violation ends the run with the seed and the rule.
 */
import { join } from "node:path";
import type { CompactionConfig, RetentionConfig } from "../../../src/config/config.ts";
import type { Env } from "../../../src/env.ts";
import { WalrustError } from "../../../src/errors.ts";
import { ObjectIndex } from "../../../src/local/object-index.ts";
import { planRestore } from "../../../src/recovery/plan/restore-plan.ts";
import { restore } from "../../../src/recovery/restore/restore-database.ts";
import { Maintenance } from "../../../src/replication/upkeep/maintenance.ts";
import { planRetention } from "../../../src/replication/upkeep/retention-plan.ts";
import { type LtxObject, listObjects } from "../../../src/storage/bucket/catalog.ts";
import { RememberingStore } from "../../../src/storage/bucket/remembering-store.ts";
import type { KeptKey, PutBody, PutOptions } from "../../../src/storage/contract/store.ts";
import { configWith } from "../config.ts";
import { recordingEnv } from "../recording-log.ts";
import { seededRandom } from "../seeded-random.ts";
import { FaultyStore, unreachable } from "../servers/faulty-store.ts";
import { MemoryStore } from "../servers/memory-store.ts";
import { tempFolder } from "../temp.ts";
import { putTiny, TINY_WRITER, TinyHistory, type TinyObject } from "./tiny-history.ts";

const START_MS = Date.UTC(2026, 2, 1);
const MINUTE_MS = 60_000;

/** The death of a process: none of its code runs after this error. */
class Crash extends Error {}

/** Settings of a run. */
export interface SimulationOptions {
  readonly seed: number;
  readonly steps: number;
  readonly compaction: CompactionConfig;
  readonly retention: RetentionConfig;
  /** Probability that an operation of the store fails or is the last one of its process. */
  readonly faultRate: number;
  /** Probability of a snapshot, and of retention, at a step. */
  readonly snapshotRate: number;
}

/** A store with the times of the puts, as on S3, which deletes one object at a time in random order. */
class BucketStore extends FaultyStore {
  constructor(
    inner: MemoryStore,
    readonly shuffle: <T>(items: readonly T[]) => T[],
  ) {
    super(inner);
  }

  override put(key: string, body: PutBody, options: PutOptions = {}): Promise<void> {
    const { modifiedMs: _, ...rest } = options;
    return super.put(key, body, rest);
  }

  override async delete(keys: readonly string[]): Promise<readonly KeptKey[]> {
    const kept: KeptKey[] = [];
    for (const key of this.shuffle(keys)) kept.push(...(await super.delete([key])));
    return kept;
  }
}

/** A single run of the simulation. */
export class DataPlaneSimulation {
  readonly history: TinyHistory;
  readonly inner: MemoryStore;
  readonly store: BucketStore;
  crashes = 0;
  deletions = 0;
  merges = 0;
  restores = 0;
  #nowMs = START_MS;
  #isQuiet = false;
  #isUploading = false;
  /** Objects that the current process has read in full. */
  #read = new Set<string>();
  #before: LtxObject[] = [];
  #maintenance: Maintenance;
  /** The store of the current process, which remembers its objects. */
  #remembering: RememberingStore;
  readonly #env: Env;
  readonly #random: () => number;
  readonly #spoolFolder = tempFolder("sim-spool");
  readonly #outputs = tempFolder("sim-out");

  constructor(readonly options: SimulationOptions) {
    this.#random = seededRandom(options.seed);
    const clock = { nowMs: () => this.#nowMs, monotonicMs: () => this.#nowMs };
    this.#env = recordingEnv({ ...clock, turn: () => Promise.resolve() }).env;
    this.history = new TinyHistory(this.#random);
    this.inner = new MemoryStore({ env: clock });
    this.store = new BucketStore(this.inner, (items) => items.toSorted(() => this.#random() - 0.5));
    this.store.before = (operation) => {
      if (!this.#isUploading) this.#fault(operation === "put" || operation === "delete");
    };
    this.store.after = async (operation, key) => {
      if (this.#isUploading) return;
      if (operation === "get") this.#read.add(key);
      if (operation === "put" || operation === "delete") await this.#judge(key);
      this.#fault(operation !== "get");
    };
    this.#maintenance = this.#newMaintenance();
    this.#remembering = this.#newStore();
  }

  /** Runs all steps, then one step without faults; after it no object waits for compaction. */
  async run(): Promise<void> {
    await this.#upload(this.history.commit(this.#nowMs));
    for (let step = 0; step < this.options.steps; step++) {
      const gaps = [200, 4_000, MINUTE_MS, 20 * MINUTE_MS, 9 * 60 * MINUTE_MS];
      this.#nowMs += Math.ceil(this.#random() * gaps[Math.floor(this.#random() ** 1.5 * gaps.length)]!);
      for (let count = Math.floor(this.#random() * 9); count > 0; count--) {
        this.#nowMs += 1 + Math.floor(this.#random() * 900);
        await this.#upload(this.history.commit(this.#nowMs));
      }
      if (this.#random() < this.options.snapshotRate) await this.#upload(this.history.snapshot());
      if (this.#random() < this.options.snapshotRate) this.#maintenance.requestRetention();
      await this.#upkeep();
      if (this.#random() < 0.08) await this.#restoreOne();
    }
    this.#isQuiet = true;
    this.#nowMs += 60 * MINUTE_MS;
    await this.#upload(this.history.commit(this.#nowMs));
    await this.#upkeep();
    await this.#restoreOne();
  }

  #newMaintenance(): Maintenance {
    const { compaction, retention } = this.options;
    return new Maintenance(configWith({ compaction, retention }), this.#nowMs);
  }

  #newStore(): RememberingStore {
    const index = new ObjectIndex({ folder: this.#spoolFolder });
    return new RememberingStore(this.store, "app", index, this.#env);
  }

  /** Crashes or fails at random, before or after an operation takes effect. */
  #fault(isWorthIt: boolean): void {
    if (this.#isQuiet || this.#random() >= this.options.faultRate * (isWorthIt ? 1 : 0.1)) return;
    if (this.#random() < 0.5) throw unreachable();
    this.crashes++;
    throw new Crash("SIGKILL");
  }

  /** Uploads until success; after a crash the spool still holds the object. */
  async #upload(object: TinyObject): Promise<void> {
    this.#isUploading = true;
    await putTiny(this.#remembering, "app", object).catch((error) => {
      if (!(error instanceof WalrustError) || error.code !== "precondition") throw error;
    });
    this.#isUploading = false;
    this.#before = await listObjects(this.inner, "app");
  }

  async #upkeep(): Promise<void> {
    const { history } = this;
    const store = this.#remembering;
    const uploaded = { txid: history.txid, bytes: history.txid * 1000 };
    if (!this.#maintenance.isDue(this.#nowMs, uploaded.txid, uploaded.bytes)) return;
    const spoolFolder = this.#spoolFolder;
    const target = { store, name: "app", spoolFolder, writer: TINY_WRITER, version: "test", env: this.#env };
    try {
      const signal = new AbortController().signal;
      this.merges += (await this.#maintenance.run(target, this.#nowMs, uploaded, signal)).length;
    } catch (error) {
      const isFault = error instanceof Crash || (error instanceof WalrustError && error.code === "storage");
      if (!isFault) throw new Error(`seed ${this.options.seed}: upkeep failed`, { cause: error });
      if (!(error instanceof Crash)) return;
      this.#read = new Set();
      this.#maintenance = this.#newMaintenance();
      this.#remembering = this.#newStore();
    }
  }

  /** Checks every rule after one operation. @param key the key of the put or deleted object */
  async #judge(key: string): Promise<void> {
    const objects = await listObjects(this.inner, "app");
    const gone = this.#before.find((object) => object.key === key && !objects.some((one) => one.key === key));
    const before = this.#before;
    this.#before = objects;
    const { seed } = this.options;
    const rule = (what: string, holds: boolean): void => {
      if (!holds) throw new Error(`seed ${seed}, ${this.store.calls.length} calls, ${key}: ${what}`);
    };
    const newest = this.history.txid;
    rule("the newest is restorable", isPoint(objects, newest));
    const snapshots = before.filter(({ level }) => level === 9);
    const points = snapshots.map(({ maxTxid }) => ({
      txid: maxTxid,
      timeMs: this.history.times.get(maxTxid)!,
    }));
    const kept = planRetention(points, this.options.retention).filter(({ reasons }) => reasons.length > 0);
    for (const { txid } of kept) rule(`snapshot ${txid} is restorable`, isPoint(objects, txid));
    // Objects before the oldest kept snapshot go in any order, and a crash may leave some of them.
    const needed = objects.filter(({ maxTxid }) => maxTxid > kept.at(-1)!.txid);
    for (const level of [1, 2, 3]) rule(`level ${level} is a sequence`, isSequence(needed, level));
    if (gone === undefined) return;
    this.deletions++;
    if (gone.level === 9)
      return rule("a kept snapshot stays", !kept.some(({ txid }) => txid === gone.maxTxid));
    if (gone.maxTxid <= kept.at(-1)!.txid) return;
    this.#judgeExpiry(gone, before, rule);
  }

  #judgeExpiry(
    gone: LtxObject,
    before: readonly LtxObject[],
    rule: (what: string, holds: boolean) => void,
  ): void {
    const { compaction } = this.options;
    const covers = before.filter(
      ({ level, minTxid, maxTxid }) =>
        level > gone.level && level < 9 && minTxid <= gone.minTxid && maxTxid >= gone.maxTxid,
    );
    rule("a replacement is there", covers.length > 0);
    rule(
      "the replacement was read in full",
      covers.some((cover) => this.#read.has(cover.key)),
    );
    const lifetimeMs = compaction.lifetimesMs[gone.level as 0 | 1 | 2];
    rule(
      "its lifetime is over",
      covers.some(({ modifiedMs }) => this.#nowMs - modifiedMs >= lifetimeMs),
    );
    const newer = before.filter(({ level, minTxid }) => level === gone.level && minTxid > gone.minTxid);
    rule("recent ones are preserved", gone.level > 0 || newer.length >= compaction.preserveRecent);
  }

  /** Restores a random point and compares it with the recorded image. */
  async #restoreOne(): Promise<void> {
    const { inner, history } = this;
    const objects = await listObjects(inner, "app");
    const txids = [...new Set(objects.map(({ maxTxid }) => maxTxid))].filter((txid) =>
      isPoint(objects, txid),
    );
    const txid = txids[Math.floor(this.#random() * txids.length)]!;
    const outputPath = join(this.#outputs, `${++this.restores}.db`);
    const request = {
      name: "app",
      outputPath,
      point: { kind: "txid", txid },
      force: false,
      dryRun: false,
    } as const;
    await restore(request, { store: inner, env: this.#env });
    const restored = Buffer.from(await Bun.file(outputPath).arrayBuffer());
    if (restored.equals(history.images.get(txid)!)) return;
    throw new Error(`seed ${this.options.seed}: TXID ${txid} is restored to other bytes`);
  }

  /** TXIDs of level 0 that no object of level 1 holds. */
  async uncompacted(): Promise<number> {
    const objects = await listObjects(this.inner, "app");
    const reached = (level: number): number =>
      Math.max(0, ...objects.filter((one) => one.level === level).map(({ maxTxid }) => maxTxid));
    return this.history.txid - reached(1);
  }
}

function isPoint(objects: readonly LtxObject[], txid: number): boolean {
  return planRestore(objects, txid as LtxObject["maxTxid"]).kind === "plan";
}

/** Whether no two objects of a level overlap, and a higher level fills each gap between two objects. */
function isSequence(objects: readonly LtxObject[], level: number): boolean {
  const members = objects.filter((one) => one.level === level).sort((a, b) => a.minTxid - b.minTxid);
  return members.every((one, index) => {
    const from = (members[index - 1]?.maxTxid ?? one.minTxid - 1) + 1;
    if (one.minTxid === from) return true;
    const above = objects.filter((other) => other.level > level && other.level < 9);
    let reached = from - 1;
    for (const { minTxid, maxTxid } of above.sort((a, b) => a.minTxid - b.minTxid)) {
      if (minTxid <= reached + 1) reached = Math.max(reached, maxTxid);
    }
    return one.minTxid > from && reached >= one.minTxid - 1;
  });
}

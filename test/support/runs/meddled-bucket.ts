/**
 * A simulated bucket that others change behind the back of a watch: they delete, cut and replace objects,
 * take metadata away, and bring back earlier objects. Commits, snapshots and the real Maintenance go on, with
 * failures and restarts. The oracle is the bytes that were first put at each key.
 *
 * Rules of each deletion by walrust:
 * 1. A sound object of levels 0 to 3 goes only if a sound object of a higher level holds its TXIDs, or if a
 *    sound snapshot that is as new stays.
 * 2. A sound snapshot goes only if a newer sound snapshot stays.
 */
import type { Env } from "../../../src/env.ts";
import { WalrustError } from "../../../src/errors.ts";
import { parseObjectKey } from "../../../src/format/keys.ts";
import { ObjectIndex } from "../../../src/local/object-index.ts";
import { planRestore } from "../../../src/recovery/plan/restore-plan.ts";
import { Maintenance } from "../../../src/replication/upkeep/maintenance.ts";
import { type LtxObject, listObjects } from "../../../src/storage/bucket/catalog.ts";
import { RememberingStore } from "../../../src/storage/bucket/remembering-store.ts";
import { configWith } from "../config.ts";
import { putTiny, TINY_WRITER, TinyHistory, type TinyObject } from "../histories/tiny-history.ts";
import { readObject } from "../oracles/history-oracle.ts";
import { recordingEnv } from "../recording-log.ts";
import { seededRandom } from "../seeded-random.ts";
import { FaultyStore, unreachable } from "../servers/faulty-store.ts";
import { MemoryStore } from "../servers/memory-store.ts";
import { tempFolder } from "../temp.ts";

const START_MS = Date.UTC(2026, 2, 1);
const MINUTE_MS = 60_000;
const CONFIG = configWith({
  compaction: {
    enabled: true,
    levelsMs: [2 * MINUTE_MS, 20 * MINUTE_MS, 100 * MINUTE_MS],
    lifetimesMs: [10 * MINUTE_MS, 60 * MINUTE_MS, 300 * MINUTE_MS],
    preserveRecent: 3,
  },
  retention: { hourly: 4, daily: 1, weekly: 0, monthly: 0 },
});
/** Codes of failures that a changed bucket and a failing store explain. */
const EXPLAINED = ["storage", "not-found", "integrity", "corrupt"];

/** The content of an object, and its metadata. */
type Content = Awaited<ReturnType<typeof readObject>>;

/** A single run. */
export class MeddledBucket {
  readonly history: TinyHistory;
  readonly inner: MemoryStore;
  readonly store: FaultyStore;
  deletions = 0;
  changes = 0;
  failures = 0;
  /** The most calls of one job, for each object in the bucket. */
  callsPerObject = 0;
  readonly #first = new Map<string, Content>();
  readonly #random: () => number;
  readonly #env: Env;
  readonly #spoolFolder = tempFolder("meddled");
  #nowMs = START_MS;
  #isQuiet = false;
  #maintenance!: Maintenance;
  #remembering!: RememberingStore;

  constructor(readonly seed: number) {
    this.#random = seededRandom(seed);
    const clock = { nowMs: () => this.#nowMs, monotonicMs: () => this.#nowMs };
    this.#env = recordingEnv({ ...clock, turn: () => Promise.resolve() }).env;
    this.history = new TinyHistory(this.#random);
    this.inner = new MemoryStore({ env: clock, hasChecksums: seed % 2 === 0 });
    this.store = new FaultyStore(this.inner);
    this.store.before = async (operation, keys) => {
      this.#fault();
      if (operation === "delete") await this.#judge(keys.split(" "));
    };
    this.store.after = async (operation, key) => {
      if (operation === "put") this.#first.set(key, await readObject(this.inner, key));
      this.#fault();
    };
    this.#restart();
  }

  /** Runs all steps. Then others bring back all objects that they took, and the upkeep has to succeed. */
  async run(steps: number): Promise<void> {
    await this.#upload(this.history.commit(this.#nowMs));
    for (let step = 0; step < steps; step++) {
      this.#nowMs += Math.ceil(this.#random() * 12 * MINUTE_MS);
      for (let count = this.#below(6); count > 0; count--) {
        this.#nowMs += 1 + this.#below(900);
        await this.#upload(this.history.commit(this.#nowMs));
      }
      if (this.#random() < 0.15 || !(await this.#isNewestRestorable()))
        await this.#upload(this.history.snapshot());
      if (this.#random() < 0.15) this.#maintenance.requestRetention();
      if (this.#random() < 0.3) await this.#meddle();
      if (this.#random() < 0.04) this.#restart();
      await this.#upkeep();
    }
    this.#isQuiet = true;
    for (const key of this.#first.keys()) await this.#bringBack(key);
    for (let round = 0; round < 4; round++) {
      this.#nowMs += 100 * MINUTE_MS;
      await this.#upload(this.history.commit(this.#nowMs));
      await this.#upkeep(round > 1);
    }
  }

  #below(count: number): number {
    return Math.floor(this.#random() * count);
  }

  #restart(): void {
    this.#maintenance = new Maintenance(CONFIG, this.#nowMs);
    const index = new ObjectIndex({ folder: this.#spoolFolder });
    this.#remembering = new RememberingStore(this.store, "app", index, this.#env);
  }

  #fault(): void {
    if (!this.#isQuiet && this.#random() < 0.01) throw unreachable();
  }

  /** Uploads until success. */
  async #upload(object: TinyObject): Promise<void> {
    for (;;) {
      try {
        await putTiny(this.#remembering, "app", object);
        return;
      } catch (error) {
        if (!(error instanceof WalrustError)) throw error;
        if (error.code === "precondition") return;
        if (error.code !== "storage") throw error;
      }
    }
  }

  async #upkeep(mustSucceed = false): Promise<void> {
    const { txid } = this.history;
    if (!this.#maintenance.isDue(this.#nowMs, txid, txid * 1000)) return;
    const [store, env, spoolFolder] = [this.#remembering, this.#env, this.#spoolFolder];
    const target = { store, name: "app", spoolFolder, writer: TINY_WRITER, version: "test", env };
    const calls = this.store.calls.length;
    const count = (await listObjects(this.inner, "app")).length;
    try {
      await this.#maintenance.run(target, this.#nowMs, { txid, bytes: 0 }, new AbortController().signal);
    } catch (error) {
      const isExplained = error instanceof WalrustError && EXPLAINED.includes(error.code);
      if (!isExplained || mustSucceed) throw new Error(`seed ${this.seed}: upkeep failed`, { cause: error });
      this.failures++;
    }
    this.callsPerObject = Math.max(this.callsPerObject, (this.store.calls.length - calls) / (count + 10));
  }

  /** Changes one object, or brings one back. */
  async #meddle(): Promise<void> {
    this.changes++;
    const objects = await listObjects(this.inner, "app");
    const { key } = objects[this.#below(objects.length)]!;
    const { bytes, metadata } = await readObject(this.inner, key);
    const put = (content: Uint8Array, values: Content["metadata"]): Promise<void> =>
      this.inner.put(key, { kind: "bytes", bytes: content }, { metadata: values });
    const keys = [...this.#first.keys()];
    const earlier = keys[this.#below(keys.length)]!;
    const acts = [
      () => this.inner.delete([key]),
      () => put(bytes.slice(0, this.#below(bytes.length)), metadata),
      () => put(bytes, { ...metadata, sha256: "ab".repeat(32) }),
      () => put(bytes, {}),
      () => put(bytes.toReversed(), {}),
      () => this.#bringBack(earlier),
    ];
    await acts[this.#below(acts.length)]!();
  }

  /** Puts an object as it was at first, also one that has expired. */
  async #bringBack(key: string): Promise<void> {
    const { bytes, metadata } = this.#first.get(key)!;
    await this.inner.put(key, { kind: "bytes", bytes }, { metadata });
  }

  async #isSound(key: string): Promise<boolean> {
    const first = this.#first.get(key);
    const now = await readObject(this.inner, key).catch(() => null);
    return now !== null && first !== undefined && Buffer.compare(now.bytes, first.bytes) === 0;
  }

  async #sound(): Promise<LtxObject[]> {
    const objects = await listObjects(this.inner, "app");
    const isSound = await Promise.all(objects.map(({ key }) => this.#isSound(key)));
    return objects.filter((_, index) => isSound[index]);
  }

  async #isNewestRestorable(): Promise<boolean> {
    const plan = planRestore(await this.#sound(), this.history.txid as LtxObject["maxTxid"]);
    return plan.kind === "plan";
  }

  /** Checks the rules before a deletion. */
  async #judge(keys: readonly string[]): Promise<void> {
    const sound = await this.#sound();
    const stays = sound.filter(({ key }) => !keys.includes(key));
    for (const key of keys) {
      const gone = sound.find((object) => object.key === key);
      if (gone === undefined) continue;
      this.deletions++;
      const isHeld = stays.some(
        ({ level, minTxid, maxTxid }) =>
          (gone.level < 9 && level > gone.level && minTxid <= gone.minTxid && maxTxid >= gone.maxTxid) ||
          (level === 9 && maxTxid >= gone.maxTxid),
      );
      if (!isHeld) throw new Error(`seed ${this.seed}: ${key} is deleted, and no sound object holds it`);
    }
    if (keys.some((key) => parseObjectKey("s3", key) === null)) throw new Error("a strange deletion");
  }
}

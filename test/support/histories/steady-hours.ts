/**
 * Simulates hours of a database with a steady rate of commits, on a simulated clock. The real uploader,
 * snapshot clock and upkeep work on a store that counts requests as S3 bills them. Only capture is simulated:
 * a commit rewrites random pages.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "../../../src/config/config.ts";
import type { Pin } from "../../../src/database/pin/pin.ts";
import type { RequestCounts } from "../../../src/forecast/prices.ts";
import { CHAIN_ZERO, hex } from "../../../src/format/chain.ts";
import { pageChecksum, xorChecksum } from "../../../src/format/crc64.ts";
import { SNAPSHOT_LEVEL } from "../../../src/format/keys.ts";
import { LtxEncoder } from "../../../src/format/ltx-encoder.ts";
import { type Checksum, NO_CHECKSUM, type Txid } from "../../../src/format/types.ts";
import { ObjectIndex } from "../../../src/local/object-index.ts";
import { SENT_FOLDER, type SpoolFile, SpoolWriter } from "../../../src/local/spool.ts";
import { sentRetentionMs } from "../../../src/local/spool-cache.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import type { LiveDatabase } from "../../../src/replication/capture/live-database.ts";
import { Maintenance } from "../../../src/replication/upkeep/maintenance.ts";
import { SnapshotSchedule } from "../../../src/replication/upkeep/snapshot-schedule.ts";
import { UploadHistory } from "../../../src/replication/upload/upload-history.ts";
import { type UploadLane, uploadPending } from "../../../src/replication/upload/uploader.ts";
import { type LtxObject, listObjects } from "../../../src/storage/bucket/catalog.ts";
import { RememberingStore } from "../../../src/storage/bucket/remembering-store.ts";
import type { ListOptions, ObjectInfo } from "../../../src/storage/contract/store.ts";
import { recordingEnv } from "../recording-log.ts";
import { seededRandom } from "../seeded-random.ts";
import { FaultyStore } from "../servers/faulty-store.ts";
import { MemoryStore } from "../servers/memory-store.ts";
import { tempFolder } from "../temp.ts";
import { TINY_WRITER } from "./tiny-history.ts";

const START_MS = Date.UTC(2026, 2, 2);
const PAGE_SIZE = 512;
const LIST_KEYS_MAX = 1000;

/** Settings of a simulation. */
export interface SteadyRun {
  readonly pageCount: number;
  readonly secondsPerCommit: number;
  readonly pagesPerCommit: number;
  readonly config: Config;
  readonly seed: number;
  /** Time between two polls. */
  readonly tickMs?: number;
}

/** A store that counts requests as S3 bills them: listing n keys takes one request for each thousand. */
class BilledStore extends FaultyStore {
  listRequests = 0;

  override async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    let count = 0;
    try {
      for await (const info of super.list(prefix, options)) {
        count++;
        yield info;
      }
    } finally {
      this.listRequests += Math.max(1, Math.ceil(count / LIST_KEYS_MAX));
    }
  }
}

/** A database whose commits, snapshots and upkeep follow a simulated clock. */
export class SteadyHours {
  readonly store: BilledStore;
  /** Capture times by TXID. */
  readonly times = new Map<number, number>();
  nowMs = START_MS;
  readonly #inner: MemoryStore;
  /** The store as a watch uses it. */
  readonly #remembering: RememberingStore;
  readonly #history = new UploadHistory();
  readonly #random: () => number;
  readonly #pages: Uint8Array[] = [];
  readonly #live: LiveDatabase;
  readonly #maintenance: Maintenance;
  readonly #clock: SnapshotSchedule;
  readonly #env;
  readonly #signal = new AbortController().signal;
  #nextCommitMs: number;
  #checksum = NO_CHECKSUM as Checksum;
  #base = { put: 0, list: 0, get: 0, delete: 0 };

  constructor(readonly run: SteadyRun) {
    this.#random = seededRandom(run.seed);
    const clock = { nowMs: () => this.nowMs, monotonicMs: () => this.nowMs };
    this.#env = recordingEnv({ ...clock, turn: () => Promise.resolve() }).env;
    this.#inner = new MemoryStore({ env: clock, hasChecksums: true });
    this.store = new BilledStore(this.#inner);
    const path = join(tempFolder("steady"), "app.db");
    const paths = stateFolderOf(path);
    this.#remembering = new RememberingStore(this.store, "app", new ObjectIndex(paths), this.#env);
    mkdirSync(join(paths.spoolFolder, SENT_FOLDER), { recursive: true });
    this.#live = {
      path,
      name: "app",
      paths,
      // Nothing in these tests requests a lock.
      pin: {} as Pin,
      state: null,
      pending: [],
      acknowledged: null,
      uploadedBytes: 0,
      sentBytes: 0,
      mayRestart: false,
      changeCount: null,
      pinLost: null,
    };
    this.#maintenance = new Maintenance(run.config, this.nowMs);
    this.#clock = new SnapshotSchedule(this.nowMs);
    for (let pgno = 1; pgno <= run.pageCount; pgno++) this.#pages.push(this.#newPage());
    this.#nextCommitMs = this.nowMs;
  }

  /** Advances the clock. */
  async pass(hours: number): Promise<void> {
    const endMs = this.nowMs + hours * 3_600_000;
    if (this.#live.state === null) await this.#begin();
    while (this.nowMs < endMs) {
      this.nowMs += this.run.tickMs ?? 1000;
      await this.#look();
    }
  }

  /** Returns and resets the counts of requests. */
  takeRequests(): RequestCounts {
    const { calls } = this.store;
    const countOf = (...verbs: string[]): number =>
      calls.filter((call) => verbs.includes(call.slice(0, call.indexOf(" ")))).length;
    const total = {
      put: countOf("put"),
      list: this.store.listRequests,
      get: countOf("get", "head"),
      delete: countOf("delete"),
    };
    const before = this.#base;
    this.#base = total;
    return {
      put: total.put - before.put,
      list: total.list - before.list,
      get: total.get - before.get,
      delete: total.delete - before.delete,
    };
  }

  /** Lists the objects in the bucket. */
  objects(): Promise<LtxObject[]> {
    return listObjects(this.#inner, "app");
  }

  async #look(): Promise<void> {
    const live = this.#live;
    const { sync } = this.run.config;
    if (this.nowMs >= this.#nextCommitMs) this.#commit();
    await this.#upload("links");
    if (this.#clock.dueOrNull(sync, this.nowMs) !== null) {
      live.pending.push(this.#encode(SNAPSHOT_LEVEL, 1, live.state!.txid, this.#allPgnos(), NO_CHECKSUM));
      this.#clock.taken(this.nowMs);
      await this.#upload("snapshots");
      if (sync.compactAfterSnapshot) this.#maintenance.requestRetention();
    }
    const { txid } = live.state!;
    if (!this.#maintenance.isDue(this.nowMs, txid, live.uploadedBytes)) return;
    const store = this.#remembering;
    const { spoolFolder } = live.paths;
    const target = { store, name: "app", spoolFolder, writer: TINY_WRITER, version: "test", env: this.#env };
    const uploaded = { txid, bytes: live.uploadedBytes };
    await this.#maintenance.run(target, this.nowMs, uploaded, this.#signal);
  }

  async #begin(): Promise<void> {
    this.#checksum = this.#pages
      .map((page, index) => pageChecksum(index + 1, page))
      .reduce((a, b) => xorChecksum(a, b));
    this.#captured(this.#encode(SNAPSHOT_LEVEL, 1, 1, this.#allPgnos(), NO_CHECKSUM, CHAIN_ZERO));
    this.#clock.taken(this.nowMs);
    await this.#upload("links");
  }

  #commit(): void {
    this.#nextCommitMs += this.run.secondsPerCommit * 1000;
    const before = this.#checksum;
    const pgnos = new Set<number>();
    while (pgnos.size < this.run.pagesPerCommit) {
      pgnos.add(1 + Math.floor(this.#random() * this.run.pageCount));
    }
    for (const pgno of pgnos) {
      const page = this.#newPage();
      const old = pageChecksum(pgno, this.#pages[pgno - 1]!);
      this.#checksum = xorChecksum(xorChecksum(this.#checksum, old), pageChecksum(pgno, page));
      this.#pages[pgno - 1] = page;
    }
    const txid = this.#live.state!.txid + 1;
    const sorted = [...pgnos].sort((a, b) => a - b);
    const chain = Uint8Array.fromHex(this.#live.state!.chain);
    this.#captured(this.#encode(0, txid, txid, sorted, before, chain));
    this.#clock.captured(this.nowMs, pgnos.size);
  }

  /** Records a pending link of the chain and the state after it. */
  #captured(file: SpoolFile): void {
    const { maxTxid: txid } = file;
    this.times.set(txid, this.nowMs);
    this.#live.pending.push(file);
    this.#live.state = {
      destination: "s3://memory",
      name: "app",
      writer: TINY_WRITER,
      txid,
      timeMs: this.nowMs,
      pageSizeBytes: PAGE_SIZE,
      commit: this.run.pageCount,
      checksum: this.#checksum,
      chain: hex(file.chain),
      wal: null,
      snapshot: null,
    };
  }

  async #upload(lane: UploadLane): Promise<void> {
    const store = this.#remembering;
    const keepsSent = sentRetentionMs(this.run.config.cache) > 0;
    const shared = { store, version: "test", env: this.#env, emit: () => {}, history: this.#history };
    await uploadPending(this.#live, { ...shared, keepsSent }, this.#signal, lane);
  }

  #encode(
    level: number,
    minTxid: number,
    maxTxid: number,
    pgnos: readonly number[],
    before: Checksum,
    previousChain?: Uint8Array,
  ): SpoolFile {
    const [min, max] = [minTxid as Txid, maxTxid as Txid];
    const spool = new SpoolWriter(this.#live.paths.spoolFolder, level, min, max);
    const header = {
      flags: 0,
      pageSizeBytes: PAGE_SIZE,
      commit: this.run.pageCount,
      minTxid: min,
      maxTxid: max,
      timestampMs: this.nowMs,
      preApplyChecksum: before,
      walOffset: 0,
      walSizeBytes: 0,
      walSalt1: 0,
      walSalt2: 0,
      nodeId: 0n,
    };
    const encoder = new LtxEncoder(header, (bytes) => spool.write(bytes));
    for (const pgno of pgnos) encoder.page(pgno, this.#pages[pgno - 1]!);
    encoder.finish(this.#checksum);
    const chain = this.#live.state === null ? CHAIN_ZERO : Uint8Array.fromHex(this.#live.state.chain);
    return spool.finish(previousChain === undefined ? { chain } : { previousChain });
  }

  #allPgnos(): number[] {
    return this.#pages.map((_, index) => index + 1);
  }

  #newPage(): Uint8Array {
    return Uint8Array.from({ length: PAGE_SIZE }, () => Math.floor(this.#random() * 256));
  }
}

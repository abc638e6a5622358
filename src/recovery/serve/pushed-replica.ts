/**
 * One replica that is pushed to: judges and applies objects one after the other, and fills gaps from its own
 * bucket, if it has one.
 *
 * Invariants:
 * 1. An object is acknowledged only when it is applied and durable.
 * 2. The TXID never falls by a push: an object or a snapshot whose TXIDs the replica has is refused, so a
 *    replay of old bodies changes nothing. Only the replica's own bucket can show that the history began
 *    anew.
 * 3. An object passes the checks of `replicate`. Its chain value may differ from the replica's: captures that
 *    wait for the bucket are merged after the replica got them, and a merge has another chain value. Then the
 *    database checksum before the object has to be that of the replica.
 * 4. While the replica reads its own bucket, or waits for readers, pushes are refused at once as `busy`.
 */
import { existsSync } from "node:fs";
import type { Env } from "../../env.ts";
import { errorMessage, hasCode, WalrustError } from "../../errors.ts";
import { objectKey } from "../../format/keys.ts";
import { formatChecksum } from "../../format/ltx.ts";
import type { PushedName, PushPosition, PushRefusal } from "../../format/push.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import type { ObjectMetadata, ObjectStore } from "../../storage/contract/store.ts";
import { Trouble } from "../../storage/contract/trouble.ts";
import type { IntegrityChecker } from "../integrity/integrity-child.ts";
import { isFatal } from "../replica/replica.ts";
import { ReplicaFeed } from "../replica/replica-feed.ts";
import { type ReplicaEvent, ReplicaFile } from "../replica/replica-file.ts";
import { holdReplicaPlace, type ReplicaPlace } from "../replica/replica-lock.ts";
import { DivergedError } from "../replica/replica-plan.ts";
import { PushedStore } from "./pushed-store.ts";
import type { ReceivedBody } from "./received-body.ts";

/** The surroundings that all replicas of a server share. */
export interface ServeContext {
  /** The bucket that gaps are filled from, or null. */
  readonly store: ObjectStore | null;
  readonly env: Env;
  readonly signal: AbortSignal;
  readonly checker?: IntegrityChecker | undefined;
  readonly emit: (name: string, event: ReplicaEvent) => void;
}

/** Whether an object was applied, or why not. */
export type PushOutcome = { readonly refused: PushRefusal; readonly message: string } | null;

/** The source that the state file of a pushed replica records. */
export function pushSourceOf(name: string): string {
  return `push:${name}`;
}

/** One replica. It is opened with the first push, and closed by `close`. */
export class PushedReplica {
  #place: ReplicaPlace | null = null;
  #file: ReplicaFile | null = null;
  readonly #trouble: Trouble;
  /** The end of all work so far; never rejects. */
  #work: Promise<unknown> = Promise.resolve();
  #workCount = 0;
  #isCatchingUp = false;
  #failure: string | null = null;
  #isClosed = false;

  constructor(
    readonly name: string,
    readonly path: string,
    readonly context: ServeContext,
  ) {
    this.#trouble = new Trouble(context.env, { database: name, what: "push" });
  }

  /** Whether there is no file, and nothing is under way that may make one. */
  get isEmpty(): boolean {
    return this.#file === null && this.#workCount === 0 && !existsSync(this.path);
  }

  /** An object is on its way: the replica is not empty until the returned function is called. */
  expect(): () => void {
    this.#workCount++;
    let isExpected = true;
    return () => {
      if (isExpected) this.#workCount--;
      isExpected = false;
    };
  }

  /**
   * Opens the file. Without `mayCreate` a missing file leaves everything as it is.
   * @throws WalrustError "database" when the file is no replica of this name, or "locked"
   */
  open(mayCreate = false): void {
    if (this.#file !== null || (!mayCreate && !existsSync(this.path))) return;
    try {
      this.#open();
    } catch (error) {
      this.#failure = errorMessage(error);
      throw error;
    }
  }

  #open(): void {
    const { env, signal, checker, emit } = this.context;
    this.#place ??= holdReplicaPlace(this.path);
    const identity = { name: this.name, source: pushSourceOf(this.name), ...this.#place };
    const events = (event: ReplicaEvent): void => emit(this.name, event);
    const file = new ReplicaFile(identity, { env, signal, checker, emit: events });
    try {
      file.openExisting();
    } catch (error) {
      this.#release();
      throw error;
    }
    this.#file = file;
    if (file.point !== null) this.#emitFollowing(file);
  }

  /** The position of this moment. */
  position(): PushPosition {
    const point = this.#file?.point ?? null;
    const waiting = this.#file?.waitingReason ?? null;
    const isFailing = this.#failure !== null;
    const idle = waiting === null ? (isFailing ? "failing" : "ready") : "waiting";
    return {
      name: this.name,
      txid: point?.txid ?? 0,
      time: point === null ? null : new Date(point.timeMs).toISOString(),
      checksum: point === null ? null : formatChecksum(point.checksum),
      chain: point?.chain ?? null,
      state: this.#isCatchingUp ? "catching-up" : idle,
      reason: waiting ?? this.#failure,
      hasBucket: this.context.store !== null,
    };
  }

  /**
   * Refuses an object by its TXIDs alone, before its body is read; null: the body decides. A gap begins the
   * reading of the own bucket.
   */
  refusedEarly({ level, minTxid, maxTxid }: PushedName): PushOutcome {
    const busy = this.#busyOrNull();
    if (busy !== null) return busy;
    const txid = this.#file?.point?.txid ?? 0;
    if (maxTxid <= txid) return refusal("old", `the replica is at TXID ${txid}`);
    const isSnapshot = minTxid === 1;
    if (isSnapshot || (txid > 0 && minTxid <= txid + 1)) return null;
    this.#catchUp(`TXID ${minTxid} on level ${level} leaves a gap after TXID ${txid}`);
    return refusal("gap", `nothing leads from TXID ${txid} to TXID ${minTxid}`);
  }

  #busyOrNull(): PushOutcome {
    if (this.#isCatchingUp) return refusal("busy", "the replica reads its own bucket");
    const waiting = this.#file?.waitingReason ?? null;
    return waiting === null ? null : refusal("busy", `a newer state waits for readers: ${waiting}`);
  }

  /** Judges an object and applies it. */
  put(object: PushedName, metadata: ObjectMetadata, body: ReceivedBody): Promise<PushOutcome> {
    return this.#enqueue(async () => {
      if (this.#isClosed) return refusal("failed", "the server ends");
      try {
        this.open(true);
        const early = this.refusedEarly(object);
        if (early !== null) return early;
        await this.#apply(object, metadata, body);
        this.#recovered();
        return this.#busyOrNull();
      } catch (error) {
        return this.#judge(error);
      }
    });
  }

  /** Runs work after all work before it. */
  #enqueue<T>(run: () => Promise<T> | T): Promise<T> {
    this.#workCount++;
    const result = this.#work.then(run).finally(() => {
      this.#workCount--;
    });
    this.#work = result.catch(() => {});
    return result;
  }

  /** Runs work that nobody waits for. */
  #enqueueAlone(run: () => Promise<void> | void): void {
    this.#enqueue(run).catch((error: unknown) => this.#trouble.failed(error));
  }

  /** Tries again to give a state that waits for readers its place. */
  poll(): void {
    if (this.#file === null || this.#file.waitingReason === null || this.#isCatchingUp) return;
    this.#enqueueAlone(() => {
      try {
        this.#file?.swapIfWaiting();
      } catch (error) {
        this.#judge(error);
      }
    });
  }

  /** Ends the work under way, and closes the file. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#work;
    try {
      this.#file?.settle();
    } finally {
      this.#release();
    }
  }

  async #apply(object: PushedName, metadata: ObjectMetadata, body: ReceivedBody): Promise<void> {
    const { env } = this.context;
    const file = this.#file!;
    const { level, minTxid, maxTxid } = object;
    const key = objectKey("s3", this.name, level, minTxid, maxTxid);
    if (minTxid === 1) {
      const store = new PushedStore(key, metadata, body, env);
      if (file.point === null) await file.bootstrapFirst(store);
      else await file.bootstrapAgain(store, `TXID ${maxTxid} was pushed as a snapshot`);
    } else {
      const pushed: LtxObject = { key, ...object, sizeBytes: body.sizeBytes, modifiedMs: env.nowMs() };
      await file.apply({ object: pushed, metadata, chunks: body.chunks(env) }, "chain-or-checksum");
    }
    file.checkpointIfDue();
  }

  /** Decides about the pushed object after a failure. */
  #judge(error: unknown): PushOutcome {
    this.#file?.abort();
    const message = errorMessage(error);
    if (error instanceof DivergedError) {
      this.#catchUp(message);
      return refusal("diverged", message);
    }
    const isUnsound = hasCode(error, "integrity") || hasCode(error, "corrupt") || hasCode(error, "not-found");
    this.#trouble.failed(error);
    if (isUnsound) return refusal("unsound", message);
    this.#failure = message;
    // The next push opens the file again, which shows what it has become.
    if (isFatal(error)) this.#release();
    return refusal("failed", message);
  }

  /** Brings the replica to the newest state of its own bucket, unless it has none or does so already. */
  #catchUp(reason: string): void {
    const { store, env, signal } = this.context;
    if (store === null || this.#isCatchingUp || this.#isClosed) return;
    this.#isCatchingUp = true;
    env.log.info(`reading the bucket: ${reason}`, { database: this.name });
    this.#enqueueAlone(async () => {
      try {
        if (!signal.aborted) await this.#follow(store);
        this.#recovered();
      } catch (error) {
        if (!signal.aborted) this.#judgeBucket(error);
      } finally {
        this.#isCatchingUp = false;
      }
    });
  }

  async #follow(store: ObjectStore): Promise<void> {
    const { env, signal } = this.context;
    this.open(true);
    const file = this.#file!;
    if (file.point === null) return file.bootstrapFirst(store);
    try {
      const feed = new ReplicaFeed(store, this.name, env, () => file.point);
      feed.listNext();
      for await (const fetched of feed.objectsAfter(file.point.txid, signal)) {
        await file.apply(fetched);
        file.checkpointIfDue();
      }
    } catch (error) {
      if (!(error instanceof DivergedError)) throw error;
      file.abort();
      await file.bootstrapAgain(store, error.message);
    }
  }

  #judgeBucket(error: unknown): void {
    this.#file?.abort();
    this.#trouble.failed(error);
    this.#failure = `the bucket: ${errorMessage(error)}`;
    const isOfFile = hasCode(error, "database") || !(error instanceof WalrustError);
    if (isOfFile && isFatal(error)) this.#release();
  }

  #recovered(): void {
    this.#failure = null;
    this.#trouble.recovered();
  }

  #release(): void {
    try {
      this.#file?.close();
    } finally {
      this.#file = null;
      this.#place?.release();
      this.#place = null;
    }
  }

  #emitFollowing(file: ReplicaFile): void {
    const { txid, timeMs, pageSizeBytes, pageCount } = file.point!;
    this.context.emit(this.name, { event: "following", txid, timeMs, bytes: pageSizeBytes * pageCount });
  }
}

function refusal(refused: PushRefusal, message: string): PushOutcome {
  return { refused, message };
}

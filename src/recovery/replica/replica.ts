/**
 * A read replica: a local SQLite file that follows a database in a bucket, transaction by transaction, while
 * other processes read it.
 *
 * Every object passes the checks of a restore before its commit. An object that fails is not applied: the
 * replica stays at its last good state, and tries again at the next poll.
 *
 * The state file with the next point is durable before the transaction commits, so the replica survives a
 * SIGKILL at any moment. At the start the checksum of the whole content tells which of the two points the
 * database has. A database at neither point is not our replica, and stays untouched.
 */
import { existsSync } from "node:fs";
import type { Env } from "../../env.ts";
import { hasCode, WalrustError } from "../../errors.ts";
import type { Txid } from "../../format/types.ts";
import { decodeMetadata } from "../../storage/contract/object-metadata.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import type { IntegrityChecker } from "../integrity/integrity-child.ts";
import { chainLinkFindings } from "../object/object-links.ts";
import type { FetchedObject } from "../object/object-source.ts";
import { applyObject, type PathState, startOfPath } from "../restore/apply-object.ts";
import { resolvePlace, TargetFolder } from "../restore/target-folder.ts";
import {
  type BootstrapContext,
  obstacleOrNull,
  type RestoredReplica,
  removeCompanions,
  restoreBeside,
  restoreNewest,
  stageDifference,
  trySwap,
} from "./replica-bootstrap.ts";
import { ReplicaDatabase } from "./replica-database.ts";
import { ReplicaFeed } from "./replica-feed.ts";
import { sweepLeftovers, takeReplicaLock } from "./replica-lock.ts";
import { DivergedError } from "./replica-plan.ts";
import { type ReplicaPoint, readReplicaState, replicaStatePath, writeReplicaState } from "./replica-state.ts";

/** The database to follow. */
export interface ReplicateRequest {
  /** The name of the database below the store's root. */
  readonly name: string;
  /** The URL of the source, which the state file records. */
  readonly source: string;
  readonly localPath: string;
  readonly intervalMs: number;
  /** Apply the present objects and end. */
  readonly isOnce: boolean;
}

/** An event of a replica. */
export type ReplicaEvent =
  /** The replica is open at this point, and serves reads from now on. */
  | { readonly event: "following"; readonly txid: number; readonly timeMs: number; readonly bytes: number }
  | {
      readonly event: "bootstrapped";
      readonly txid: number;
      readonly timeMs: number;
      readonly bytes: number;
      readonly objects: number;
      /** The reason of the bootstrap; null the first time. */
      readonly reason: string | null;
    }
  | {
      readonly event: "applied";
      readonly txid: number;
      readonly fromTxid: number;
      readonly timeMs: number;
      readonly key: string;
      readonly bytes: number;
    }
  /** Objects wait until nobody has the replica open. */
  | { readonly event: "waiting"; readonly txid: number; readonly reason: string }
  | { readonly event: "failed"; readonly txid: number; readonly code: string; readonly message: string }
  | { readonly event: "current"; readonly txid: number; readonly timeMs: number };

/** The surroundings of a replica. */
export interface ReplicateContext {
  readonly store: ObjectStore;
  readonly env: Env;
  readonly signal: AbortSignal;
  readonly emit: (event: ReplicaEvent) => void;
  /** Checks the file of a bootstrap; in this process by default. */
  readonly checker?: IntegrityChecker | undefined;
  /** Reports the progress of a bootstrap, which ends with the next event. */
  readonly onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
}

/** Failures that no later poll can repair. */
const FATAL_CODES = ["database", "not-wal", "locked", "usage", "config", "internal"] as const;

/**
 * Follows the source until the signal aborts, or once.
 * @throws WalrustError "database" when the local file is not a replica of this source; with `isOnce` every
 * error that keeps the replica from the newest state
 */
export async function replicate(request: ReplicateRequest, context: ReplicateContext): Promise<void> {
  // With all links resolved: SQLite names -wal and -shm after it.
  const folder = TargetFolder.open(resolvePlace(request.localPath).path);
  try {
    await follow({ ...request, localPath: folder.path }, folder.at(folder.name), context);
  } finally {
    folder.close();
  }
}

/** @param heldPath the path of the replica below its open folder */
async function follow(request: ReplicateRequest, heldPath: string, context: ReplicateContext): Promise<void> {
  const unlock = takeReplicaLock(request.localPath, heldPath);
  try {
    sweepLeftovers(heldPath);
    const replica = new Replica(request, heldPath, context);
    try {
      await replica.start();
      await replica.run();
      replica.settle();
    } catch (error) {
      if (!context.signal.aborted || hasCode(error, "database")) throw error;
    } finally {
      replica.close();
    }
  } finally {
    unlock();
  }
}

class Replica {
  readonly #request: ReplicateRequest;
  readonly #heldPath: string;
  readonly #context: ReplicateContext;
  readonly #bootstrap: BootstrapContext;
  readonly #feed: ReplicaFeed;
  #database: ReplicaDatabase | null = null;
  #point: ReplicaPoint | null = null;
  /** A newer state that waits until nobody has the replica open. */
  #waiting: { readonly restored: RestoredReplica; readonly reason: string } | null = null;

  constructor(request: ReplicateRequest, heldPath: string, context: ReplicateContext) {
    const { store, env, signal, checker, onProgress } = context;
    this.#request = request;
    this.#heldPath = heldPath;
    this.#context = context;
    this.#bootstrap = { store, name: request.name, env, signal, checker, onProgress };
    this.#feed = new ReplicaFeed(store, request.name, env, () => this.#point);
  }

  /** Opens the existing replica, or bootstraps a new one. */
  async start(): Promise<void> {
    const { localPath } = this.#request;
    const candidates = this.#candidates();
    if (existsSync(localPath)) {
      this.#open(candidates);
    } else {
      await this.#bootstrapFirst(candidates !== null);
    }
    const { txid, timeMs, pageSizeBytes, pageCount } = this.#point!;
    this.#context.emit({ event: "following", txid, timeMs, bytes: pageSizeBytes * pageCount });
  }

  async run(): Promise<void> {
    const { isOnce, intervalMs } = this.#request;
    const { env, signal } = this.#context;
    while (!signal.aborted) {
      // No later poll finds an object whose key this one cannot know.
      if (isOnce) this.#feed.listNext();
      await this.#poll();
      if (isOnce) return;
      await env.sleep(intervalMs, signal);
    }
  }

  /** Writes a state file that names one point only. */
  settle(): void {
    if (this.#point !== null) this.#writeState(this.#point, null);
  }

  close(): void {
    this.#database?.close();
    this.#database = null;
  }

  #writeState(current: ReplicaPoint | null, next: ReplicaPoint | null): void {
    const { localPath, source } = this.#request;
    writeReplicaState(localPath, { source, current, next }, this.#heldPath);
  }

  /** The points that the state file names; null without a state file. @throws WalrustError "database" */
  #candidates(): ReplicaPoint[] | null {
    const { localPath, source } = this.#request;
    const isThere = existsSync(localPath);
    const reading = readReplicaState(this.#heldPath);
    const statePath = replicaStatePath(localPath);
    if (reading.kind === "state" && reading.state.source === source) {
      const { current, next } = reading.state;
      return [next, current].filter((point) => point !== null);
    }
    const orphan = [localPath, `${localPath}-wal`, `${localPath}-journal`].find((path) => existsSync(path));
    if (orphan === undefined) return null;
    const reason =
      reading.kind === "none"
        ? `there is no ${statePath}`
        : reading.kind === "lost"
          ? `${statePath} cannot be used: ${reading.reason}`
          : `${statePath} says that it follows ${reading.state.source}`;
    throw notOurs(isThere ? localPath : orphan, source, reason);
  }

  #open(candidates: readonly ReplicaPoint[] | null): void {
    const { localPath, source } = this.#request;
    const database = ReplicaDatabase.open(localPath, this.#context.env);
    const { checksum, pageCount, pageSizeBytes } = database;
    const point = candidates?.find(
      (one) =>
        one.checksum === checksum && one.pageCount === pageCount && one.pageSizeBytes === pageSizeBytes,
    );
    if (point === undefined) {
      database.close();
      throw notOurs(
        localPath,
        source,
        "its content is not what was last applied; something else wrote to it",
      );
    }
    database.txid = point.txid;
    this.#database = database;
    this.#point = point;
  }

  async #bootstrapFirst(isOurs: boolean): Promise<void> {
    if (isOurs) removeCompanions(this.#heldPath);
    const beforePublish = (next: ReplicaPoint): void => this.#writeState(null, next);
    const { point, objectCount } = await restoreNewest(
      this.#request.localPath,
      this.#bootstrap,
      beforePublish,
    );
    this.#open([point]);
    this.#emitBootstrapped(point, objectCount, null);
  }

  /** Polls the source once, and applies everything new. */
  async #poll(): Promise<void> {
    const { signal, env, emit } = this.#context;
    try {
      if (this.#waiting !== null) this.#swapOrWait(this.#waiting.restored, this.#waiting.reason);
      else await this.#follow();
      this.#database?.checkpointIfDue();
    } catch (error) {
      this.#database?.abort();
      this.#feed.searchSoon();
      if (signal.aborted) return;
      const isFatal = !(error instanceof WalrustError) || FATAL_CODES.some((code) => code === error.code);
      if (this.#request.isOnce || (isFatal && !hasRetry(error))) throw error;
      const { code, message, hint } = error as WalrustError;
      env.log.warn(`not applied: ${message}`, { database: this.#request.name, hint });
      emit({ event: "failed", txid: this.#point!.txid, code, message });
    }
  }

  /** Applies everything that is new. */
  async #follow(): Promise<void> {
    const { signal, emit } = this.#context;
    let isCurrent = true;
    try {
      for await (const fetched of this.#feed.objectsAfter(this.#point!.txid, signal)) {
        await this.#apply(fetched);
        isCurrent = false;
        this.#database!.checkpointIfDue();
      }
    } catch (error) {
      if (!(error instanceof DivergedError)) throw error;
      this.#database!.abort();
      await this.#bootstrapAgain(error.message);
      isCurrent = false;
    }
    const { txid, timeMs } = this.#point!;
    if (isCurrent && this.#request.isOnce) emit({ event: "current", txid, timeMs });
  }

  /**
   * Applies one object with every check, then makes it durable: the state first, the transaction after it.
   */
  async #apply(fetched: FetchedObject): Promise<void> {
    const database = this.#database!;
    const from = this.#point!;
    const { object } = fetched;
    const isExact = object.minTxid === from.txid + 1;
    const before = { key: `the replica at TXID ${from.txid}`, chain: isExact ? from.chain : null };
    const metadata = decodeMetadata(object.key, fetched.metadata);
    const [broken] = chainLinkFindings(object, metadata, before);
    if (broken !== undefined) throw new DivergedError(broken.error.message);
    const path: PathState = { ...startOfPath(), txid: from.txid, chain: from.chain };
    await applyObject(fetched, database, path, () => {});
    const { nextTimeMs: timeMs, nextChecksum: checksum, nextPageCount: pageCount, pageSizeBytes } = database;
    const txid = path.txid as Txid;
    this.#commit({ txid, timeMs, checksum, chain: path.chain, pageSizeBytes, pageCount });
    const { key, sizeBytes: bytes } = object;
    this.#context.emit({ event: "applied", txid, fromTxid: from.txid, timeMs, key, bytes });
  }

  #commit(next: ReplicaPoint): void {
    this.#writeState(this.#point, next);
    this.#database!.commit();
    this.#database!.txid = next.txid;
    this.#point = next;
  }

  /** Bootstraps again, under connected readers if that is possible. */
  async #bootstrapAgain(reason: string): Promise<void> {
    const { env } = this.#context;
    const { localPath, name } = this.#request;
    env.log.warn(`bootstrapping from the newest state: ${reason}`, { database: name });
    const restored = await restoreBeside(localPath, this.#heldPath, this.#bootstrap);
    const obstacle = obstacleOrNull(this.#database!, restored);
    if (obstacle !== null) return this.#swapOrWait(restored, obstacle);
    stageDifference(this.#database!, restored);
    this.#commit(restored.point);
    sweepLeftovers(this.#heldPath);
    this.#emitBootstrapped(restored.point, restored.objectCount, reason);
  }

  /** Replaces the file if nobody has it open, or keeps the newer state for the next poll. */
  #swapOrWait(restored: RestoredReplica, reason: string): void {
    const { localPath, isOnce, name } = this.#request;
    const { env, emit } = this.#context;
    const current = this.#point!;
    let isSwapped = false;
    if (!this.#database!.hasReaders()) {
      this.close();
      const { point: next } = restored;
      const beforePublish = (): void => this.#writeState(current, next);
      isSwapped = trySwap(localPath, this.#heldPath, restored, beforePublish);
      this.#open(isSwapped ? [next] : [current]);
    }
    if (isSwapped) {
      this.#waiting = null;
      return this.#emitBootstrapped(restored.point, restored.objectCount, reason);
    }
    const message = `Cannot continue under connected readers: of the source, ${reason}`;
    const hint = "Close all connections to the replica once";
    if (isOnce) throw new WalrustError("database-busy", message, { hint });
    if (this.#waiting !== null) return;
    this.#waiting = { restored, reason };
    env.log.warn(message, { database: name, hint });
    emit({ event: "waiting", txid: current.txid, reason });
  }

  #emitBootstrapped(point: ReplicaPoint, objects: number, reason: string | null): void {
    const { txid, timeMs, pageSizeBytes, pageCount } = point;
    const bytes = pageSizeBytes * pageCount;
    this.#context.emit({ event: "bootstrapped", txid, timeMs, bytes, objects, reason });
  }
}

function hasRetry(error: unknown): boolean {
  return error instanceof WalrustError && error.retryable;
}

function notOurs(path: string, source: string, reason: string): WalrustError {
  return new WalrustError("database", `${path} is not a replica of ${source}: ${reason}`, {
    hint: "Give another --local, or delete the file, its -wal, -shm and -replica-state to begin anew",
    context: { path },
  });
}

/**
 * The file of one replica, its state file, and the newer state that may wait for its place. The objects
 * come from a bucket (replica.ts) or are pushed (recovery/serve).
 *
 * Every object passes the checks of a restore before its commit. An object that fails is not applied: the
 * replica stays at its last good state.
 *
 * The state file with the next point is durable before the transaction commits, so the replica survives a
 * SIGKILL at any moment. At the start the checksum of the whole content tells which of the two points the
 * database has. A database at neither point is not our replica, and stays untouched.
 */
import { existsSync } from "node:fs";
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import type { LtxHeader } from "../../format/ltx.ts";
import { NO_CHECKSUM, type Txid } from "../../format/types.ts";
import { decodeMetadata } from "../../storage/contract/object-metadata.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import type { IntegrityChecker } from "../integrity/integrity-child.ts";
import type { PageReceiver } from "../object/check-object.ts";
import { chainLinkFindings } from "../object/object-links.ts";
import type { FetchedObject } from "../object/object-source.ts";
import { applyObject, type PathState, startOfPath } from "../restore/apply-object.ts";
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
import { sweepLeftovers } from "./replica-lock.ts";
import { DivergedError } from "./replica-plan.ts";
import {
  advanceReplicaState,
  type ReplicaPoint,
  readReplicaState,
  replicaStatePath,
  writeReplicaState,
} from "./replica-state.ts";

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

/** The replica, and where it lies. */
export interface ReplicaIdentity {
  /** The name of the database. */
  readonly name: string;
  /** The source that the state file records. */
  readonly source: string;
  /** The path of the file, with all links resolved. */
  readonly localPath: string;
  /** The same path below its open folder. */
  readonly heldPath: string;
  /** Fail instead of waiting for readers that a newer state cannot be shown to. */
  readonly isOnce?: boolean;
}

/** The surroundings of a replica's file. */
export interface ReplicaFileContext {
  readonly env: Env;
  readonly signal: AbortSignal;
  readonly emit: (event: ReplicaEvent) => void;
  /** Checks the file of a bootstrap; in this process by default. */
  readonly checker?: IntegrityChecker | undefined;
  /** Reports the progress of a bootstrap, which ends with the next event. */
  readonly onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
}

/**
 * The proof that an object continues the replica. A chain value proves the whole history. A database checksum
 * proves the content alone: for objects whose chain value changed after the replica got the ones before.
 */
export type Continuation = "chain" | "chain-or-checksum";

/** The file of a replica. The caller holds its place (replica-lock.ts). */
export class ReplicaFile {
  #database: ReplicaDatabase | null = null;
  #point: ReplicaPoint | null = null;
  #hasState = false;
  /**
   * Whether the state may be written in place. The first commit after an open replaces the file: the folder,
   * with the name of a new -wal, is then durable. So does the commit after a failed write, which may have
   * left a slot that the disk does not hold.
   */
  #mayAdvance = false;
  /** A newer state that waits until nobody has the replica open. */
  #waiting: { readonly restored: RestoredReplica; readonly reason: string } | null = null;

  constructor(
    readonly identity: ReplicaIdentity,
    readonly context: ReplicaFileContext,
  ) {}

  /** The point of the open replica, or null. */
  get point(): ReplicaPoint | null {
    return this.#point;
  }

  /** Why a newer state waits until nobody has the replica open; null when none waits. */
  get waitingReason(): string | null {
    return this.#waiting?.reason ?? null;
  }

  /** Opens the existing file. @returns false when there is none @throws WalrustError "database" */
  openExisting(): boolean {
    const candidates = this.#candidates();
    this.#hasState = candidates !== null;
    if (!existsSync(this.identity.localPath)) return false;
    this.#open(candidates);
    return true;
  }

  /** Writes a state file that names one point only. */
  settle(): void {
    if (this.#point !== null) this.#writeState(this.#point, null);
  }

  close(): void {
    this.#database?.close();
    this.#database = null;
  }

  /** Abandons what a failed object has left. */
  abort(): void {
    this.#database?.abort();
  }

  /** Checkpoints a long WAL, without blocking anybody. */
  checkpointIfDue(): void {
    this.#database?.checkpointIfDue();
  }

  #writeState(current: ReplicaPoint | null, next: ReplicaPoint | null): void {
    const { localPath, heldPath, source } = this.identity;
    writeReplicaState(localPath, { source, current, next }, heldPath);
  }

  #bootstrapFrom(store: ObjectStore): BootstrapContext {
    const { env, signal, checker, onProgress } = this.context;
    return { store, name: this.identity.name, env, signal, checker, onProgress };
  }

  /** The points that the state file names; null without a state file. @throws WalrustError "database" */
  #candidates(): ReplicaPoint[] | null {
    const { localPath, source } = this.identity;
    const isThere = existsSync(localPath);
    const reading = readReplicaState(this.identity.heldPath);
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
    const { localPath, source } = this.identity;
    const database = ReplicaDatabase.open(localPath, this.context.env);
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
    this.#mayAdvance = false;
  }

  /** Makes the first file from the newest state of a store. */
  async bootstrapFirst(store: ObjectStore): Promise<void> {
    if (this.#hasState) removeCompanions(this.identity.heldPath);
    const beforePublish = (next: ReplicaPoint): void => this.#writeState(null, next);
    const { point, objectCount } = await restoreNewest(
      this.identity.localPath,
      this.#bootstrapFrom(store),
      beforePublish,
    );
    this.#open([point]);
    this.#emitBootstrapped(point, objectCount, null);
  }

  /**
   * Applies one object with every check, then makes it durable: the state first, the transaction after it.
   */
  async apply(fetched: FetchedObject, by: Continuation = "chain"): Promise<void> {
    const database = this.#database!;
    const from = this.#point!;
    const { object } = fetched;
    const isExact = object.minTxid === from.txid + 1;
    const before = { key: `the replica at TXID ${from.txid}`, chain: isExact ? from.chain : null };
    const metadata = decodeMetadata(object.key, fetched.metadata);
    const [broken] = chainLinkFindings(object, metadata, before);
    if (broken !== undefined && by === "chain") throw new DivergedError(broken.error.message);
    const chain = broken === undefined ? from.chain : null;
    const path: PathState = { ...startOfPath(), txid: from.txid, chain };
    const receiver = broken === undefined ? database : needingChecksum(database, broken.error.message);
    await applyObject(fetched, receiver, path, () => {});
    const { nextTimeMs: timeMs, nextChecksum: checksum, nextPageCount: pageCount, pageSizeBytes } = database;
    const txid = path.txid as Txid;
    this.#commit({ txid, timeMs, checksum, chain: path.chain, pageSizeBytes, pageCount });
    const { key, sizeBytes: bytes } = object;
    this.context.emit({ event: "applied", txid, fromTxid: from.txid, timeMs, key, bytes });
  }

  #commit(next: ReplicaPoint): void {
    const { localPath, heldPath, source } = this.identity;
    const write = this.#mayAdvance ? advanceReplicaState : writeReplicaState;
    this.#mayAdvance = false;
    write(localPath, { source, current: this.#point, next }, heldPath);
    this.#mayAdvance = true;
    this.#database!.commit();
    this.#database!.txid = next.txid;
    this.#point = next;
  }

  /** Bootstraps again, under connected readers if that is possible. */
  async bootstrapAgain(store: ObjectStore, reason: string): Promise<void> {
    const { env } = this.context;
    const { localPath, name } = this.identity;
    env.log.warn(`bootstrapping from the newest state: ${reason}`, { database: name });
    const restored = await restoreBeside(localPath, this.identity.heldPath, this.#bootstrapFrom(store));
    const obstacle = obstacleOrNull(this.#database!, restored);
    if (obstacle !== null) return this.#swapOrWait(restored, obstacle);
    stageDifference(this.#database!, restored);
    this.#commit(restored.point);
    sweepLeftovers(this.identity.heldPath);
    this.#emitBootstrapped(restored.point, restored.objectCount, reason);
  }

  /** Tries again to give a waiting state its place. */
  swapIfWaiting(): void {
    if (this.#waiting !== null) this.#swapOrWait(this.#waiting.restored, this.#waiting.reason);
  }

  /** Replaces the file if nobody has it open, or keeps the newer state for the next poll. */
  #swapOrWait(restored: RestoredReplica, reason: string): void {
    const { localPath, isOnce, name } = this.identity;
    const { env, emit } = this.context;
    const current = this.#point!;
    let isSwapped = false;
    if (!this.#database!.hasReaders()) {
      this.close();
      const { point: next } = restored;
      const beforePublish = (): void => this.#writeState(current, next);
      isSwapped = trySwap(localPath, this.identity.heldPath, restored, beforePublish);
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
    this.context.emit({ event: "bootstrapped", txid, timeMs, bytes, objects, reason });
  }
}

/** Refuses an object without a database checksum, which has to prove what its chain value contradicts. */
function needingChecksum(database: ReplicaDatabase, contradiction: string): PageReceiver {
  return {
    begin: (key: string, header: LtxHeader, objectBytes: number) => {
      if (header.preApplyChecksum === NO_CHECKSUM) throw new DivergedError(contradiction);
      database.begin(key, header, objectBytes);
    },
    page: (pgno, data) => database.page(pgno, data),
    end: (key, trailer) => database.end(key, trailer),
  };
}

function notOurs(path: string, source: string, reason: string): WalrustError {
  return new WalrustError("database", `${path} is not a replica of ${source}: ${reason}`, {
    hint: "Give another --local, or delete the file, its -wal, -shm and -replica-state to begin anew",
    context: { path },
  });
}

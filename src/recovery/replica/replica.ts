/**
 * A read replica: a local SQLite file that follows a database in a bucket, transaction by transaction, while
 * other processes read it. An object that fails its checks is tried again at the next poll.
 */
import { hasCode, WalrustError } from "../../errors.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { ReplicaFeed } from "./replica-feed.ts";
import { ReplicaFile, type ReplicaFileContext } from "./replica-file.ts";
import { holdReplicaPlace } from "./replica-lock.ts";
import { DivergedError } from "./replica-plan.ts";

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

/** The surroundings of a replica. */
export interface ReplicateContext extends ReplicaFileContext {
  readonly store: ObjectStore;
}

/** Whether no later attempt can repair a failure. */
export function isFatal(error: unknown): boolean {
  if (!(error instanceof WalrustError)) return true;
  return FATAL_CODES.some((code) => code === error.code) && !error.retryable;
}

/** Failures that no later poll can repair. */
const FATAL_CODES = ["database", "not-wal", "locked", "usage", "config", "internal"] as const;

/**
 * Follows the source until the signal aborts, or once.
 * @throws WalrustError "database" when the local file is not a replica of this source; with `isOnce` every
 * error that keeps the replica from the newest state
 */
export async function replicate(request: ReplicateRequest, context: ReplicateContext): Promise<void> {
  const place = holdReplicaPlace(request.localPath);
  try {
    const replica = new Replica({ ...request, ...place }, context);
    try {
      await replica.start();
      await replica.run();
      replica.file.settle();
    } catch (error) {
      if (!context.signal.aborted || hasCode(error, "database")) throw error;
    } finally {
      replica.file.close();
    }
  } finally {
    place.release();
  }
}

class Replica {
  readonly file: ReplicaFile;
  readonly #request: ReplicateRequest;
  readonly #context: ReplicateContext;
  readonly #feed: ReplicaFeed;

  constructor(request: ReplicateRequest & { readonly heldPath: string }, context: ReplicateContext) {
    const { store, env } = context;
    this.#request = request;
    this.#context = context;
    this.file = new ReplicaFile(request, context);
    this.#feed = new ReplicaFeed(store, request.name, env, () => this.file.point);
  }

  /** Opens the existing replica, or bootstraps a new one. */
  async start(): Promise<void> {
    const { store, emit } = this.#context;
    if (!this.file.openExisting()) await this.file.bootstrapFirst(store);
    const { txid, timeMs, pageSizeBytes, pageCount } = this.file.point!;
    emit({ event: "following", txid, timeMs, bytes: pageSizeBytes * pageCount });
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

  /** Polls the source once, and applies everything new. */
  async #poll(): Promise<void> {
    const { signal, env, emit } = this.#context;
    try {
      if (this.file.waitingReason !== null) this.file.swapIfWaiting();
      else await this.#follow();
      this.file.checkpointIfDue();
    } catch (error) {
      this.file.abort();
      this.#feed.searchSoon();
      if (signal.aborted) return;
      if (this.#request.isOnce || isFatal(error)) throw error;
      const { code, message, hint } = error as WalrustError;
      env.log.warn(`not applied: ${message}`, { database: this.#request.name, hint });
      emit({ event: "failed", txid: this.file.point!.txid, code, message });
    }
  }

  /** Applies everything that is new. */
  async #follow(): Promise<void> {
    const { signal, emit, store } = this.#context;
    let isCurrent = true;
    try {
      for await (const fetched of this.#feed.objectsAfter(this.file.point!.txid, signal)) {
        await this.file.apply(fetched);
        isCurrent = false;
        this.file.checkpointIfDue();
      }
    } catch (error) {
      if (!(error instanceof DivergedError)) throw error;
      this.file.abort();
      await this.file.bootstrapAgain(store, error.message);
      isCurrent = false;
    }
    const { txid, timeMs } = this.file.point!;
    if (isCurrent && this.#request.isOnce) emit({ event: "current", txid, timeMs });
  }
}

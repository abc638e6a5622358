/**
 * Answers `walrust sync`: waits until everything that was committed when the request came is in the bucket.
 *
 * A database is synced if and only if
 *  1. a capture that began after the request found the pinned files in place and shared with all users, and
 *     captured every commit that the wal-index, or without locks the WAL, showed (`WholeCapture`),
 *  2. no anchor has followed that capture, which could continue another history: then a new one is requested,
 *  3. the store has acknowledged every link up to the TXID of that capture,
 *  4. no job, anchor or adoption is about to change the history at this moment,
 *  5. no commits are in a -wal that walrust cannot read: a deleted one, or one of another name of the file,
 *  6. a listing after the last upload shows that objects lead to that TXID (`bucket-proof.ts`): somebody may
 *     have deleted what the store had acknowledged.
 *
 * The capture waits neither for `wal_sync_interval` nor for a snapshot. Waits after failures, and a
 * suspension of requests, end once for each request, so that a store that is back is found at once.
 */
import type { Env } from "../../env.ts";
import { EXIT_CODES, WalrustError } from "../../errors.ts";
import type { WholeCapture } from "../capture/wal-poller.ts";
import { BucketProofs, type ProofState, type ProvableDatabase, type Prover } from "./bucket-proof.ts";
import type { RequestedDatabase, RequestFacts } from "./requests.ts";

const POLL_INTERVAL_MS = 20;

/** The outcome for one database. */
export interface SyncedDatabase {
  readonly name: string;
  /** Real path of the file. */
  readonly path: string;
  /** `behind`: not in time; `stopped`: the database is not replicated. */
  readonly outcome: "synced" | "behind" | "stopped";
  /** The newest TXID in the bucket; once synced, at least the one that holds everything. */
  readonly uploadedTxid: number;
  /** Captured files that wait, and their bytes. */
  readonly pendingCount: number;
  readonly pendingBytes: number;
  readonly durationMs: number;
  /** The acknowledged objects that the bucket lacked, as a clause; a new snapshot replaces them. Or null. */
  readonly missing: string | null;
  /** Why it is not synced, with the remedy; null once synced. */
  readonly problem: { readonly code: string; readonly message: string; readonly hint: string | null } | null;
}

/** A database that can be synced. */
export type SyncableDatabase = Pick<RequestedDatabase, "target" | "circuit" | "requestFacts"> &
  ProvableDatabase;

/**
 * Syncs databases beside each other.
 * @returns the outcome of each, in their order, at the latest after `timeoutMs`
 */
export async function answerSync(
  databases: readonly SyncableDatabase[],
  timeoutMs: number,
  env: Pick<Env, "monotonicMs" | "sleep">,
): Promise<SyncedDatabase[]> {
  const startMs = env.monotonicMs();
  const ending = new AbortController();
  const prover = new BucketProofs(env, ending.signal);
  const waits = databases.map((database) => new SyncWait(database, prover));
  try {
    for (;;) {
      const passedMs = env.monotonicMs() - startMs;
      const isTimeOver = passedMs >= timeoutMs;
      let isAnyOpen = false;
      for (const wait of waits) isAnyOpen = !wait.step(passedMs, isTimeOver) || isAnyOpen;
      if (!isAnyOpen) return waits.map(({ result }) => result!);
      // At least 1 ms: a clock in floating point does not move by the rest of a subtraction.
      await env.sleep(Math.max(1, Math.min(POLL_INTERVAL_MS, timeoutMs - passedMs)));
    }
  } finally {
    ending.abort();
  }
}

/** The wait for one database. */
export class SyncWait {
  #result: SyncedDatabase | null = null;
  /** The last whole capture when the request came: only a later one counts. */
  #before: WholeCapture | null;
  #whole: WholeCapture | null = null;
  /** Begins when everything is uploaded. */
  #proof: ReturnType<Prover["of"]> | null = null;
  #missing: string | null = null;

  constructor(
    readonly database: SyncableDatabase,
    readonly prover: Prover,
  ) {
    this.#before = database.requestFacts.whole;
    database.poller.request();
    database.circuit.lift();
  }

  /** The outcome, or null while it is open. */
  get result(): SyncedDatabase | null {
    return this.#result;
  }

  /** The failure of the last listing of the bucket, or null. */
  get listingFailure(): WalrustError | null {
    return this.#proof?.failure ?? null;
  }

  /** Compares the state of the database with what it waits for. @returns whether there is a result */
  step(passedMs: number, isTimeOver: boolean): boolean {
    if (this.#result !== null) return true;
    const facts = this.database.requestFacts;
    const problem = stopOrNull(facts);
    const state = problem === null && this.#isUploaded(facts) ? this.#prove() : "open";
    if (problem !== null) this.#end("stopped", facts, passedMs, problem);
    else if (state === "proven") this.#end("synced", facts, passedMs, null);
    else if (state === "vain") this.#end("behind", facts, passedMs, this.#delay(facts));
    else if (isTimeOver) {
      const isDatabaseAtFault =
        facts.failure !== null && EXIT_CODES[facts.failure.code] === EXIT_CODES.database;
      this.#end(isDatabaseAtFault ? "stopped" : "behind", facts, passedMs, this.#delay(facts));
    }
    return this.#result !== null;
  }

  #isUploaded(facts: RequestFacts): boolean {
    const { whole, generation, isSettled, uploadedTxid } = facts;
    if (this.#whole !== null && this.#whole.generation !== generation) {
      this.#whole = null;
      this.#proof = null;
      this.#before = whole;
    }
    const isNew = whole !== null && whole !== this.#before && whole.generation === generation;
    if (this.#whole === null && isNew) this.#whole = whole;
    if (this.#whole === null) this.database.poller.request();
    return this.#whole !== null && isSettled && uploadedTxid >= this.#whole.txid;
  }

  #prove(): ProofState {
    this.#proof ??= this.prover.of(this.database);
    const state = this.#proof.poll();
    this.#missing = this.#proof.missing ?? this.#missing;
    return state;
  }

  #end(
    outcome: SyncedDatabase["outcome"],
    { uploadedTxid, pending }: RequestFacts,
    passedMs: number,
    problem: WalrustError | null,
  ): void {
    const { name, path } = this.database.target;
    const files = pending ?? [];
    this.#result = {
      name,
      path,
      outcome,
      uploadedTxid,
      pendingCount: files.length,
      pendingBytes: files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      durationMs: Math.round(passedMs),
      missing: this.#missing,
      problem: problem && { code: problem.code, message: problem.message, hint: problem.hint ?? null },
    };
  }

  /** Why the time was not enough. */
  #delay({ failure, isSpoolFull, isSuspended, isAttached }: RequestFacts): WalrustError {
    if (failure !== null) return failure;
    if (isSpoolFull) {
      return new WalrustError("storage", "Captures are paused: the captured files have reached their limit", {
        hint: "Free the way to the store, or raise cache.max_size: captures continue by themselves",
      });
    }
    if (isSuspended) return new WalrustError("storage", "Requests to the store are suspended after failures");
    if (!isAttached) return new WalrustError("database-busy", "The database is not attached yet");
    if (this.#proof !== null) return this.#proof.delay();
    const what = this.#whole === null ? "captured" : "uploaded";
    return new WalrustError("storage", `The last commits are not ${what} yet`, {
      hint: "The watch goes on; give it more time with --timeout",
    });
  }
}

function stopOrNull(facts: RequestFacts): WalrustError | null {
  const { givenUp, refused, hidden, isClosing, isLeaving } = facts;
  if (givenUp !== null || refused !== null) return givenUp ?? refused;
  if (hidden !== null) {
    const { message, hint } = hidden;
    return new WalrustError("database", message, hint === undefined ? {} : { hint });
  }
  if (!isClosing && !isLeaving) return null;
  return new WalrustError("database", "The watch ends, or the database leaves it", {
    hint: "A watch that ends takes a last capture and uploads it",
  });
}

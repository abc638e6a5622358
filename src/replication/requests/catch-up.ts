/**
 * Waits until everything that the databases of a watch have committed so far is in the bucket, or until it is
 * clear for each of the others that this will not happen soon: replication is given up, or a failure lasts
 * (request-wait.ts). `sync-request.ts` states when a database is caught up. The watch goes on meanwhile.
 *
 * `watch --once` ends with this wait, so it lists the bucket, and repairs it, as a sync does. The last sync
 * of `--exec` and of a stop is the drain, which uploads and lists nothing: its time is short, and the next
 * start lists the bucket.
 */
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import { BucketProofs, type Prover } from "./bucket-proof.ts";
import { RequestWait } from "./request-wait.ts";
import { obstacleOrNull } from "./requests.ts";
import { type SyncableDatabase, SyncWait } from "./sync-request.ts";

const POLL_INTERVAL_MS = 20;

/** A database that is not caught up, and why. */
export interface LaggingDatabase {
  readonly database: string;
  readonly error: WalrustError;
}

/**
 * Waits for all of them.
 * @param until ends the wait
 * @returns the databases that could not be caught up
 */
export async function catchUp(
  databases: readonly SyncableDatabase[],
  env: Pick<Env, "monotonicMs" | "sleep">,
  until: AbortSignal,
  prover: Prover = new BucketProofs(env, until),
): Promise<readonly LaggingDatabase[]> {
  const lagging: LaggingDatabase[] = [];
  let waits = databases.map((database) => new CatchUpWait(database, prover));
  while (waits.length > 0 && !until.aborted) {
    const nowMs = env.monotonicMs();
    const outcomes = waits.map((wait) => wait.poll(nowMs));
    for (const [index, outcome] of outcomes.entries()) {
      if (typeof outcome === "string") continue;
      lagging.push({ database: waits[index]!.database.target.name, error: outcome });
    }
    waits = waits.filter((_, index) => outcomes[index] === "waiting");
    if (waits.length > 0) await env.sleep(POLL_INTERVAL_MS, until);
  }
  return lagging;
}

/** The wait for one database. */
class CatchUpWait {
  readonly #sync: SyncWait;
  readonly #obstacles = new RequestWait();

  constructor(
    readonly database: SyncableDatabase,
    prover: Prover,
  ) {
    this.#sync = new SyncWait(database, prover);
  }

  /** @returns the failure that ends the wait, if there is one */
  poll(nowMs: number): "waiting" | "done" | WalrustError {
    const { requestFacts: facts } = this.database;
    const isOver = this.#sync.step(0, false);
    const { outcome, problem } = this.#sync.result ?? {};
    if (outcome === "synced") return "done";
    if (isOver) {
      const { code = "database", message = "the watch ends" } = problem ?? {};
      return facts.givenUp ?? facts.refused ?? new WalrustError(code as "database", message);
    }
    const obstacle = obstacleOrNull(facts, (facts.pending?.length ?? 0) > 0);
    const failure = obstacle?.failure ?? this.#sync.listingFailure;
    return (obstacle && this.#obstacles.poll({ ...obstacle, failure }, nowMs)) ?? "waiting";
  }
}

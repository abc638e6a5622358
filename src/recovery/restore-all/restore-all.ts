/**
 * Restores every database of a destination below one folder, a few at a time.
 *
 * Guarantees:
 * 1. Each database has exactly one row in the result, in the order of the names.
 * 2. A failure of one database stops no other. Only a store that no database can be read from ends the run:
 *    the databases that are left fail with the same error, and none is skipped in silence.
 * 3. A file that is proven to be the restored database (restored-proof.ts) is not written again, so a run
 *    that was interrupted continues where it was. Any other file stays, unless `force` is given.
 * 4. A relative point in time is fixed once, so that all databases are restored to the same time.
 */
import { lstatSync } from "node:fs";
import { sep } from "node:path";
import { RecentDeletedUsers } from "../../database/deleted-users.ts";
import { asWalrustError, EXIT_CODES, WalrustError } from "../../errors.ts";
import { concernsOneDatabase } from "../../storage/bucket/error-scope.ts";
import { fixedPoint } from "../plan/restore-point.ts";
import type { RestoreContext } from "../restore/prepare-restore.ts";
import { type RestoreRequest, type RestoreResult, restore } from "../restore/restore-database.ts";
import { resolvePlace } from "../restore/target-folder.ts";
import { listVerifiable } from "../verify/verifiable-databases.ts";
import { namesBelow, planTargets, type RestoreTarget } from "./restore-targets.ts";
import { proveRestored } from "./restored-proof.ts";

/** The databases to restore, and how. */
export interface RestoreAllRequest {
  /** The folder. */
  readonly into: string;
  /** Only this name and the names below it, or null for all. */
  readonly prefix: string | null;
  /** How many databases are restored at a time. */
  readonly jobs: number;
  /** The restore of each. */
  readonly how: Omit<RestoreRequest, "name" | "outputPath">;
}

/** The outcome of one database. */
export type RestoreAllRow =
  | { readonly kind: "restored" | "planned"; readonly name: string; readonly result: RestoreResult }
  | {
      readonly kind: "unchanged";
      readonly name: string;
      readonly path: string;
      readonly txid: number;
      readonly timeMs: number;
      readonly bytes: number;
    }
  | { readonly kind: "failed"; readonly name: string; readonly path: string; readonly error: WalrustError };

/** Receives the progress of a run. */
export interface RestoreAllObserver {
  /** The number of databases, before the first is restored. */
  readonly onStart?: (databaseCount: number) => void;
  /** Bytes of objects that were read for one database, of all that its plan needs. */
  readonly onRead?: (name: string, doneBytes: number, totalBytes: number) => void;
  /** Each row when it is complete, in the order of completion. */
  readonly onRow?: (row: RestoreAllRow) => void;
}

/**
 * Restores all databases.
 * @returns a row for each database, sorted by name; empty when nothing is stored
 * @throws WalrustError code "usage" when `into` is no folder, or a storage code when the destination cannot
 * be listed; the reason of the signal when it aborts
 */
export async function restoreAll(
  request: RestoreAllRequest,
  context: Omit<RestoreContext, "onProgress">,
  observer: RestoreAllObserver = {},
): Promise<RestoreAllRow[]> {
  const { store, env, signal } = context;
  const into = resolvePlace(request.into).path;
  assertFolder(into);
  const how = { ...request.how, point: fixedPoint(request.how.point, env.nowMs()) };
  const listed = await listVerifiable(store, signal);
  for (const { name, isStranger } of listed) {
    if (isStranger) env.log.warn(`${name} is neither a file nor a folder: it is passed over`);
  }
  const known = listed.filter(({ isStranger }) => isStranger !== true);
  const problems = new Map(known.map(({ name, problem }) => [name, problem]));
  const targets = planTargets(namesBelow([...problems.keys()], request.prefix), into);
  observer.onStart?.(targets.length);
  const shared = { ...context, deletedUsers: new RecentDeletedUsers(env) };
  const run = new RestoreAllRun({ ...request, into, how }, shared, observer);
  const rows: RestoreAllRow[] = [];
  let [next, completed] = [0, 0];
  const work = async (): Promise<void> => {
    const isStopped = (): boolean => signal?.aborted === true;
    while (next < targets.length && !isStopped()) {
      const index = next++;
      const target = targets[index]!;
      const row = await run.restoreOne(target, problems.get(target.name) ?? null);
      if (isStopped() && row.kind === "failed") return;
      rows[index] = row;
      completed++;
      observer.onRow?.(row);
    }
  };
  await Promise.all(Array.from({ length: Math.min(request.jobs, targets.length) }, work));
  if (completed < targets.length) signal?.throwIfAborted();
  return rows;
}

/** One run: the request, and the error that no further database can be restored past. */
class RestoreAllRun {
  readonly #request: RestoreAllRequest;
  readonly #context: Omit<RestoreContext, "onProgress">;
  readonly #observer: RestoreAllObserver;
  readonly #places = new Set<string>();
  #stopped: WalrustError | null = null;

  constructor(
    request: RestoreAllRequest,
    context: Omit<RestoreContext, "onProgress">,
    observer: RestoreAllObserver,
  ) {
    this.#request = request;
    this.#context = context;
    this.#observer = observer;
  }

  /** Restores one database. Never throws. */
  async restoreOne(target: RestoreTarget, listingProblem: WalrustError | null): Promise<RestoreAllRow> {
    const { name, path } = target;
    try {
      const problem = target.problem ?? listingProblem ?? this.#stopped;
      if (problem !== null) throw problem;
      return await this.#restoreTo(name, this.#resolved(name, path));
    } catch (thrown) {
      const error = asWalrustError(thrown);
      if (error.exitCode === EXIT_CODES.storage && !concernsOneDatabase(error)) this.#stopped ??= error;
      return { kind: "failed", name, path, error };
    }
  }

  /** Resolves the links of a place, which has to stay below the folder and to belong to one database. */
  #resolved(name: string, path: string): string {
    const place = resolvePlace(path).path;
    const context = { database: name };
    if (!place.startsWith(this.#request.into + (this.#request.into === sep ? "" : sep))) {
      throw new WalrustError("usage", `${path} leads out of the folder, to ${place}`, {
        hint: "Remove the link, or restore this database alone: walrust restore NAME -o PATH",
        context,
      });
    }
    if (this.#places.has(place)) {
      throw new WalrustError("usage", `${path} leads to ${place}, the place of another database`, {
        hint: "Remove the link, or restore this database alone: walrust restore NAME -o PATH",
        context,
      });
    }
    this.#places.add(place);
    return place;
  }

  async #restoreTo(name: string, outputPath: string): Promise<RestoreAllRow> {
    const request = { ...this.#request.how, name, outputPath };
    const proof = await proveRestored(request, this.#context);
    if (proof.kind === "right") {
      const { txid, timeMs } = proof.state;
      return { kind: "unchanged", name, path: outputPath, txid, timeMs, bytes: proof.bytes };
    }
    if (proof.kind === "other" && !request.force) {
      throw new WalrustError("usage", `${outputPath} exists, and ${proof.reason}`, {
        hint: "Give --force to replace the file (walrust keeps the old file beside it), or another --into",
        context: { database: name, path: outputPath, [IN_THE_WAY]: true },
      });
    }
    const onProgress = (done: number, total: number): void => this.#observer.onRead?.(name, done, total);
    const result = await restore(request, { ...this.#context, onProgress });
    return { kind: request.dryRun ? "planned" : "restored", name, result };
  }
}

/** The name, in an error's context, of a file that was there and stays. */
const IN_THE_WAY = "exists";

/** Whether a database was not restored only because a file is at its place, which stays as it is. */
export function isInTheWay(row: RestoreAllRow): boolean {
  return row.kind === "failed" && row.error.context[IN_THE_WAY] === true;
}

function assertFolder(path: string): void {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined || stats.isDirectory()) return;
  throw new WalrustError("usage", `${path} is no folder`, { hint: "Give --into the path of a folder" });
}

/** Exit codes from the worst: damage, nothing to restore, the store, this machine, usage, a bug. */
const WORST_FIRST: readonly number[] = [5, 6, 4, 3, 2, 1];

/** The exit code of a run: 0 when no database has failed, otherwise the worst one. */
export function exitCodeOf(rows: readonly RestoreAllRow[]): number {
  const codes = new Set(rows.map((row) => (row.kind === "failed" ? row.error.exitCode : 0)));
  return WORST_FIRST.find((code) => codes.has(code)) ?? 0;
}

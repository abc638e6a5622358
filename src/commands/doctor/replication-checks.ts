/**
 * Checks whether a database is replicated. A running watch of this user answers for its databases, and its
 * judgement is taken over. Without a watch, the functions that a watch pins a database with judge the files,
 * and nothing is pinned.
 */
import type { FileUser } from "../../database/files/file-users.ts";
import { hostLockHolderOrNull, silentHolderError } from "../../database/files/host-lock-holder.ts";
import { examinePin } from "../../database/pin/open-pin.ts";
import type { FoundDatabase } from "../../discovery/finder.ts";
import type { Env } from "../../env.ts";
import { asWalrustError, type ErrorCode, EXIT_CODES, WalrustError } from "../../errors.ts";
import { gatherWalEvidence } from "../../replication/capture/wal-evidence.ts";
import type { Checks } from "./check.ts";

/** A database as a running watch reports it. */
export interface WatchedDatabase {
  readonly pid: number;
  readonly health: "healthy" | "degraded" | "unhealthy";
  readonly reasons: readonly string[];
  readonly remedies: readonly string[];
  readonly uploadedTxid: number;
  /** The code of the failure that lasts, or null. */
  readonly failureCode: string | null;
}

const STATUS_HINT = "`walrust status` shows how it goes on";

/** Takes over the judgement of the watch that replicates the database. */
export function checkWatched(watched: WatchedDatabase, checks: Checks): void {
  const { pid, health, reasons, remedies, uploadedTxid, failureCode } = watched;
  const by = `the watch with pid ${pid}`;
  const progress = uploadedTxid === 0 ? "nothing is uploaded yet" : `TXID ${uploadedTxid} is in the bucket`;
  if (health === "healthy") return checks.ok("replication", `${by} replicates it, ${progress}`);
  const message = `${by}: ${reasons.join("; ")}`;
  const hint = remedies.length === 0 ? STATUS_HINT : remedies.join("; ");
  if (health === "degraded") return checks.warning("replication", message, hint);
  const code = failureCode !== null && failureCode in EXIT_CODES ? (failureCode as ErrorCode) : "database";
  checks.failure("replication", new WalrustError(code, message, { hint }));
}

/** Reports a walrust that has the database while no watch answers for it. */
export function checkHolder({ path }: FoundDatabase, users: readonly FileUser[], checks: Checks): void {
  const holder = hostLockHolderOrNull(path, users);
  if (holder === null) return;
  const error = silentHolderError(holder);
  if (holder.isStopped) checks.failure("holder", error);
  else checks.warning("holder", error.message, error.hint ?? "");
}

/** Judges the files as a watch does before it pins them. */
export async function checkPin({ path, paths }: FoundDatabase, env: Env, checks: Checks): Promise<void> {
  try {
    const condition = examinePin(path, env, await gatherWalEvidence(path, paths, null, env));
    if (condition === null) return checks.ok("replication", "a watch may open its files");
    const { health, message, hint = STATUS_HINT } = condition;
    if (health === "degraded") return checks.warning("replication", message, hint);
    checks.failure("replication", new WalrustError("database", message, { hint }));
  } catch (error) {
    checks.failure("replication", asWalrustError(error));
  }
}

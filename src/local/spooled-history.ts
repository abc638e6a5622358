/**
 * The history of a database as this machine holds it: the position, and the captured files that lead to the
 * position. For readers that do not have the database attached.
 */
import { existsSync } from "node:fs";
import { loadSpool, type SpoolFile, uploadedTxidOf } from "./spool.ts";
import { type DatabaseState, readState } from "./state.ts";
import type { StateFolder } from "./state-folder.ts";

/** The bucket that a history belongs to, and the key of the database in it. */
export interface HistoryOwner {
  readonly destination: string;
  readonly name: string;
}

/** The position and the files that wait for their upload. */
export interface SpooledHistory {
  readonly state: DatabaseState;
  /** Whether the state was written before the machine started. */
  readonly isOfOtherBoot: boolean;
  /** In the order of upload; null when they do not lead to the position. */
  readonly pending: readonly SpoolFile[] | null;
}

/**
 * Reads the history, or returns null when nothing here belongs to `owner`.
 * @param mayRemove removes leftovers of a crash from the spool; only for the holder of the host lock
 */
export function readSpooledHistoryOrNull(
  paths: StateFolder,
  owner: HistoryOwner,
  mayRemove: boolean,
): SpooledHistory | null {
  if (!existsSync(paths.spoolFolder)) return null;
  const reading = readState(paths);
  if (reading.kind !== "state") return null;
  const { state, isOfOtherBoot = false } = reading;
  if (state.destination !== owner.destination || state.name !== owner.name) return null;
  const spool = loadSpool(paths.spoolFolder, state.txid, state.chain, mayRemove);
  return { state, isOfOtherBoot, pending: spool.kind === "pending" ? spool.files : null };
}

/**
 * The newest TXID that the bucket of `owner` has acknowledged, as far as this machine knows; 0: none.
 * "unknown" when the local state or its captured files are lost.
 */
export function acknowledgedTxid(paths: StateFolder, owner: HistoryOwner): number | "unknown" {
  const reading = readState(paths);
  if (reading.kind === "lost" || reading.kind === "refused") return "unknown";
  if (reading.kind === "none") return 0;
  const { txid, chain, destination, name } = reading.state;
  if (destination !== owner.destination || name !== owner.name) return 0;
  if (!existsSync(paths.spoolFolder)) return txid;
  try {
    const spool = loadSpool(paths.spoolFolder, txid, chain, false);
    return spool.kind === "pending" ? uploadedTxidOf(txid, spool.files) : "unknown";
  } catch {
    // A watch changes the files just now, or this user may not read them.
    return "unknown";
  }
}

/**
 * The history of a database as this machine holds it: the position, and the captured files that lead to the
 * position. For readers that do not have the database attached.
 */
import { existsSync } from "node:fs";
import { loadSpool, type SpoolFile } from "./spool.ts";
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

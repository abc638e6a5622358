/**
 * Finds the databases of this machine whose local state says that a destination has acknowledged their
 * objects. `verify` reports those of which the bucket holds nothing: no listing of a bucket shows them.
 */
import { loadSpool, uploadedTxidOf } from "../../local/spool.ts";
import { type DatabaseState, readState } from "../../local/state.ts";
import type { StateFolder } from "../../local/state-folder.ts";
import { missingReport, type VerifyReport } from "../../recovery/verify/verify-report.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { localPaths, localPlaces } from "../shared/local-places.ts";
import type { Invocation } from "../shared/verb.ts";

/** A database that a destination had, as its local state says, and has no more. */
export interface GoneDatabase {
  readonly name: string;
  /** Real path of the file, which may be gone. */
  readonly path: string;
  readonly stateFolder: string;
  /** The newest TXID that the destination acknowledged. */
  readonly txid: number;
}

/**
 * The databases of this user with a history at the destination of `store`, without those that are known to be
 * there. State that cannot be read names none.
 * @param isThere whether the bucket holds anything under a name
 */
export async function localHistories(
  invocation: Invocation,
  store: Pick<ObjectStore, "url">,
  isThere: (name: string) => boolean,
): Promise<GoneDatabase[]> {
  const histories = new Map<string, GoneDatabase>();
  const places = localPlaces(invocation);
  const sources = { ...invocation.sources, file: null };
  // A glob that cannot be read hides none of the other databases.
  const known = await localPaths(invocation, places).catch(() =>
    localPaths({ ...invocation, sources }, places),
  );
  for (const [path, configured] of known) {
    const { paths } = places.of(path, configured ?? undefined);
    const reading = readState(paths);
    if (reading.kind !== "state" || reading.isCopy === true) continue;
    const { state } = reading;
    if (state.destination !== store.url || isThere(state.name)) continue;
    const txid = acknowledgedTxid(state, paths);
    if (txid > 0) histories.set(state.name, { name: state.name, path, stateFolder: paths.folder, txid });
  }
  return [...histories.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The newest acknowledged TXID; 0 when none is, or when the captured files do not show it. */
export function acknowledgedTxid(state: DatabaseState, { spoolFolder }: StateFolder): number {
  try {
    const spool = loadSpool(spoolFolder, state.txid, state.chain, false);
    return spool.kind === "pending" ? uploadedTxidOf(state.txid, spool.files) : 0;
  } catch {
    // The spool folder is gone, or a watch changes it just now: the state alone tells how far the history
    // goes.
    return state.txid;
  }
}

/** The report on a database of which the bucket holds nothing, with what to do. */
export function goneReport({ name, path, stateFolder, txid }: GoneDatabase): VerifyReport {
  return missingReport(
    name,
    txid,
    `nothing is stored under this name, though ${path} was uploaded up to TXID ${txid} ` +
      `(its state folder is ${stateFolder})`,
  );
}

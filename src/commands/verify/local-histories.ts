/**
 * Finds the databases of this machine whose local state says that a destination has acknowledged their
 * objects. `verify` reports those of which the bucket holds nothing: no listing of a bucket shows them.
 */
import { acknowledgedTxid } from "../../local/spooled-history.ts";
import { readState } from "../../local/state.ts";
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
    const txid = acknowledgedTxid(paths, { destination: store.url, name: state.name });
    if (txid !== "unknown" && txid > 0)
      histories.set(state.name, { name: state.name, path, stateFolder: paths.folder, txid });
  }
  return [...histories.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
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

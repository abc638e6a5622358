/**
 * What the spool still holds of a database that is gone: captured files that never got into the bucket. They
 * can be sent without the database, for they are complete and lead to the chain value of the state.
 */
import { existsSync } from "node:fs";
import type { AttachTarget } from "../../discovery/attach-target.ts";
import { loadSpool } from "../../local/spool.ts";
import { sentBytes } from "../../local/spool-cache.ts";
import { readState } from "../../local/state.ts";
import type { Captured } from "../capture/live-database.ts";

/**
 * The files that wait, or null when there are none. The database file has to be gone, or must not be opened:
 * whoever has it attached has its spool too.
 * @param destination where they would be sent; files for another one are left alone
 * @param isClosed nobody can attach the file that is there
 */
export function remainsOrNull(target: AttachTarget, destination: string, isClosed = false): Captured | null {
  const { path, name, paths } = target;
  if ((existsSync(path) && !isClosed) || !existsSync(paths.spoolFolder)) return null;
  const reading = readState(paths);
  if (reading.kind !== "state") return null;
  const { state } = reading;
  if (state.destination !== destination || state.name !== name) return null;
  const spool = loadSpool(paths.spoolFolder, state.txid, state.chain);
  if (spool.kind === "broken" || spool.files.length === 0) return null;
  return {
    path,
    name,
    paths,
    state,
    pending: spool.files,
    acknowledged: null,
    uploadedBytes: 0,
    sentBytes: sentBytes(paths.spoolFolder),
  };
}

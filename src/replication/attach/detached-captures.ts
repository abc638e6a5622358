/**
 * What the spool still holds of a database that is gone: captured files that never got into the bucket. They
 * can be sent without the database, for they are complete and lead to the chain value of the state.
 */
import { existsSync } from "node:fs";
import type { AttachTarget } from "../../discovery/attach-target.ts";
import { sentBytes } from "../../local/spool-cache.ts";
import { readSpooledHistoryOrNull } from "../../local/spooled-history.ts";
import type { Captured } from "../capture/live-database.ts";

/**
 * The files that wait, or null when there are none. The database file has to be gone, or must not be opened:
 * whoever has it attached has its spool too.
 * @param destination where they would be sent; files for another one are left alone
 * @param isClosed nobody can attach the file that is there
 */
export function detachedCapturesOrNull(
  target: AttachTarget,
  destination: string,
  isClosed = false,
): Captured | null {
  const { path, name, paths } = target;
  if (existsSync(path) && !isClosed) return null;
  const history = readSpooledHistoryOrNull(paths, { destination, name }, true);
  const pending = history?.pending ?? [];
  if (history === null || pending.length === 0) return null;
  return {
    path,
    name,
    paths,
    state: history.state,
    pending: [...pending],
    acknowledged: null,
    uploadedBytes: 0,
    sentBytes: sentBytes(paths.spoolFolder),
  };
}

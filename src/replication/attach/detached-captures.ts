/**
 * Finds the captured files of a database that cannot be attached: its file is gone, or must not be opened.
 * The files can be uploaded without the database, for they are complete and lead to the state's chain value.
 */
import { existsSync } from "node:fs";
import type { AttachTarget } from "../../discovery/attach-target.ts";
import { revivedTxidOf } from "../../local/spool.ts";
import { sentBytes } from "../../local/spool-cache.ts";
import { readSpooledHistoryOrNull } from "../../local/spooled-history.ts";
import type { Captured } from "../capture/live-database.ts";
import { withoutStaleSnapshots } from "./stale-snapshots.ts";

/**
 * The pending captures of a database that is not attached, or null when there are none. A process that could
 * attach the database file would use the same spool, so the file has to be gone or closed to everyone.
 * @param destination the URL of the store; captures for another destination do not count
 * @param isClosed whether nobody can attach the file that is at the path
 */
export function detachedCapturesOrNull(
  target: AttachTarget,
  destination: string,
  isClosed = false,
): Captured | null {
  const { path, name, paths } = target;
  if (existsSync(path) && !isClosed) return null;
  const history = readSpooledHistoryOrNull(paths, { destination, name }, true);
  if (history === null) return null;
  const pending = withoutStaleSnapshots(history.pending ?? [], history.state, history.isOfOtherBoot);
  if (pending.length === 0) return null;
  return {
    path,
    name,
    paths,
    state: history.state,
    pending,
    // A power cut may have lost a capture before these: they would leave a gap behind.
    isBucketUnchecked: true,
    revivedTxid: revivedTxidOf(pending),
    acknowledged: null,
    uploadedBytes: 0,
    sentBytes: sentBytes(paths.spoolFolder),
  };
}

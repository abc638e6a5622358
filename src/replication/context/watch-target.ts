/**
 * A database to watch: its file, its name in the bucket, the folder of its state, and its own settings.
 */
import type { AttachTarget } from "../../discovery/attach-target.ts";
import type { DatabaseOptions } from "./database-options.ts";

/** A database to watch. */
export interface WatchTarget extends AttachTarget {
  /** Its own options; without them those of the watch. One object for all databases that share them. */
  readonly options?: DatabaseOptions;
  /** Found by a glob: what cannot be watched is looked at again with the next discovery, not given up. */
  readonly isDiscovered?: boolean;
}

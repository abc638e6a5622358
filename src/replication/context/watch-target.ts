/**
 * A database to watch: its file, its name in the bucket, the folder of its state, and its own settings.
 */
import type { ReplicationConfig } from "../../config/config.ts";
import type { AttachTarget } from "../../discovery/attach-target.ts";

/** A database to watch. */
export interface WatchTarget extends AttachTarget {
  /** The settings of this database. One object for all databases that share them. */
  readonly config: ReplicationConfig;
  /** Found by a glob: what cannot be watched is looked at again with the next discovery, not given up. */
  readonly isDiscovered?: boolean;
}

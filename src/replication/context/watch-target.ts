/**
 * A database to watch: its file, its name in the bucket, the folder of its state, and its own settings.
 */
import type { ReplicationConfig } from "../../config/config.ts";
import type { AttachTarget } from "../../discovery/attach-target.ts";

/** A database to watch. */
export interface WatchTarget extends AttachTarget {
  /** The settings of this database. One object for all databases that share them. */
  readonly config: ReplicationConfig;
  /** A glob found the database: if it cannot be watched, the next discovery tries again. */
  readonly isDiscovered: boolean;
}

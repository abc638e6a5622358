/**
 * A database that replication can attach to: its file, its name in the bucket, and its state folder.
 */
import type { StateFolder } from "../local/state-folder.ts";

/** A database to attach to. */
export interface AttachTarget {
  /** Real path of the database file. */
  readonly path: string;
  /** The name in the bucket. */
  readonly name: string;
  readonly paths: StateFolder;
}

/**
 * A database that replication can attach: its file, its name in the bucket, and the folder of its state.
 */
import type { StateFolder } from "../local/state-folder.ts";

/** What is to be attached and where it goes. */
export interface AttachTarget {
  /** Real path of the database file. */
  readonly path: string;
  readonly name: string;
  readonly paths: StateFolder;
}

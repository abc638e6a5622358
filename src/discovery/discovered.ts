/**
 * The result of one discovery: the databases that are there now, and what discovery knows of but cannot hand
 * over to be replicated.
 */
import type { WalrustError } from "../errors.ts";

/** A database or folder that cannot be replicated, and the reason. */
export interface Unwatchable {
  /** Path of the file, or of the folder that cannot be read. */
  readonly path: string;
  /** The name that the database would have in the bucket. */
  readonly name: string;
  /** Whether the database is absent, and named or still open in a process: the bucket falls behind. */
  readonly isMissing: boolean;
  readonly error: WalrustError;
}

/** All databases that are there at one moment, in the shape that the caller replicates them in. */
export interface Discovered<Target> {
  readonly targets: readonly Target[];
  readonly unwatchable: readonly Unwatchable[];
}

/** Runs one discovery. */
export type Discover<Target> = () => Promise<Discovered<Target>>;

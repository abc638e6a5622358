/**
 * Push replicas as captures and uploads see them: somebody who is told of captured files, and who never makes
 * them wait. `replication/push` implements it.
 */
import type { SpoolFile } from "../../local/spool.ts";
import type { DatabaseState } from "../../local/state.ts";
import type { StateFolder } from "../../local/state-folder.ts";

/** The captured files of a database. */
export interface PushSource {
  readonly name: string;
  readonly paths: Pick<StateFolder, "spoolFolder">;
  readonly state: DatabaseState | null;
  /** Captured files that wait for their upload, in its order. */
  readonly pending: readonly SpoolFile[];
}

/** How far one replica has a database. */
export interface PushStatus {
  /** The URL of the replica server. */
  readonly replica: string;
  /** The newest TXID that the replica has acknowledged; null before its first answer. */
  readonly txid: number | null;
  /** `current`: it has everything captured. `behind`: captured files are on their way. */
  readonly state: "current" | "behind" | "failing";
  /** Why it fails, or null. */
  readonly message: string | null;
}

/** Pushes captured files to replicas. */
export interface Pushing {
  /** Captured files may be new. Returns at once. */
  offer(source: PushSource): void;
  /** The replicas of a database. */
  statusOf(database: string): readonly PushStatus[];
}

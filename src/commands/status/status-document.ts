/**
 * The JSON document of `status`, as a type that the library exports. Documents only ever grow.
 */
import type { Condition } from "../../errors.ts";
import type { DatabaseHealthReport, Health } from "../../observability/health.ts";
import type { PushStatus } from "../../replication/context/pushing.ts";
import type { Validation } from "../../replication/context/watch-events.ts";
import type { ProblemDocument } from "../shared/documents.ts";

/** One database of `status`. Unknown values are null. */
export interface StatusDatabase {
  readonly name: string;
  readonly path: string;
  readonly status: DatabaseHealthReport["status"];
  readonly health: Health;
  /** Why the database is not healthy, as sentences; `remedies` are what to do. */
  readonly reasons: readonly string[];
  readonly remedies: readonly string[];
  readonly txid: number | null;
  readonly uploaded_txid: number | null;
  readonly lag_seconds: number | null;
  readonly pending_files: number;
  readonly pending_bytes: number;
  readonly wal_frames: number | null;
  readonly wal_bytes: number | null;
  /** Capture time of the newest object that this process has uploaded. */
  readonly last_sync: string | null;
  readonly snapshot: { readonly txid: number; readonly time: string | null } | null;
  /** When a listing last showed that the bucket leads to its newest TXID. */
  readonly bucket_listed: string | null;
  readonly validation: { readonly status: Validation["status"]; readonly time: string | null } | null;
  readonly circuit: "closed" | "open" | "half-open";
  readonly failure: (ProblemDocument & { readonly seconds: number | null }) | null;
  readonly conditions: readonly Condition[];
  readonly replicas: readonly PushStatus[];
}

/** One watch of `status`. Version, destination and times are null when the watch did not answer. */
export interface StatusWatch {
  readonly pid: number;
  readonly status: Health;
  readonly reasons: readonly string[];
  readonly remedies: readonly string[];
  readonly version: string | null;
  readonly destination: string | null;
  readonly uptime_seconds: number | null;
  readonly last_upload: string | null;
  readonly conditions: readonly Condition[];
  readonly problem: ProblemDocument | null;
  readonly databases: readonly StatusDatabase[];
}

/** The output of `status`. */
export interface StatusDocument {
  readonly status: Health;
  readonly watches: readonly StatusWatch[];
  /** Names that were asked for and that no watch has. */
  readonly not_watched: readonly string[];
  /** Databases that a walrust has while no watch answers for them. */
  readonly silent: readonly {
    readonly path: string;
    readonly pid: number | null;
    readonly message: string;
    readonly hint: string | null;
  }[];
}

/**
 * The library: walrust for an application that runs on Bun. `src/library/README.md` describes it.
 *
 * `watch`, `snapshot`, `restore`, `list`, `verify`, `replicate` and `compact` run walrust in a child process.
 * They touch database files through raw descriptors, and closing such a descriptor would drop the POSIX locks
 * of every SQLite connection of its process.
 *
 * The lower functions run in the process of the application. `openStore`, `FileStore`, `takeInventory` and
 * `parsePointInTime` open no database. `restoreInProcess` writes its target through raw descriptors: only for
 * a path that no connection of this process has open.
 */
import { resolveRetry } from "./config/config.ts";
import type { Environment } from "./config/file-values.ts";
import { resolveOptions, valuesOf } from "./config/resolve.ts";
import { STORE_OPTIONS } from "./config/settings/settings.ts";
import type { Env } from "./env.ts";
import type { ObjectStore } from "./storage/contract/store.ts";
import { openStore as openConfiguredStore, type StoreOptions } from "./storage/open-store.ts";

export type {
  CheckDocument,
  CompactDocument,
  CompactedDatabase,
  DoctorDocument,
  ErrorDocument,
  ExplainDocument,
  IntegrityDocument,
  ListDocument,
  ListedDatabase,
  ListedPoint,
  LogDocument,
  NothingRestoredDocument,
  ProblemDocument,
  ProgressDocument,
  ReplicaDocument,
  RestoreAllDatabase,
  RestoreAllDocument,
  RestoreDocument,
  ServeDocument,
  SnapshotDocument,
  StartedEvent,
  SyncDocument,
  SyncedDocument,
  VerifiedDatabase,
  VerifyDocument,
  WatchDocument,
} from "./commands/shared/documents.ts";
export type { StatusDatabase, StatusDocument, StatusWatch } from "./commands/status/status-document.ts";
export { type Env, type LogLevel, SILENT_LOG, systemEnv } from "./env.ts";
export { type ErrorCode, WalrustError } from "./errors.ts";
export {
  type CompactCall as CompactOptions,
  compact,
  type ListCall as ListOptions,
  list,
  type ReplicateCall as ReplicateOptions,
  type Replicating,
  type RestoreCall as RestoreOptions,
  replicate,
  restore,
  type SnapshotCall as SnapshotOptions,
  snapshot,
  type VerifyCall as VerifyOptions,
  verify,
  type WatchCall as WatchOptions,
  type Watching,
  watch,
} from "./library/calls.ts";
export type { ChildOptions as CallOptions, ProcessOptions } from "./library/child-call.ts";
export type { DroppedEvents } from "./library/event-queue.ts";
export type { GivenDatabase, GivenWebhook, OwnSettings, Settings } from "./library/given-settings.ts";
export type { RunningWalrust } from "./library/running-walrust.ts";
export { type InventoryEntry, takeInventory } from "./recovery/plan/inventory.ts";
export { type PointInTime, parsePointInTime } from "./recovery/plan/restore-point.ts";
export type { RestoreContext } from "./recovery/restore/prepare-restore.ts";
export {
  type RestoreRequest,
  type RestoreResult,
  restore as restoreInProcess,
} from "./recovery/restore/restore-database.ts";
export type { ObjectStore } from "./storage/contract/store.ts";
export { FileStore } from "./storage/file/file-store.ts";

/** Options of `openStore`; only `url` is needed. */
export type OpenStoreOptions = Pick<StoreOptions, "url"> & Partial<Omit<StoreOptions, "url">>;

/**
 * Opens a destination without sending a request. An absent region, endpoint or key comes from the environment
 * variables of the AWS tools; any other absent option has walrust's default.
 * @throws WalrustError code "usage" when the URL is invalid, "config" when another option is
 */
export function openStore(
  options: OpenStoreOptions,
  env: Env,
  environment: Environment = process.env,
): ObjectStore {
  const sources = { words: { given: new Map(), positionals: [] }, environment, file: null };
  const { region, endpoint } = STORE_OPTIONS;
  const places = valuesOf(resolveOptions(sources, { region, endpoint }));
  const defaults = { retry: resolveRetry(sources), region: places.region };
  const withEndpoint = places.endpoint === undefined ? {} : { endpoint: places.endpoint };
  return openConfiguredStore({ ...defaults, ...withEndpoint, ...options }, env, environment);
}

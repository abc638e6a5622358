/**
 * The library: functions that an application may call in its own process. It restores databases and lists
 * backups; it opens no database that an application uses.
 *
 * `watch` and `snapshot` are not part of the library. They lock live databases through raw descriptors, and
 * closing such a descriptor drops the POSIX locks of every SQLite connection of its process. Run the
 * `walrust` executable for them.
 *
 * `restore` checks the restored file in this process with a SQLite connection of its own, without limits on
 * time and memory, unless the caller hands in a `checker`.
 */
import { resolveRetry } from "./config/config.ts";
import type { Environment } from "./config/file-values.ts";
import { resolveOptions, valuesOf } from "./config/resolve.ts";
import { STORE_OPTIONS } from "./config/settings/settings.ts";
import type { Env } from "./env.ts";
import type { ObjectStore } from "./storage/contract/store.ts";
import { openStore as openConfiguredStore, type StoreOptions } from "./storage/open-store.ts";

export { type Env, SILENT_LOG, systemEnv } from "./env.ts";
export { type ErrorCode, WalrustError } from "./errors.ts";
export { type InventoryEntry, takeInventory } from "./recovery/plan/inventory.ts";
export { type PointInTime, parsePointInTime } from "./recovery/plan/restore-point.ts";
export type { RestoreContext } from "./recovery/restore/prepare-restore.ts";
export { type RestoreRequest, type RestoreResult, restore } from "./recovery/restore/restore-database.ts";
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

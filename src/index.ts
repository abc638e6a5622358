/**
 * The library: what an application may call in its own process. These only read and write objects and files
 * that no SQLite connection has open. Watching and snapshots are not here: they hold locks through raw
 * descriptors, and closing those in a process that has SQLite connections of its own would drop its locks;
 * run the `walrust` binary for them.
 */
export { type Env, SILENT_LOG, systemEnv } from "./env.ts";
export { type ErrorCode, WalrustError } from "./errors.ts";
export { type InventoryEntry, takeInventory } from "./recovery/plan/inventory.ts";
export { type PointInTime, parsePointInTime } from "./recovery/plan/restore-point.ts";
export type { RestoreContext } from "./recovery/restore/prepare-restore.ts";
export { type RestoreRequest, type RestoreResult, restore } from "./recovery/restore/restore-database.ts";
export type { ObjectStore } from "./storage/contract/store.ts";
export { FileStore } from "./storage/file/file-store.ts";
export { openStore, type StoreOptions } from "./storage/open-store.ts";

/**
 * The library: what an application may call in its own process. These only read and write objects and files
 * that no SQLite connection has open. Watching and snapshots are not here: they hold locks through raw
 * descriptors, and closing those in a process that has SQLite connections of its own would drop its locks;
 * run the `walrust` binary for them.
 */
export { type Env, SILENT_LOG, systemEnv } from "./env.ts";
export { type ErrorCode, WalrustError } from "./errors.ts";
export { type InventoryEntry, takeInventory } from "./recovery/inventory.ts";
export { type RestoreContext, type RestoreRequest, type RestoreResult, restore } from "./recovery/restore.ts";
export { type PointInTime, parsePointInTime } from "./recovery/target.ts";
export { FileStore } from "./storage/file-store.ts";
export { MemoryStore } from "./storage/memory-store.ts";
export { openStore, type StoreOptions } from "./storage/open-store.ts";
export type { ObjectStore } from "./storage/store.ts";

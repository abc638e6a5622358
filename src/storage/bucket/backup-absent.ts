/**
 * Whether there is a backup of a database, for the verbs that do nothing without one.
 */
import { hasCode, WalrustError } from "../../errors.ts";
import type { ObjectStore } from "../contract/store.ts";
import { listObjects } from "./catalog.ts";
import { detectForeignLayoutOrNull } from "./foreign-layout.ts";
import { readManifest } from "./manifest.ts";

/**
 * Whether an error says that there is no bucket or folder yet. A folder that a database was replicated to
 * before is on a disk that is not mounted: its backups exist.
 */
export function isNothingStoredYet(error: unknown): boolean {
  return hasCode(error, "missing-bucket") && (error as WalrustError).context["replicatedFrom"] === undefined;
}

/**
 * Whether nothing is stored under a name, or the bucket or folder does not exist yet. A backup of another
 * program is a backup: no application may start empty beside it.
 * @throws WalrustError code "integrity" when only the manifest is left; or a storage code
 */
export async function isBackupAbsent(
  store: ObjectStore,
  name: string,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    if ((await listObjects(store, name, signal)).length > 0) return false;
    if ((await detectForeignLayoutOrNull(store, name, signal)) !== null) return false;
    if ((await readManifest(store, name, signal)).kind === "none") return true;
  } catch (error) {
    if (isNothingStoredYet(error)) return true;
    throw error;
  }
  throw new WalrustError("integrity", `All objects of ${name} are gone: only its manifest is left`, {
    hint: "Look for another copy of the bucket. To begin anew, delete the manifest",
  });
}

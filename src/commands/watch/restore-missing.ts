/**
 * `watch --restore-if-missing`: restores each named database that is missing and has a backup, before
 * anything is watched or started. A database without a backup is left to the application, which creates it.
 *
 * Must never happen: an existing file touched, or an application started beside a backup that could not be
 * restored. Each failure ends the start: the databases before it are restored, and a new start continues.
 */
import { existsSync } from "node:fs";
import { DatabaseFinder, type FinderOptions, type MissingDatabase } from "../../discovery/finder.ts";
import { systemCode, WalrustError } from "../../errors.ts";
import { type RestoreResult, restore } from "../../recovery/restore/restore-database.ts";
import { isBackupAbsent } from "../../storage/bucket/backup-absent.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { integrityChecker } from "../shared/integrity.ts";
import { progressOf } from "../shared/progress-of.ts";
import type { Invocation } from "../shared/verb.ts";

/** A file that is missing, and not merely out of reach. */
const MISSING_CODES = ["ENOENT", "ENOTDIR"];

/**
 * Restores the databases that are missing.
 * @param search the databases of the watch
 * @param onRestored receives each result
 * @throws WalrustError as `restore`, or code "usage" when another database has the name
 */
export async function restoreMissing(
  search: FinderOptions,
  store: ObjectStore,
  invocation: Invocation,
  onRestored: (result: RestoreResult) => void,
): Promise<void> {
  const { missing } = await new DatabaseFinder(search, invocation.env).find();
  for (const one of missing) {
    if (!MISSING_CODES.includes(systemCode(one.error.cause) ?? "") || existsSync(one.path)) continue;
    const result = await restoreOneOrNull(one, search, store, invocation);
    if (result !== null) onRestored(result);
  }
}

/** Restores one database. Null: it has no backup. */
async function restoreOneOrNull(
  { name, path, namesake }: MissingDatabase,
  { places }: FinderOptions,
  store: ObjectStore,
  invocation: Invocation,
): Promise<RestoreResult | null> {
  const { env, signal } = invocation;
  if (namesake !== null) {
    throw new WalrustError("usage", `${path} and ${namesake} would both be called ${name}`, {
      hint: "Give one of them a name or a prefix in walrust.toml",
    });
  }
  if (await isBackupAbsent(store, name, signal)) {
    env.log.info(`${path} does not exist, and there is no backup to restore`, { database: name });
    return null;
  }
  env.log.info(`${path} does not exist: restoring it from ${store.url}`, { database: name });
  const work = { verb: "watch", database: name, label: `restoring ${name}`, unit: "read" } as const;
  const request = { name, outputPath: path, point: { kind: "latest" }, force: false, dryRun: false } as const;
  return await progressOf(invocation).during(work, (onProgress) =>
    restore(request, { store, env, signal, places, checker: integrityChecker(), onProgress }),
  );
}

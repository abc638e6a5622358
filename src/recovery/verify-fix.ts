/**
 * What verify may repair: only what follows from the objects themselves.
 *
 * - temporary files and sidecars without an object are deleted,
 * - while there are no errors: objects before the oldest snapshot are deleted, and a manifest that is
 *   missing, unreadable or stale is written anew from the listing.
 * Where there are errors, nothing is done that could hide a trace of them: the manifest may be the only
 * witness of a deletion, and an object before the oldest snapshot may be all that is left beside one that is
 * lost. Objects that restore reads, and keys nobody knows, are never touched.
 */
import type { Env } from "../env.ts";
import { errorMessage, hasCode } from "../errors.ts";
import { manifestKey } from "../format/keys.ts";
import { listObjects, newestObjectOrNull, readHeader } from "../storage/catalog.ts";
import { buildManifest, writeManifest } from "../storage/manifest.ts";
import { decodeMetadata } from "../storage/object-metadata.ts";
import type { ObjectStore } from "../storage/store.ts";
import type { FindingCode, VerifyReport } from "./verify-report.ts";

/** Something that was repaired. */
export interface Repair {
  readonly database: string;
  readonly code: FindingCode;
  readonly object: string;
  /** What was done, as a sentence without the object. */
  readonly message: string;
}

/**
 * Repairs what a report names, as far as that is safe. Verify again afterwards: the report is out of date.
 * @throws WalrustError with a storage code; what was done before it stays done
 */
export async function fixDatabase(store: ObjectStore, report: VerifyReport, env: Env): Promise<Repair[]> {
  const repairs = await removeStrays(store, report);
  if (report.status === "errors") {
    const isMore = report.findings.some(({ code }) => code === "unreachable-object" || isAboutManifest(code));
    if (isMore) {
      const why = "there are errors: old objects and the manifest are left as they are";
      env.log.warn(why, { database: report.name });
    }
    return repairs;
  }
  repairs.push(...(await removeUnreachable(store, report)));
  const finding = report.findings.find(({ code }) => isAboutManifest(code));
  if (finding !== undefined && (await rewriteManifest(store, report.name, env))) {
    const message = "written anew from the objects that are there";
    repairs.push({ database: report.name, code: finding.code, object: manifestKey(report.name), message });
  }
  return repairs;
}

function isAboutManifest(code: FindingCode): boolean {
  return code.startsWith("manifest-");
}

async function removeStrays(store: ObjectStore, report: VerifyReport): Promise<Repair[]> {
  const strays = report.findings.filter(
    ({ code, object }) => object !== null && (code === "temporary-file" || code === "orphan-sidecar"),
  );
  if (strays.length === 0) return [];
  const keys = strays.map(({ object }) => object!);
  // On a store whose puts leave nothing behind, such a key is an object like any other.
  const removed =
    store.layout === "file" ? await store.removeLeftovers?.(keys) : await removeKeys(store, keys);
  const isRemoved = new Set(removed);
  return strays
    .filter(({ object }) => isRemoved.has(object!))
    .map(({ code, object }) => ({ database: report.name, code, object: object!, message: "deleted" }));
}

async function removeUnreachable(store: ObjectStore, report: VerifyReport): Promise<Repair[]> {
  const keys = report.findings
    .filter(({ code }) => code === "unreachable-object")
    .map(({ object }) => object!);
  await removeKeys(store, keys);
  const code = "unreachable-object";
  return keys.map((object) => ({ database: report.name, code, object, message: "deleted" }));
}

async function removeKeys(store: ObjectStore, keys: readonly string[]): Promise<readonly string[]> {
  if (keys.length > 0) await store.delete(keys);
  return keys;
}

/** @returns whether it was written: the newest object has to say who wrote it, and its chain value */
async function rewriteManifest(store: ObjectStore, name: string, env: Env): Promise<boolean> {
  try {
    const objects = await listObjects(store, name);
    const newest = newestObjectOrNull(objects);
    if (newest === null) return false;
    const { timestampMs: timeMs, pageSizeBytes } = await readHeader(store, newest.key);
    const { chain, writer } = decodeMetadata(newest.key, (await store.head(newest.key)).metadata);
    if (chain === null || writer === null) {
      env.log.warn(`no manifest can be made: walrust did not write ${newest.key}`, { database: name });
      return false;
    }
    const mark = { pageSizeBytes, txid: newest.maxTxid, timeMs, chain, writer };
    await writeManifest(store, buildManifest(name, objects, mark));
    return true;
  } catch (error) {
    if (!hasCode(error, "not-found") && !hasCode(error, "corrupt") && !hasCode(error, "integrity"))
      throw error;
    env.log.warn(`no manifest can be made: ${errorMessage(error)}`, { database: name });
    return false;
  }
}

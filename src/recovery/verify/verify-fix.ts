/**
 * Repairs what follows from the objects themselves:
 *
 * - deletes temporary files;
 * - while there are no errors: deletes sidecars without an object and objects before the oldest snapshot, and
 *   rewrites a manifest that is missing, unreadable or stale.
 *
 * While there are errors, no trace of them may vanish. The manifest may be the only witness of a deletion, a
 * sidecar may be the rest of an object, and an object before the oldest snapshot may be all that is left.
 * Objects that a restore reads, and unknown keys, are never touched.
 */
import type { Env } from "../../env.ts";
import { errorMessage, hasCode } from "../../errors.ts";
import { manifestKey } from "../../format/keys.ts";
import { rebuildManifest } from "../../storage/bucket/manifest.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import type { FindingCode, VerifyReport } from "./verify-report.ts";

/** A repair. */
export interface Repair {
  readonly database: string;
  readonly code: FindingCode;
  readonly object: string;
  /** A predicate: the object is its subject. */
  readonly message: string;
}

/**
 * Repairs the findings of a report, as far as that is safe. Verify again afterwards: the report is out of
 * date.
 * @throws WalrustError with a storage code; earlier repairs remain
 */
export async function fixDatabase(store: ObjectStore, report: VerifyReport, env: Env): Promise<Repair[]> {
  const repairs = await removeStrays(store, report, "temporary-file");
  if (report.status === "errors") {
    const isMore = report.findings.some(({ code, severity }) => severity === "warning" && isRepairable(code));
    if (isMore) {
      const why = "there are errors, so the manifest, sidecars and old objects stay as they are";
      env.log.warn(why, { database: report.name });
    }
    return repairs;
  }
  repairs.push(...(await removeStrays(store, report, "orphan-sidecar")));
  repairs.push(...(await removeUnreachable(store, report)));
  const finding = report.findings.find(({ code }) => isAboutManifest(code));
  if (finding !== undefined && (await rewriteManifest(store, report.name, env))) {
    const message = "rewritten from the objects of the bucket";
    repairs.push({ database: report.name, code: finding.code, object: manifestKey(report.name), message });
  }
  return repairs;
}

function isRepairable(code: FindingCode): boolean {
  return code === "orphan-sidecar" || code === "unreachable-object" || isAboutManifest(code);
}

function isAboutManifest(code: FindingCode): boolean {
  return code.startsWith("manifest-");
}

async function removeStrays(
  store: ObjectStore,
  report: VerifyReport,
  code: "temporary-file" | "orphan-sidecar",
): Promise<Repair[]> {
  const keys = report.findings.filter((finding) => finding.code === code).map(({ object }) => object!);
  if (keys.length === 0) return [];
  // Puts to S3 leave no files behind: there such a key is an ordinary object.
  const removed =
    store.layout === "file" ? await store.removeLeftovers?.(keys) : await removeKeys(store, keys);
  return (removed ?? []).map((object) => ({ database: report.name, code, object, message: "deleted" }));
}

async function removeUnreachable(store: ObjectStore, report: VerifyReport): Promise<Repair[]> {
  const keys = report.findings
    .filter(({ code }) => code === "unreachable-object")
    .map(({ object }) => object!);
  const removed = await removeKeys(store, keys);
  const code = "unreachable-object";
  return removed.map((object) => ({ database: report.name, code, object, message: "deleted" }));
}

/** @returns the deleted keys: a store may refuse to delete some */
async function removeKeys(store: ObjectStore, keys: readonly string[]): Promise<readonly string[]> {
  if (keys.length === 0) return [];
  const kept = new Set((await store.delete(keys)).map(({ key }) => key));
  return keys.filter((key) => !kept.has(key));
}

/** @returns whether the manifest was written */
async function rewriteManifest(store: ObjectStore, name: string, env: Env): Promise<boolean> {
  let reason: string | null;
  try {
    reason = await rebuildManifest(store, name);
  } catch (error) {
    const isDamage = hasCode(error, "corrupt") || hasCode(error, "integrity") || hasCode(error, "not-found");
    if (!isDamage) throw error;
    reason = errorMessage(error);
  }
  if (reason !== null) env.log.warn(`the manifest cannot be rebuilt: ${reason}`, { database: name });
  return reason === null;
}

/**
 * Verifies one database: whether its objects can be restored, and which keys do not belong there.
 *
 * A verification reads only: header and trailer of each object, and a share of all objects in full. Findings
 * and parallel requests are limited, and memory beyond the listing does not grow with the number of objects.
 *
 * A watch may run meanwhile, and its retention may delete objects that this listing still names. So after
 * anything suspicious the bucket is listed again, and if it changed, the verification starts over.
 */
import type { Env } from "../../env.ts";
import { hasCode } from "../../errors.ts";
import { manifestKey } from "../../format/keys.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import { assertNotForeign } from "../../storage/bucket/foreign-layout.ts";
import { type ManifestReading, readManifest } from "../../storage/bucket/manifest.ts";
import { missingBackupError } from "../../storage/bucket/missing-backup.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import type { IntegrityChecker } from "../integrity/integrity-child.ts";
import { checkEnds, checkListed, type ObjectVerdict } from "../object/check-object.ts";
import { isChained, type ObjectFacts } from "../object/object-links.ts";
import { mapInOrder } from "./map-in-order.ts";
import { compareForLinks, LinkChecker } from "./verify-links.ts";
import {
  checkCoverage,
  checkEnd,
  checkManifest,
  checkStrays,
  type Listing,
  oldestBaseOrNull,
  takeListing,
} from "./verify-listing.ts";
import { LostMetadata } from "./verify-metadata.ts";
import { planOutlookOrNull } from "./verify-outlook.ts";
import { Findings, type VerifyCounts, type VerifyReport } from "./verify-report.ts";
import { type LiveContent, restoreOnTrial } from "./verify-restore.ts";

/** The depth and the surroundings of a verification. */
export interface VerifyOptions {
  /**
   * Percent of the objects that are read in full, 0 to 100. Each object is drawn with that probability, and
   * at least one is drawn: repeated runs with 5 reach every object sooner or later.
   */
  readonly readPercent?: number;
  /** Restore the newest state into a temporary file and check it. */
  readonly restore?: boolean;
  /** The content of the live database, which a trial restore is compared with. */
  readonly live?: LiveContent | null;
  readonly tempFolder?: string;
  /** Checks a restored file; in this process by default. */
  readonly checker?: IntegrityChecker;
  /** Objects that are checked in parallel; 8 by default. */
  readonly concurrency?: number;
  readonly signal?: AbortSignal;
  /** Reports the bytes of checked objects, and of all objects. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
  /** Reports the bytes that the trial restore has read, of all that it needs. */
  readonly onTrialProgress?: (doneBytes: number, totalBytes: number) => void;
}

const DEFAULT_CONCURRENCY = 8;
const PASSES_MAX = 3;

/**
 * Verifies one database.
 * @throws WalrustError code "restore" when nothing is there or it is not ours, a storage code, or "database"
 * when the temporary file of a trial restore cannot be written
 */
export async function verifyDatabase(
  store: ObjectStore,
  name: string,
  options: VerifyOptions,
  env: Env,
): Promise<VerifyReport> {
  for (let pass = 1; ; pass++) {
    // The manifest first: the listing then shows everything that the manifest names.
    const manifest = await readManifest(store, name, options.signal);
    const listing = await takeListing(store, name, options.signal);
    if (listing.objects.length === 0) await assertNotForeign(store, name, options.signal);
    if (listing.objects.length === 0 && manifest.kind === "none")
      throw await missingBackupError(store, name, options.signal);
    const result = await runPass({ store, name, manifest, listing, options, env });
    const isSuspicious = result.vanished.length > 0 || result.report.status !== "ok";
    if (!isSuspicious) return result.report;
    if (result.report.checked.chainedObjects === 0) await assertNotForeign(store, name, options.signal);
    const isLast = pass === PASSES_MAX;
    if (isLast || !(await hasChanged(store, name, manifest, listing, options.signal))) return result.report;
    env.log.debug("the bucket changed while it was verified; verifying again", { database: name });
  }
}

interface Pass {
  readonly store: ObjectStore;
  readonly name: string;
  readonly manifest: ManifestReading;
  readonly listing: Listing;
  readonly options: VerifyOptions;
  readonly env: Env;
}

/** One verification of all objects. */
async function runPass(pass: Pass): Promise<{ report: VerifyReport; vanished: readonly string[] }> {
  const { store, name, manifest, listing, options, env } = pass;
  const { objects } = listing;
  const findings = new Findings();
  const counts = startCounts(objects);
  const reachedTxid = checkCoverage(objects, findings);
  const seen = await checkObjects(pass, findings, counts);
  checkEnd(reachedTxid, seen.newestOursTxid, findings);
  checkStrays(listing, env.nowMs(), findings);
  checkManifest(manifestKey(name), manifest, objects, seen.newestOursTxid > 0, env.nowMs(), findings);
  const vanished = [...seen.vanished];
  if (options.restore && objects.length > 0) {
    const request = { ...options, name, objects };
    const outcome = await restoreOnTrial(store, request, findings, env);
    if (outcome.kind === "restored") {
      counts.restoredTxid = outcome.txid;
      counts.comparedWithLive = outcome.isCompared;
      counts.integrity = outcome.integrity;
    }
    if (outcome.kind === "vanished") vanished.push("");
  }
  for (const key of seen.vanished) findings.add("missing-object", key, null, "is listed but cannot be read");
  counts.omittedFindings = findings.omitted;
  const found = findings.list();
  const outlook = planOutlookOrNull(objects, found, findings.omitted);
  const report = { name, status: findings.status, findings: found, checked: counts, outlook };
  return { report, vanished };
}

interface Seen {
  /** The newest TXID of an object that walrust wrote, or 0. */
  newestOursTxid: number;
  readonly vanished: string[];
}

/** Checks each object, and the links between objects. */
async function checkObjects(pass: Pass, findings: Findings, counts: VerifyCounts): Promise<Seen> {
  const { store, listing, options, env } = pass;
  const objects = [...listing.objects].sort(compareForLinks);
  const chosen = chooseObjects(objects, options.readPercent ?? 0, env);
  const links = new LinkChecker(objects, findings);
  const lost = new LostMetadata(pass.manifest.kind === "manifest");
  const base = oldestBaseOrNull(objects);
  const seen: Seen = { newestOursTxid: 0, vanished: [] };
  const limit = options.concurrency ?? DEFAULT_CONCURRENCY;
  const work = (object: LtxObject, signal: AbortSignal): Promise<ListedVerdict> =>
    verifyObject(store, object, chosen.has(object), signal);
  let doneBytes = 0;
  for await (const check of mapInOrder(objects, limit, options.signal, work)) {
    const { object, facts } = check;
    doneBytes += object.sizeBytes;
    options.onProgress?.(doneBytes, counts.bytes);
    const errorsBefore = findings.errorCount;
    addFindings(check, findings);
    if (check.isVanished) seen.vanished.push(object.key);
    if (facts === null) continue;
    links.add(facts);
    // Damage is not lost metadata. The damage of an object may show at the object after it.
    if (findings.errorCount === errorsBefore) lost.add(facts);
    else lost.dropLast();
    checkManifestChain(pass.manifest, facts, findings);
    count(counts, check, facts);
    if (facts.metadata.writer !== null) {
      seen.newestOursTxid = object.maxTxid;
      checkReach(object, base, findings);
    }
  }
  counts.lostMetadataObjects = lost.report(findings);
  return seen;
}

/** The verdict on a listed object. */
interface ListedVerdict extends ObjectVerdict {
  /** The object vanished after it was listed. */
  readonly isVanished: boolean;
}

/**
 * Checks one object. @param isWhole whether to read every byte
 * @throws WalrustError with a storage code
 */
async function verifyObject(
  store: ObjectStore,
  object: LtxObject,
  isWhole: boolean,
  signal: AbortSignal | undefined,
): Promise<ListedVerdict> {
  try {
    const verdict = isWhole
      ? await checkListed(store, object, {}, signal)
      : await checkEnds(store, object, signal);
    return { ...verdict, isVanished: false };
  } catch (error) {
    if (!hasCode(error, "not-found")) throw error;
    return { object, facts: null, findings: [], sha256: null, isVanished: true };
  }
}

/** Adds the findings about one object to the findings about the database. */
function addFindings({ object, findings: found }: ObjectVerdict, findings: Findings): void {
  for (const { code, message } of found) findings.add(code, object.key, object.maxTxid, message);
}

/**
 * Finds an object of walrust that ends at or before the oldest snapshot: no restore uses it. Litestream keeps
 * such objects, so they are no finding there.
 */
function checkReach(object: LtxObject, base: LtxObject | null, findings: Findings): void {
  if (base === null || object.minTxid === 1 || object.maxTxid > base.maxTxid) return;
  const message = `lies before the oldest snapshot (TXID ${base.maxTxid}): no restore uses it`;
  findings.add("unreachable-object", object.key, object.maxTxid, message);
}

/** Compares an object with the chain value that the manifest names at its TXID. */
function checkManifestChain(manifest: ManifestReading, facts: ObjectFacts, findings: Findings): void {
  if (manifest.kind !== "manifest") return;
  const { txid, chain } = manifest.manifest.latest;
  const { object, metadata } = facts;
  if (object.maxTxid !== txid || metadata.chain === null || typeof chain !== "string") return;
  if (metadata.chain === chain) return;
  const message = `has chain value ${metadata.chain}, the manifest names ${chain} at TXID ${txid}`;
  findings.add("manifest-contradicts", object.key, txid, message);
}

/** Draws the objects that are read in full. */
function chooseObjects(objects: readonly LtxObject[], percent: number, env: Env): ReadonlySet<LtxObject> {
  if (percent >= 100) return new Set(objects);
  if (percent <= 0 || objects.length === 0) return new Set();
  const chosen = objects.filter(() => env.random() * 100 < percent);
  return new Set(chosen.length > 0 ? chosen : [objects[Math.floor(env.random() * objects.length)]!]);
}

function startCounts(objects: readonly LtxObject[]): VerifyCounts {
  const newest = objects.reduce<number>((max, object) => Math.max(max, object.maxTxid), 0);
  return {
    objects: objects.length,
    bytes: objects.reduce((sum, object) => sum + object.sizeBytes, 0),
    snapshots: objects.filter((object) => object.minTxid === 1).length,
    chainedObjects: 0,
    unchainedObjects: 0,
    lostMetadataObjects: 0,
    readObjects: 0,
    readBytes: 0,
    minTxid: oldestBaseOrNull(objects)?.maxTxid ?? null,
    maxTxid: newest === 0 ? null : newest,
    restoredTxid: null,
    integrity: null,
    comparedWithLive: false,
    omittedFindings: 0,
  };
}

function count(counts: VerifyCounts, check: ListedVerdict, facts: ObjectFacts): void {
  if (isChained(check.object, facts.metadata)) counts.chainedObjects++;
  else counts.unchainedObjects++;
  if (check.sha256 === null) return;
  counts.readObjects++;
  counts.readBytes += check.object.sizeBytes;
}

/** Whether a listed object is gone, or the manifest changed. */
async function hasChanged(
  store: ObjectStore,
  name: string,
  manifest: ManifestReading,
  listing: Listing,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const manifestNow = await readManifest(store, name, signal);
  if (JSON.stringify(manifestNow) !== JSON.stringify(manifest)) return true;
  const { objects } = await takeListing(store, name, signal);
  const keys = new Set(objects.map((object) => object.key));
  return listing.objects.some((object) => !keys.has(object.key));
}

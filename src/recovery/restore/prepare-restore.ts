/**
 * Prepares a restore: from the sources of a database to a complete and checked file under a temporary name.
 *
 * Each object is checked when it is applied (SHA-256, LTX checksums, chain, database checksum), and SQLite
 * checks the whole at the end. Until the file is published the target is untouched.
 *
 * Where an object of the plan is damaged or missing, and other objects lead to the same TXID, the restore
 * leaves the object out and reports its key. The TXID is resolved from the whole listing, damaged objects
 * included: damage never changes the TXID, and the other objects pass the same checks.
 *
 * The spool is asked before the bucket. If the result with the spool is unsound, the restore logs a warning
 * and begins again from the bucket alone; the newest TXID is then the newest in the bucket.
 */
import { RecentDeletedUsers } from "../../database/deleted-users.ts";
import type { Env } from "../../env.ts";
import { errorMessage, hasCode, WalrustError } from "../../errors.ts";
import type { Txid } from "../../format/types.ts";
import type { LocalPlaces } from "../../local/places.ts";
import { type LtxObject, readHeader } from "../../storage/bucket/catalog.ts";
import { assertNotForeign, foreignErrorOr, isDoubtful } from "../../storage/bucket/foreign-layout.ts";
import {
  type Manifest,
  type ManifestReading,
  otherNameOrNull,
  readManifest,
} from "../../storage/bucket/manifest.ts";
import { missingBackupError } from "../../storage/bucket/missing-backup.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { checkInProcess, type IntegrityChecker } from "../integrity/integrity-child.ts";
import { assessVerdict, type IntegrityMode, type IntegrityVerdict } from "../integrity/integrity-verdict.ts";
import { BucketSource } from "../object/bucket-source.ts";
import { checkListed, readTime } from "../object/check-object.ts";
import { fetchInOrder } from "../object/fetch-in-order.ts";
import { joinListings } from "../object/object-source.ts";
import { assertSameAsStored, newestCopiedOrNull } from "../object/spool-agreement.ts";
import { SpoolSource } from "../object/spool-source.ts";
import { ExcludedObjects } from "../plan/excluded-objects.ts";
import { planRestore, type RestorePlan } from "../plan/restore-plan.ts";
import { fixedPoint, type PointInTime, resolveTarget } from "../plan/restore-point.ts";
import { applyObject, type PathState, startOfPath } from "./apply-object.ts";
import {
  assertFirstCorroborated,
  assertFoundIsEarlier,
  assertNewestCorroborated,
  assertNextIsLater,
  planCorroboration,
  type Surroundings,
} from "./corroboration.ts";
import type { DatabaseBuilder } from "./database-builder.ts";
import { DraftFile } from "./draft-file.ts";
import { assertTargetFree } from "./target-file.ts";
import { TargetFolder } from "./target-folder.ts";

/** Restores of at least this many bytes first read the newest header, to check the free space. */
const ASKED_FROM_BYTES = 16 << 20;

/** How often a restore lists the bucket because objects were deleted under it. */
const LISTINGS_MAX = 5;

/** The most objects before a sound object that contradicts its path that are suspected, beside the first. */
const SUSPECTS_MAX = 16;

/** The database to restore, and the file to restore it to. */
export interface PrepareRequest {
  readonly name: string;
  readonly outputPath: string;
  readonly point: PointInTime;
  /** Replace an existing target; it is kept beside it as `.pre-restore-<time>`. */
  readonly force: boolean;
  /** How SQLite checks the result; in full by default. */
  readonly integrityMode?: IntegrityMode;
  /** Whether a fault that the source had already is an error. */
  readonly isStrict?: boolean;
}

/** The surroundings of a restore. */
export interface RestoreContext {
  readonly store: ObjectStore;
  readonly env: Env;
  readonly signal?: AbortSignal;
  /**
   * Where this machine keeps the state and the spool of databases: the spool of the target is read before the
   * bucket, and the state of the restored database is left there. Absent: neither.
   */
  readonly places?: LocalPlaces;
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
  /** Shared by restores that run beside each other. */
  readonly deletedUsers?: RecentDeletedUsers;
  /** Checks the result; in this process by default, without bounds on time and memory. */
  readonly checker?: IntegrityChecker | undefined;
}

/** The objects that lead to the requested point, from the listing of now. */
export interface CurrentPlan {
  readonly txid: Txid;
  readonly notice: string | null;
  readonly objects: readonly LtxObject[];
  /** The listing that the plan was made from, and the manifest that was read before it. */
  readonly listing: readonly LtxObject[];
  readonly manifest: ManifestReading;
  /** The points around a requested time, or null. */
  readonly found: LtxObject | null;
  readonly next: LtxObject | null;
}

/** A restored database that is complete and checked. The caller publishes and closes the draft. */
export interface PreparedRestore {
  readonly draft: DraftFile;
  readonly plan: CurrentPlan;
  readonly path: PathState;
  readonly integrity: IntegrityVerdict;
  /** Keys of the damaged or missing objects that were left out. */
  readonly damaged: readonly string[];
  /** The objects of the plan that came from the spool alone. */
  readonly unsent: readonly LtxObject[];
}

/** The sources of one database. */
interface Sources {
  readonly bucket: BucketSource;
  /** Asked before the bucket; null when this machine holds nothing of the database. */
  readonly spool: SpoolSource | null;
}

/**
 * Restores a database to a draft beside its target.
 * @param request its output path has all links resolved
 * @throws WalrustError as `restore`
 */
export async function prepareRestore(
  request: PrepareRequest,
  context: RestoreContext,
): Promise<PreparedRestore> {
  try {
    // An application that has the deleted file of a path open never sees the file that is restored there.
    (context.deletedUsers ?? new RecentDeletedUsers(context.env)).requireNone(request.outputPath);
    refuseEarly(request.outputPath, request.force);
    const point = fixedPoint(request.point, context.env.nowMs());
    return await prepareAround({ ...request, point }, context);
  } catch (error) {
    throw await foreignErrorOr(error, context.store, request.name, context.signal);
  }
}

/** Plans a restore without downloading more than headers. @throws WalrustError as `restore` */
export async function planDryRun(request: PrepareRequest, context: RestoreContext): Promise<CurrentPlan> {
  try {
    const point = fixedPoint(request.point, context.env.nowMs());
    const planner = new Planner({ ...request, point }, context);
    return await planner.plan(openSources(request, context), new ExcludedObjects());
  } catch (error) {
    throw await foreignErrorOr(error, context.store, request.name, context.signal);
  }
}

function openSources({ name, outputPath }: PrepareRequest, { store, places }: RestoreContext): Sources {
  const spool = places === undefined ? null : SpoolSource.openOrNull(outputPath, store, name, places);
  return { bucket: new BucketSource(store, name), spool };
}

/** A target that must not be replaced costs no download. */
function refuseEarly(outputPath: string, force: boolean): void {
  const folder = TargetFolder.openOrNull(outputPath);
  if (folder === null) return;
  try {
    assertTargetFree(folder, force);
  } finally {
    folder.close();
  }
}

/**
 * Plans from a new listing each time. Retention and compaction may delete objects between a listing and the
 * reading of its objects, or between the listings of two levels; the next listing shows the replacement.
 */
class Planner {
  readonly #request: PrepareRequest;
  readonly #context: RestoreContext;
  #listings = 0;
  /** The last failure to plan, which the next listing has to confirm. */
  #doubted: string | null = null;

  constructor(request: PrepareRequest, context: RestoreContext) {
    this.#request = request;
    this.#context = context;
  }

  /** Whether another listing may be made. */
  get canPlanAgain(): boolean {
    return this.#listings < LISTINGS_MAX;
  }

  /** Plans, and plans again while objects vanish that the plan depends on. */
  async plan(sources: Sources, excluded: ExcludedObjects): Promise<CurrentPlan> {
    for (;;) {
      this.#listings++;
      try {
        return await planNow(this.#request, this.#context, sources, excluded);
      } catch (error) {
        const isMissing = hasCode(error, "not-found");
        const isTorn = hasCode(error, "integrity") || hasCode(error, "restore");
        if (!isMissing && (!isTorn || error.message === this.#doubted)) throw error;
        if (!this.canPlanAgain) throw isMissing ? unreadable(error) : error;
        if (isTorn) this.#doubted = error.message;
        else this.logChange();
      }
    }
  }

  logChange(): void {
    const { name: database } = this.#request;
    this.#context.env.log.info("the bucket changed under the restore; planning again", { database });
  }
}

/** The error about an object that every listing names, and that no request finds. */
function unreadable(error: WalrustError): WalrustError {
  const message = `${error.message}, although the bucket lists it`;
  return new WalrustError("integrity", message, { context: error.context, cause: error });
}

/** Builds by one plan after another, until a plan succeeds or none is left. */
async function prepareAround(request: PrepareRequest, context: RestoreContext): Promise<PreparedRestore> {
  const { env } = context;
  const { name: database } = request;
  const excluded = new ExcludedObjects();
  const planner = new Planner(request, context);
  let sources = openSources(request, context);
  let plan = await planner.plan(sources, excluded);
  for (;;) {
    const progress: BuildProgress = { appliedObjects: 0, isBuilt: false };
    try {
      const around = { ...plan, listing: excluded.without(plan.listing) };
      const built = await build(request, around, sources, context, progress);
      const { spool } = sources;
      const unsent = plan.objects.filter((object) => spool?.isWaiting(object) === true);
      return { ...built, plan, damaged: excluded.keys, unsent };
    } catch (error) {
      const isUnsound = hasCode(error, "integrity") || hasCode(error, "corrupt");
      if (isUnsound && sources.spool !== null) {
        env.log.warn(`the local copies cannot be used: ${error.message}; restoring from the bucket alone`, {
          database,
        });
        sources = { ...sources, spool: null };
        plan = await planner.plan(sources, excluded);
        continue;
      }
      const failed = plan.objects[progress.appliedObjects];
      const isMissing = hasCode(error, "not-found");
      if (!isUnsound && !isMissing) throw error;
      // An object that is listed again and cannot be read again is lost.
      const isFirstMiss = isMissing && (failed === undefined || excluded.isFirstMiss(failed));
      if (isFirstMiss && planner.canPlanAgain) {
        planner.logChange();
        plan = await planner.plan(sources, excluded);
        continue;
      }
      if (failed === undefined) throw isMissing ? unreadable(error) : error;
      const isContradiction = isUnsound && !progress.isBuilt;
      const suspects = isContradiction ? await suspectsOf(failed, plan, context) : [failed];
      const next = excluded.exclude(suspects, error, plan);
      plan = next.plan;
      const { key } = next.excluded;
      env.log.warn(`${key} cannot be used, restoring without it: ${error.message}`, { database, key });
    }
  }
}

/**
 * The objects that may be the wrong one: the object that failed, and if that is sound by itself, the objects
 * before it. One of them may belong to another history, such as a merged object of a writer that was stopped.
 */
async function suspectsOf(
  failed: LtxObject,
  { objects }: CurrentPlan,
  { store, signal }: RestoreContext,
): Promise<readonly LtxObject[]> {
  const before = objects.slice(0, objects.indexOf(failed)).toReversed();
  const [base] = objects;
  if (before.length === 0 || base === undefined) return [failed];
  try {
    const { findings } = await checkListed(store, failed, {}, signal);
    return findings.length === 0 ? [failed, ...before.slice(0, SUSPECTS_MAX), base] : [failed];
  } catch (error) {
    if (hasCode(error, "not-found")) return [failed];
    throw error;
  }
}

/** Plans from the present listing. The manifest is read first: a later listing shows all that it names. */
async function planNow(
  request: PrepareRequest,
  { store, env, signal }: RestoreContext,
  { bucket, spool }: Sources,
  excluded: ExcludedObjects,
): Promise<CurrentPlan> {
  const manifest = await readManifest(store, request.name, signal);
  const stored = await bucket.list(signal);
  const listing = joinListings(stored, await (spool?.list() ?? []));
  if (isDoubtful(stored)) await assertNotForeign(store, request.name, signal);
  if (listing.length === 0) throw await missingBackupError(store, request.name, signal);
  if (manifest.kind === "unreadable") env.log.warn(`the manifest cannot be used: ${manifest.reason}`);
  if (manifest.kind === "manifest") warnOfName(manifest.manifest, request.name, env);
  const isWaiting = (object: LtxObject | null): boolean =>
    object !== null && spool?.isWaiting(object) === true;
  const timeOf = (object: LtxObject): Promise<number> =>
    isWaiting(object) ? spool!.readTime(object) : readTime(store, object, signal);
  const target = await resolveTarget(request.point, listing, manifest, timeOf, env.nowMs());
  const { txid, found, next } = target;
  const { objects } = excluded.isEmpty
    ? assertPlan(request.name, planRestore(listing, txid))
    : excluded.plan(listing, txid);
  // The spool proves the time of a waiting file by its SHA-256; the bucket does not hold it.
  const around = { found: isWaiting(found) ? null : found, next: isWaiting(next) ? null : next };
  return { ...target, ...around, objects, listing, manifest };
}

/** No object names its database, so the manifest alone shows that a folder holds another one. */
function warnOfName(manifest: Manifest, database: string, { log }: Env): void {
  const other = otherNameOrNull(manifest, database);
  if (other === null) return;
  log.warn(`the manifest of ${database} is that of ${JSON.stringify(other)}: is this the right backup?`, {
    database,
    hint: `If the folder was renamed or copied, \`walrust verify ${database} --fix\` writes it anew`,
  });
}

/** The progress of a build. When a build fails, the object at this index has failed. */
interface BuildProgress {
  appliedObjects: number;
  /** All objects are applied: objects beside the path may contradict the state from now on. */
  isBuilt: boolean;
}

/** Builds and checks the file. */
async function build(
  request: PrepareRequest,
  plan: CurrentPlan,
  sources: Sources,
  context: RestoreContext,
  progress: BuildProgress,
): Promise<Pick<PreparedRestore, "draft" | "path" | "integrity">> {
  const path = startOfPath();
  const { objects } = plan;
  let draft: DraftFile | null = null;
  try {
    await assertSpoolAgrees(objects, sources, context, progress);
    draft = DraftFile.create(request.outputPath, context.env);
    await assertSpaceForAll(objects, draft, context);
    await applyAll(objects, sources, draft, path, context, progress);
    progress.isBuilt = true;
    draft.builder.sync();
    const integrity = await checkResult(draft, request, context);
    await assertAskedFor(request.point, plan, { path, builder: draft.builder }, context, progress);
    return { draft, path, integrity };
  } catch (error) {
    draft?.close();
    if (error instanceof WalrustError) throw withWayOut(error, request.name, path.txid);
    throw restoreError(error, request.name);
  }
}

/** Checks that the spool holds the history of the bucket. @throws as `assertSameAsStored` */
async function assertSpoolAgrees(
  objects: readonly LtxObject[],
  { spool }: Sources,
  { store, signal }: RestoreContext,
  progress: BuildProgress,
): Promise<void> {
  const copied = spool === null ? null : newestCopiedOrNull(spool, objects);
  if (copied === null) return;
  progress.appliedObjects = objects.indexOf(copied.object);
  await assertSameAsStored(store, copied, signal);
  progress.appliedObjects = 0;
}

/**
 * Checks with objects beside the path that the state is of this history, and is the one that was asked for.
 * Contradicted, an object of the plan has failed: other ones may lead to the same TXID.
 */
async function assertAskedFor(
  point: PointInTime,
  { objects, found, next, listing, manifest }: CurrentPlan,
  { path, builder }: { readonly path: PathState; readonly builder: DatabaseBuilder },
  { store, signal }: RestoreContext,
  progress: BuildProgress,
): Promise<void> {
  const around: Surroundings = { store, listing, manifest, builder, signal };
  const { first, newest } = path;
  const needed = planCorroboration(objects);
  progress.appliedObjects = 0;
  if (needed.first && first !== null && first !== newest) await assertFirstCorroborated(first, around);
  progress.appliedObjects = objects.length - 1;
  if (needed.newest && newest !== null) await assertNewestCorroborated(newest, around);
  progress.appliedObjects = objects.length;
  if (point.kind !== "time" || newest === null) return;
  if (found !== null) await assertFoundIsEarlier(found, newest, point.timeMs, around);
  if (next !== null) await assertNextIsLater(next, newest, point.timeMs, around);
}

/** An unexpected failure of a restore, such as one of the disk. */
export function restoreError(error: unknown, name: string): WalrustError {
  if (error instanceof WalrustError) return error;
  return new WalrustError("restore", `Restore of ${name} failed: ${errorMessage(error)}`, { cause: error });
}

/**
 * Refuses a large restore whose result does not fit on the disk. The builder checks the free space again for
 * each object, so a header that cannot be read here is ignored.
 */
async function assertSpaceForAll(
  objects: readonly LtxObject[],
  draft: DraftFile,
  { store, signal }: RestoreContext,
): Promise<void> {
  const objectBytes = objects.reduce((sum, object) => sum + object.sizeBytes, 0);
  const newest = objects.at(-1);
  if (newest === undefined || objects.length === 1 || objectBytes < ASKED_FROM_BYTES) return;
  const header = await readHeader(store, newest.key, signal).catch(() => null);
  signal?.throwIfAborted();
  if (header !== null) draft.assertFreeSpace(header.commit * header.pageSizeBytes, objectBytes);
}

async function applyAll(
  objects: readonly LtxObject[],
  { bucket, spool }: Sources,
  { builder }: DraftFile,
  path: PathState,
  { signal, onProgress }: RestoreContext,
  progress: BuildProgress,
): Promise<void> {
  const sources = spool === null ? [bucket] : [spool, bucket];
  const totalBytes = objects.reduce((sum, object) => sum + object.sizeBytes, 0);
  let doneBytes = 0;
  for await (const fetched of fetchInOrder(sources, objects, signal)) {
    await applyObject(fetched, builder, path, (byteCount) => {
      doneBytes += byteCount;
      onProgress?.(doneBytes, totalBytes);
    });
    progress.appliedObjects++;
  }
}

/** SQLite's verdict on the finished file. @throws WalrustError code "integrity" when it must not be used */
async function checkResult(
  { path, builder }: DraftFile,
  { name, integrityMode = "full", isStrict = false }: PrepareRequest,
  { env, signal, checker = checkInProcess }: RestoreContext,
): Promise<IntegrityVerdict> {
  const verdict = await checker(path, integrityMode, { env, signal });
  signal?.throwIfAborted();
  const warning = assessVerdict(verdict, { name, isProven: builder.isProven, isStrict });
  if (warning !== null) env.log.warn(warning, { database: name });
  return verdict;
}

/**
 * Adds a hint to the error of an object: the newest point that can still be restored.
 * @param txid the TXID that the restore had reached, or 0
 */
function withWayOut(error: WalrustError, name: string, txid: number): WalrustError {
  const isUnsound = error.code === "integrity" || error.code === "corrupt";
  if (!isUnsound || error.hint !== undefined) return error;
  const hint =
    txid === 0
      ? `No other objects lead there; walrust verify ${name} --read-data lists all damage`
      : `The last point before it can be restored: --point-in-time txid:${txid}`;
  return new WalrustError(error.code, error.message, { hint, context: error.context, cause: error });
}

function assertPlan(name: string, plan: ReturnType<typeof planRestore>): RestorePlan {
  if (plan.kind === "plan") return plan;
  if (plan.kind === "gap") {
    const next =
      plan.nextTxid === null ? "nothing follows" : `the next object begins at TXID ${plan.nextTxid}`;
    const hint =
      plan.afterTxid === 0
        ? "The first snapshot of the history is gone"
        : `Restore the last point before the gap with --point-in-time txid:${plan.afterTxid}`;
    throw new WalrustError("integrity", `${name} has a gap after TXID ${plan.afterTxid}: ${next}`, {
      hint,
      context: { database: name, afterTxid: plan.afterTxid },
    });
  }
  throw new WalrustError("restore", `${name} has no such restorable point`);
}

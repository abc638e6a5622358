/**
 * Restore: from a destination to a database file that is proven before anybody can see it.
 *
 * The file is built under a temporary name beside the target, checked (SHA-256, LTX checksums, chain,
 * database checksum after every object, `PRAGMA integrity_check`), synced, and renamed. Until the rename the
 * target is untouched; whatever goes wrong, the temporary file is removed and the error names the object.
 *
 * Where an object of the plan is damaged or missing, and other objects lead to the same TXID, it is left out
 * and said to be. The TXID is resolved from the whole listing, the damaged objects among it: it never changes
 * for their sake, and what is built around them passes the same checks.
 */
import { rmSync } from "node:fs";
import { resolve } from "node:path";
import type { Env } from "../../env.ts";
import { errorMessage, hasCode, WalrustError } from "../../errors.ts";
import { hex } from "../../format/chain.ts";
import type { Txid } from "../../format/types.ts";
import { type LtxObject, listObjects, readHeader } from "../../storage/bucket/catalog.ts";
import { assertNotForeign, foreignErrorOr, isDoubtful } from "../../storage/bucket/foreign-layout.ts";
import { readManifest } from "../../storage/bucket/manifest.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { checkInProcess, type IntegrityChecker } from "../integrity/integrity-child.ts";
import { type IntegrityMode, type IntegrityVerdict, judge, SKIPPED } from "../integrity/integrity-verdict.ts";
import { fetchInOrder, type LocalCopies } from "../object/object-source.ts";
import { Detour } from "../plan/detour.ts";
import { newestTxid, planRestore, type RestorePlan } from "../plan/restore-plan.ts";
import { fixedPoint, type PointInTime, resolveTarget } from "../plan/restore-point.ts";
import { applyObject, type PathState, startOfPath } from "./apply-object.ts";
import { DatabaseBuilder } from "./database-builder.ts";
import { assertRoom } from "./room.ts";
import { accessForTarget, type FileAccess } from "./target-access.ts";
import { assertTargetFree, moveAside, publish, statsOrNull } from "./target-file.ts";
import { resolvePlace, TargetFolder } from "./target-folder.ts";

/** Objects of so many bytes are worth a request more, which finds out whether there is room. */
const ASKED_FROM_BYTES = 16 << 20;

/** How often a restore lists because objects were deleted under it. */
const LISTINGS_MAX = 5;

/** What is to be restored, and where to. */
export interface RestoreRequest {
  readonly name: string;
  readonly outputPath: string;
  readonly point: PointInTime;
  /** Replace an existing target; it is kept beside it as `.pre-restore-<time>`. */
  readonly force: boolean;
  /** Plan only: nothing is downloaded but headers. */
  readonly dryRun: boolean;
  /** How SQLite checks the result; in full by default. */
  readonly integrityMode?: IntegrityMode;
  /** Whether a fault that the source had already is an error. */
  readonly isStrict?: boolean;
}

/** What was restored. */
export interface RestoreResult {
  readonly name: string;
  readonly outputPath: string;
  readonly txid: number;
  readonly timeMs: number | null;
  readonly bytes: number;
  readonly objects: number;
  readonly downloadedBytes: number;
  readonly durationMs: number;
  readonly notice: string | null;
  /** Keys of damaged or missing objects that it was restored without. */
  readonly damaged: readonly string[];
  /** Where the file that was there before is now. */
  readonly previousPath: string | null;
  /** SQLite's verdict on the file. */
  readonly integrity: IntegrityVerdict;
  /** Owner and mode of the file, and where they come from; null when nothing was written. */
  readonly access: FileAccess | null;
  readonly checks: {
    readonly sha256Objects: number;
    readonly unchainedObjects: number;
    readonly databaseChecksum: string | null;
    readonly integrityCheck: IntegrityVerdict["status"];
  };
}

/** What restore leaves behind so that a following watch uploads only differences. */
export interface RestoredState {
  readonly name: string;
  /** With all links resolved. */
  readonly outputPath: string;
  readonly builder: DatabaseBuilder;
  readonly chain: string | null;
  /** What it was restored from, in order. */
  readonly objects: readonly LtxObject[];
}

/** What restore needs from outside. */
export interface RestoreContext {
  readonly store: ObjectStore;
  readonly env: Env;
  readonly signal?: AbortSignal;
  /** Copies on this machine, used before the network. */
  readonly local?: LocalCopies | undefined;
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
  /** Checks the result; in this process by default, without bounds on time and memory. */
  readonly checker?: IntegrityChecker | undefined;
  /** Writes the state beside the restored database; called before the rename. */
  readonly leaveState: (state: RestoredState) => void;
}

/**
 * Restores a database.
 * @throws WalrustError codes restore, integrity, corrupt, database, usage or a storage code; the target is
 * untouched
 */
export async function restore(request: RestoreRequest, context: RestoreContext): Promise<RestoreResult> {
  try {
    return await restoreOurs(request, context);
  } catch (error) {
    throw await foreignErrorOr(error, context.store, request.name, context.signal);
  }
}

async function restoreOurs(request: RestoreRequest, context: RestoreContext): Promise<RestoreResult> {
  const { env } = context;
  const startedMs = env.monotonicMs();
  const { path: outputPath, isLinked } = resolvePlace(request.outputPath);
  const point = fixedPoint(request.point, env.nowMs());
  if (!request.dryRun) refuseEarly(outputPath, request.force);
  const detour = new Detour();
  const found = request.dryRun
    ? { plan: await planNow({ ...request, point }, context, context.local, detour), built: null }
    : await buildAround({ ...request, outputPath, point }, context, detour);
  const { plan, built } = found;
  return {
    name: request.name,
    outputPath: isLinked ? outputPath : resolve(request.outputPath),
    txid: plan.txid,
    timeMs: built?.timeMs ?? null,
    bytes: built?.bytes ?? 0,
    objects: plan.objects.length,
    downloadedBytes: plan.objects.reduce((sum, object) => sum + object.sizeBytes, 0),
    durationMs: Math.round(env.monotonicMs() - startedMs),
    notice: plan.notice,
    damaged: detour.keys,
    previousPath: built?.previousPath ?? null,
    integrity: built?.integrity ?? SKIPPED,
    access: built?.access ?? null,
    checks: built === null ? NO_CHECKS : checksOf(built),
  };
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

/** Builds along one way after another, until one is whole or there is no other. */
async function buildAround(
  request: RestoreRequest,
  context: RestoreContext,
  detour: Detour,
): Promise<{ readonly plan: PlanNow; readonly built: Built }> {
  const { env } = context;
  const { name: database } = request;
  let local = context.local;
  let plan = await planNow(request, context, local, detour);
  for (let listings = 1; ; ) {
    const progress: BuildProgress = { appliedObjects: 0 };
    try {
      const built = await build(request, plan.objects, { ...context, local }, progress);
      return { plan, built };
    } catch (error) {
      const isUnsound = hasCode(error, "integrity") || hasCode(error, "corrupt");
      if (isUnsound && local !== undefined) {
        env.log.warn(`with the local copies: ${error.message}; trying without them`, { database });
        local = undefined;
        plan = await planNow(request, context, local, detour);
        continue;
      }
      const failed = plan.objects[progress.appliedObjects];
      const isMissing = hasCode(error, "not-found");
      if ((!isUnsound && !isMissing) || failed === undefined) throw error;
      // Retention or compaction deleted what the plan counts on: what replaced it is in a new listing. What
      // is listed again and cannot be read again is lost.
      if (isMissing && detour.isFirstMiss(failed) && listings < LISTINGS_MAX) {
        env.log.info("the bucket changed under the restore; planning again", { database });
        listings++;
        plan = await planNow(request, context, local, detour);
        continue;
      }
      plan = detour.around(failed, error, plan);
      env.log.warn(`${failed.key} cannot be used, restoring without it: ${error.message}`, {
        database,
        key: failed.key,
      });
    }
  }
}

interface PlanNow {
  readonly txid: Txid;
  readonly notice: string | null;
  readonly objects: readonly LtxObject[];
  /** What it was planned from. */
  readonly listing: readonly LtxObject[];
}

/** Plans from the present listing. The manifest is read first: what it names is in any later listing. */
async function planNow(
  request: RestoreRequest,
  context: RestoreContext,
  local: LocalCopies | undefined,
  detour: Detour,
): Promise<PlanNow> {
  const { store, env, signal } = context;
  const manifest = await readManifest(store, request.name, signal);
  const stored = await listObjects(store, request.name, signal);
  const listing = request.point.kind === "time" ? stored : withUnsent(stored, local);
  if (isDoubtful(stored)) await assertNotForeign(store, request.name, signal);
  if (listing.length === 0) throw await nothingThere(request.name, store);
  if (manifest.kind === "unreadable") env.log.warn(`the manifest cannot be used: ${manifest.reason}`);
  const { txid, notice } = await resolveTarget(request.point, listing, manifest, store, env.nowMs());
  const { objects } = detour.isTaken
    ? detour.plan(listing, txid)
    : assertPlan(request.name, planRestore(listing, txid));
  return { txid, notice, objects, listing };
}

/**
 * What was captured here and never uploaded continues the listing; if the bucket went on without it, it is
 * void.
 */
function withUnsent(stored: readonly LtxObject[], local: LocalCopies | undefined): readonly LtxObject[] {
  const unsent = local?.unsent ?? [];
  const isContinuation = unsent.every(({ minTxid }) => minTxid > newestTxid(stored));
  return isContinuation ? [...stored, ...unsent] : stored;
}

const NO_CHECKS = {
  sha256Objects: 0,
  unchainedObjects: 0,
  databaseChecksum: null,
  integrityCheck: "skipped",
} as const;

interface Built {
  readonly timeMs: number;
  readonly bytes: number;
  readonly path: PathState;
  readonly checksum: string | null;
  readonly previousPath: string | null;
  readonly integrity: IntegrityVerdict;
  readonly access: FileAccess;
}

function checksOf({ path, checksum, integrity }: Built): RestoreResult["checks"] {
  return {
    sha256Objects: path.chainedObjects,
    unchainedObjects: path.unchainedObjects,
    databaseChecksum: checksum,
    integrityCheck: integrity.status,
  };
}

/** How far a build came: the object at this index is the one that stopped it. */
interface BuildProgress {
  appliedObjects: number;
}

/** Builds, checks and publishes the file. */
async function build(
  request: RestoreRequest,
  objects: readonly LtxObject[],
  context: RestoreContext,
  progress: BuildProgress,
): Promise<Built> {
  const { name } = request;
  const folder = TargetFolder.open(request.outputPath);
  const tempName = `.${folder.name}.restore-${hex(context.env.randomBytes(6))}`;
  let builder: DatabaseBuilder | null = null;
  const path = startOfPath();
  try {
    builder = new DatabaseBuilder(folder.shown(tempName), folder.at(tempName));
    await assertRoomForAll(objects, folder, context);
    await applyAll(objects, builder, path, context, progress);
    builder.sync();
    const integrity = await checkResult(folder.shown(tempName), builder, request, context);
    const { access, previousPath } = putInPlace(folder, tempName, builder, path, request, objects, context);
    const checksum = builder.hasChecksums ? builder.checksum.toString(16) : null;
    const bytes = builder.commit * builder.pageSizeBytes;
    return { timeMs: builder.timeMs, bytes, path, checksum, previousPath, integrity, access };
  } catch (error) {
    if (builder !== null) rmSync(folder.at(tempName), { force: true });
    if (error instanceof WalrustError) throw withWayOut(error, name, path.txid);
    throw new WalrustError("restore", `Restore of ${name} failed: ${errorMessage(error)}`, { cause: error });
  } finally {
    builder?.close();
    folder.close();
  }
}

/**
 * A restore of many objects is not begun where its end has no room. Each object is looked at again at its
 * turn, so a header that cannot be read now is no reason to stop.
 */
async function assertRoomForAll(
  objects: readonly LtxObject[],
  folder: TargetFolder,
  { store, signal }: RestoreContext,
): Promise<void> {
  const objectBytes = objects.reduce((sum, object) => sum + object.sizeBytes, 0);
  const newest = objects.at(-1);
  if (newest === undefined || objects.length === 1 || objectBytes < ASKED_FROM_BYTES) return;
  const header = await readHeader(store, newest.key, signal).catch(() => null);
  signal?.throwIfAborted();
  if (header === null) return;
  const databaseBytes = header.commit * header.pageSizeBytes;
  assertRoom({ databaseBytes, writtenBytes: 0, objectBytes }, folder.at(folder.name), folder.path);
}

async function applyAll(
  objects: readonly LtxObject[],
  builder: DatabaseBuilder,
  path: PathState,
  { store, signal, local, onProgress }: RestoreContext,
  progress: BuildProgress,
): Promise<void> {
  const totalBytes = objects.reduce((sum, object) => sum + object.sizeBytes, 0);
  let doneBytes = 0;
  for await (const fetched of fetchInOrder(store, objects, signal, local)) {
    await applyObject(fetched, builder, path, (byteCount) => {
      doneBytes += byteCount;
      onProgress?.(doneBytes, totalBytes);
    });
    progress.appliedObjects++;
  }
}

/** SQLite's verdict on the finished file. @throws WalrustError code "integrity" when it must not be used */
async function checkResult(
  tempPath: string,
  builder: DatabaseBuilder,
  { name, integrityMode = "full", isStrict = false }: RestoreRequest,
  { env, signal, checker = checkInProcess }: RestoreContext,
): Promise<IntegrityVerdict> {
  const verdict = await checker(tempPath, integrityMode, { env, signal });
  signal?.throwIfAborted();
  const warning = judge(verdict, { name, isProven: builder.isProven, isStrict });
  if (warning !== null) env.log.warn(warning, { database: name });
  return verdict;
}

/** Gives the finished file its owner, its state and its name. */
function putInPlace(
  folder: TargetFolder,
  tempName: string,
  builder: DatabaseBuilder,
  { chain }: PathState,
  { name, outputPath, force }: RestoreRequest,
  objects: readonly LtxObject[],
  { env, leaveState }: RestoreContext,
): Pick<Built, "access" | "previousPath"> {
  assertTargetFree(folder, force);
  const wanted = accessForTarget(statsOrNull(folder, folder.name), folder.stats());
  const access = { ...builder.setAccess(wanted), from: wanted.from };
  if (wanted.from === "replaced-file" && (access.uid !== wanted.uid || access.gid !== wanted.gid)) {
    const command = `chown ${wanted.uid}:${wanted.gid} ${outputPath}`;
    const hint = `Its application may not be able to open it: ${command}`;
    const found = `belongs to user ${access.uid} and group ${access.gid}`;
    const expected = `the file it replaces to ${wanted.uid} and ${wanted.gid}`;
    env.log.warn(`the restored file ${found}, ${expected}`, { database: name, hint });
  }
  builder.sync();
  leaveState({ name, outputPath, builder, chain, objects });
  const previousPath = moveAside(folder, env.nowMs());
  publish(folder, tempName, builder.stats);
  return { access, previousPath };
}

/**
 * An error of an object, with what can still be restored.
 * @param txid the newest that was reached before it, or 0
 */
function withWayOut(error: WalrustError, name: string, txid: number): WalrustError {
  const isUnsound = error.code === "integrity" || error.code === "corrupt";
  if (!isUnsound || error.hint !== undefined) return error;
  const hint =
    txid === 0
      ? `walrust verify ${name} --read-data tells what else is damaged; no other way leads there`
      : `What is before it can be restored: --point-in-time txid:${txid}`;
  return new WalrustError(error.code, error.message, { hint, context: error.context, cause: error });
}

function assertPlan(name: string, plan: ReturnType<typeof planRestore>): RestorePlan {
  if (plan.kind === "plan") return plan;
  if (plan.kind === "gap") {
    const next =
      plan.nextTxid === null ? "nothing follows" : `the next object begins at TXID ${plan.nextTxid}`;
    const hint =
      plan.afterTxid === 0
        ? "The snapshot that the history begins with is gone"
        : `Restore what is before the gap with --point-in-time txid:${plan.afterTxid}`;
    throw new WalrustError("integrity", `${name} has a gap after TXID ${plan.afterTxid}: ${next}`, {
      hint,
      context: { database: name, afterTxid: plan.afterTxid },
    });
  }
  throw new WalrustError("restore", `${name} has no such restorable point`);
}

/** Tells an empty prefix from a name that is slightly wrong, and from a bucket of another tool. */
async function nothingThere(name: string, store: ObjectStore): Promise<WalrustError> {
  const folders = await store.listFolders("");
  const known = folders.filter((folder) => folder !== name).slice(0, 10);
  const hint =
    known.length > 0
      ? `There are: ${known.join(", ")} (see \`walrust list\`)`
      : `Nothing is stored below ${store.url}`;
  return new WalrustError("restore", `No backup of ${JSON.stringify(name)} in ${store.url}`, {
    hint,
    context: { database: name },
  });
}

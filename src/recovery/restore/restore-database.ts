/**
 * Restore: from a destination to a database file that is proven before anybody can see it.
 *
 * The file is built and checked under a temporary name beside the target (prepare-restore.ts). Then it gets
 * the owner and mode of the file it replaces, its state is left for a watch, and it is renamed. Until the
 * rename the target is untouched; after a failure the temporary file is gone, and the error names the object.
 */
import { resolve } from "node:path";
import type { Env } from "../../env.ts";
import { type IntegrityVerdict, SKIPPED } from "../integrity/integrity-verdict.ts";
import type { DraftAccess } from "./draft-file.ts";
import { keptFiles } from "./kept-files.ts";
import {
  type CurrentPlan,
  type PreparedRestore,
  type PrepareRequest,
  planDryRun,
  prepareRestore,
  type RestoreContext,
  restoreError,
} from "./prepare-restore.ts";
import { leaveState } from "./restored-state.ts";
import type { FileAccess } from "./target-access.ts";
import { resolvePlace, TargetFolder } from "./target-folder.ts";

/** The database to restore, and the file to restore it to. */
export interface RestoreRequest extends PrepareRequest {
  /** Plan only: nothing is downloaded but headers. */
  readonly dryRun: boolean;
}

/** The result of a restore. */
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
  /** Keys of damaged or missing objects that the restore left out. */
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

/**
 * Restores a database.
 * @throws WalrustError codes restore, integrity, corrupt, database, usage or a storage code; the target is
 * untouched
 */
export async function restore(request: RestoreRequest, context: RestoreContext): Promise<RestoreResult> {
  const { env } = context;
  const startedMs = env.monotonicMs();
  const { path: outputPath, isLinked } = resolvePlace(request.outputPath);
  const shownPath = isLinked ? outputPath : resolve(request.outputPath);
  const resolved = { ...request, outputPath };
  warnOfKept(outputPath, request.name, env);
  if (request.dryRun) {
    const plan = await planDryRun(resolved, context);
    return { ...NOT_WRITTEN, ...planned(request.name, shownPath, plan), durationMs: elapsedMs() };
  }
  const prepared = await prepareRestore(resolved, context);
  try {
    const written = putInPlace(prepared, resolved, context);
    return { ...planned(request.name, shownPath, prepared.plan), ...written, durationMs: elapsedMs() };
  } catch (error) {
    throw restoreError(error, request.name);
  } finally {
    prepared.draft.close();
  }

  function elapsedMs(): number {
    return Math.round(env.monotonicMs() - startedMs);
  }
}

type Planned = Pick<RestoreResult, "name" | "outputPath" | "txid" | "objects" | "downloadedBytes" | "notice">;
type Written = Omit<RestoreResult, keyof Planned | "durationMs">;

/** The result of a restore that was only planned. */
const NOT_WRITTEN: Written = {
  timeMs: null,
  bytes: 0,
  damaged: [],
  previousPath: null,
  integrity: SKIPPED,
  access: null,
  checks: { sha256Objects: 0, unchainedObjects: 0, databaseChecksum: null, integrityCheck: "skipped" },
};

function planned(name: string, outputPath: string, { txid, notice, objects }: CurrentPlan): Planned {
  const downloadedBytes = objects.reduce((sum, object) => sum + object.sizeBytes, 0);
  return { name, outputPath, txid, objects: objects.length, downloadedBytes, notice };
}

/** Gives the draft its owner, its state and its name. */
function putInPlace(
  { draft, path, integrity, damaged, unsent }: PreparedRestore,
  { name, outputPath, force }: RestoreRequest,
  { store, env, places }: RestoreContext,
): Written {
  const { builder } = draft;
  const taken = draft.takeAccess(force);
  const stamp = draft.newStamp(env.nowMs());
  warnOfOwner(taken, name, outputPath, env);
  if (places !== undefined) {
    const owner = { destination: store.url, name };
    leaveState({ owner, path: outputPath, builder, chain: path.chain, unsent }, places, stamp, env);
  }
  return {
    timeMs: builder.timeMs,
    bytes: builder.commit * builder.pageSizeBytes,
    damaged,
    previousPath: draft.publish(stamp),
    integrity,
    access: taken.access,
    checks: {
      sha256Objects: path.chainedObjects,
      unchainedObjects: path.unchainedObjects,
      databaseChecksum: builder.hasChecksums ? builder.checksum.toString(16) : null,
      integrityCheck: integrity.status,
    },
  };
}

function warnOfOwner({ access, wanted }: DraftAccess, name: string, outputPath: string, { log }: Env): void {
  const isWanted = access.uid === wanted.uid && access.gid === wanted.gid;
  if (access.from !== "replaced-file" || isWanted) return;
  const hint = `Its application may not be able to open it: chown ${wanted.uid}:${wanted.gid} ${outputPath}`;
  const found = `belongs to user ${access.uid} and group ${access.gid}`;
  const expected = `the file it replaces to ${wanted.uid} and ${wanted.gid}`;
  log.warn(`the restored file ${found}, ${expected}`, { database: name, hint });
}

/** A restore that was killed while it exchanged a log leaves nothing at the target. */
function warnOfKept(outputPath: string, name: string, { log }: Env): void {
  const folder = TargetFolder.openOrNull(outputPath);
  if (folder === null) return;
  try {
    if (folder.statsOrNull(folder.name) !== null) return;
    const kept = keptFiles(folder).find(({ suffixes }) => suffixes.has(""));
    if (kept === undefined) return;
    const shown = folder.shown(kept.name);
    log.warn(`${outputPath} is missing, and ${shown} is the file that a restore replaced there last`, {
      database: name,
      hint: `\`walrust undo ${outputPath}\` puts that file back, also after this restore`,
    });
  } finally {
    folder.close();
  }
}

/**
 * Proves a backup: restores its newest state into a temporary folder, with every check of a restore and
 * SQLite's integrity_check. The folder is always removed, except after a SIGKILL: then the system cleans it
 * up.
 */
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Env } from "../../env.ts";
import { hasCode } from "../../errors.ts";
import { formatChecksum } from "../../format/ltx.ts";
import type { Txid } from "../../format/types.ts";
import { makeTempFolder, type TempFolder } from "../../local/temp-folder.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { checkInProcess, type IntegrityChecker } from "../integrity/integrity-child.ts";
import { assessVerdict, type IntegrityVerdict, warningOrNull } from "../integrity/integrity-verdict.ts";
import { BucketSource } from "../object/bucket-source.ts";
import { fetchInOrder } from "../object/fetch-in-order.ts";
import { planRestore } from "../plan/restore-plan.ts";
import { applyObject, startOfPath } from "../restore/apply-object.ts";
import { DatabaseBuilder } from "../restore/database-builder.ts";
import type { Findings } from "./verify-report.ts";

/** The content of a live database: its checksum (16 hex digits) at a TXID. */
export interface LiveContent {
  readonly txid: number;
  readonly checksum: string;
}

/** The database of a trial restore. */
export interface TrialRequest {
  readonly name: string;
  readonly objects: readonly LtxObject[];
  /** The content of the live database: then its TXID is restored and compared. */
  readonly live?: LiveContent | null;
  /** The parent of the temporary folder; the system's default if absent. */
  readonly tempFolder?: string;
  readonly signal?: AbortSignal;
  /** Checks the restored file; in this process by default. */
  readonly checker?: IntegrityChecker;
  /** Reports the bytes of objects that were read, of all that the restore needs. */
  readonly onTrialProgress?: (doneBytes: number, totalBytes: number) => void;
}

/** The outcome of a trial. "vanished": an object was deleted meanwhile, and a new listing is needed. */
export type TrialOutcome =
  | {
      readonly kind: "restored";
      readonly txid: number;
      readonly isCompared: boolean;
      readonly integrity: IntegrityVerdict;
    }
  | { readonly kind: "failed" }
  | { readonly kind: "vanished" };

/**
 * Restores the newest state (or the state to compare with the live database) into a temporary file and checks
 * the file. Damage becomes a finding.
 * @throws WalrustError with a storage code, or "database" when the temporary file cannot be written
 */
export async function restoreOnTrial(
  store: ObjectStore,
  request: TrialRequest,
  findings: Findings,
  env: Env,
): Promise<TrialOutcome> {
  const { live = null } = request;
  const atLive = live === null ? null : planRestore(request.objects, live.txid as Txid);
  const plan = atLive?.kind === "plan" ? atLive : planRestore(request.objects, null);
  if (plan.kind !== "plan") {
    findings.add("restore-failed", null, null, "no path of objects leads to the newest TXID");
    return { kind: "failed" };
  }
  const folder = makeFolder(request.tempFolder ?? tmpdir());
  try {
    const { checksum, integrity } = await build(
      store,
      plan.objects,
      join(folder.path, "trial.db"),
      request,
      env,
    );
    const isCompared = live !== null && plan.txid === live.txid;
    if (isCompared && checksum !== live.checksum) {
      const message = `restores to checksum ${checksum}, the live database has ${live.checksum} at this TXID`;
      findings.add("differs-from-live", null, plan.txid, message);
    }
    addVerdict(integrity, plan.txid, findings);
    return { kind: "restored", txid: plan.txid, isCompared, integrity };
  } catch (error) {
    if (hasCode(error, "not-found")) return { kind: "vanished" };
    if (!hasCode(error, "integrity") && !hasCode(error, "corrupt")) throw error;
    const { key } = error.context;
    findings.add("restore-failed", typeof key === "string" ? key : null, plan.txid, error.message);
    return { kind: "failed" };
  } finally {
    folder.remove();
  }
}

/** Adds SQLite's verdict on a correct copy: a fault of the source, or a part that SQLite cannot check. */
function addVerdict(verdict: IntegrityVerdict, txid: number, findings: Findings): void {
  const warning = warningOrNull(verdict);
  if (warning === null) return;
  findings.add(verdict.status === "failed" ? "source-damaged" : "not-checked", null, txid, warning);
}

function makeFolder(parent: string): TempFolder {
  return makeTempFolder(parent, "walrust-verify-", "Set TMPDIR to a folder with room for the database");
}

/**
 * Builds and checks the database. The builder compares the XOR of all page sums with the post-apply checksum
 * of each object that carries one.
 * @returns the database checksum and SQLite's verdict
 */
async function build(
  store: ObjectStore,
  objects: readonly LtxObject[],
  path: string,
  { name, signal, checker = checkInProcess, onTrialProgress }: TrialRequest,
  env: Env,
): Promise<{ checksum: string; integrity: IntegrityVerdict }> {
  const builder = new DatabaseBuilder(path);
  try {
    const progress = startOfPath();
    const totalBytes = objects.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    let doneBytes = 0;
    for await (const fetched of fetchInOrder([new BucketSource(store, name)], objects, signal)) {
      await applyObject(fetched, builder, progress, (byteCount) => {
        doneBytes += byteCount;
        onTrialProgress?.(doneBytes, totalBytes);
      });
    }
    builder.sync();
    const integrity = await checker(path, "full", { env, signal });
    assessVerdict(integrity, { name, isProven: builder.isProven, isStrict: false });
    return { checksum: formatChecksum(builder.checksum), integrity };
  } finally {
    builder.close();
  }
}

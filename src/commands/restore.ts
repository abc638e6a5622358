/**
 * `walrust restore`: restores a verified copy of a database, at its newest or an earlier point in time.
 */
import { existsSync } from "node:fs";
import { PATIENCE_OPTIONS, RESTORE_OPTIONS } from "../config/settings/options.ts";
import { STATE_OPTIONS, STORE_OPTIONS } from "../config/settings/settings.ts";
import { hasCode, WalrustError } from "../errors.ts";
import type { IntegrityMode } from "../recovery/integrity/integrity-verdict.ts";
import { parsePointInTime } from "../recovery/plan/restore-point.ts";
import { type RestoreResult, restore } from "../recovery/restore/restore-database.ts";
import type { FileAccess } from "../recovery/restore/target-access.ts";
import { listObjects } from "../storage/bucket/catalog.ts";
import { detectForeignLayoutOrNull } from "../storage/bucket/foreign-layout.ts";
import { integrityChecker, jsonStatus, verdictJson, verdictText } from "./shared/integrity.ts";
import { localPlaces } from "./shared/local-places.ts";
import { withPatience } from "./shared/open-destination.ts";
import { countOf, formatBytes, ProgressBar, printJson, printLine } from "./shared/output.ts";
import { type Invocation, NAME_MEANING, STORAGE_EXIT, settingsOf, type Verb } from "./shared/verb.ts";

/** The verb `restore`. */
export const restoreVerb: Verb = {
  name: "restore",
  summary: "Restore a database, at its newest or an earlier point in time",
  usage: "NAME -o PATH [-b URL]",
  options: [STORE_OPTIONS, RESTORE_OPTIONS, STATE_OPTIONS, PATIENCE_OPTIONS],
  positionals: { name: "NAME", min: 1, max: 1, meaning: NAME_MEANING },
  examples: [
    ["walrust restore app -o app.db -b file:///backup", "the newest state"],
    ["walrust restore app -o app.db -b s3://my-bucket/vm1 --point-in-time 2026-03-01T12:00:00Z", "at noon"],
    ["walrust restore app -o app.db -b s3://my-bucket/vm1 --point-in-time -2h", "two hours ago"],
    ["walrust restore app -o old.db -b s3://my-bucket/vm1 --point-in-time txid:41", "at a TXID"],
    [
      "walrust restore app -o app.db -b s3://my-bucket/vm1 --if-db-not-exists --if-replica-exists",
      "on boot: restore onto an empty disk; exit 0 if there is no backup yet",
    ],
  ],
  exitCodes: [
    [0, "restored and verified, with a warning for each fault of the source; or --if-… left nothing to do"],
    [2, "usage; or the target exists and --force is missing"],
    [3, "the target is not writable or is in use, or the disk is too small"],
    STORAGE_EXIT,
    [5, "integrity: an object is missing or damaged, or --strict found a fault; the target is unchanged"],
    [6, "no backup of NAME exists, another program wrote it, or the point in time is out of range"],
  ],
  run,
};

async function run(invocation: Invocation): Promise<number> {
  const values = settingsOf(invocation, RESTORE_OPTIONS);
  const { output } = values;
  if (output === undefined) {
    throw new WalrustError("usage", "No output file is given", { hint: "Name the file with -o PATH" });
  }
  const point = parsePointInTime(values.pointInTime);
  const integrityMode = values.integrityCheck as IntegrityMode;
  if (values.strict && integrityMode === "off") {
    throw new WalrustError("usage", "--strict and --integrity-check=off are both given", {
      hint: "Use --strict with --integrity-check=full or quick",
    });
  }
  const [name] = invocation.words.positionals as [string];
  if (values.ifDbNotExists && existsSync(output)) return nothingToDo(invocation, name, `${output} exists`);
  return withPatience(invocation, async (store) => {
    const { env, signal, isJson } = invocation;
    const mayBeAbsent = values.ifReplicaExists && (await isAbsent(() => listObjects(store, name)));
    // A backup of another program is a backup: no application may start empty beside it.
    if (mayBeAbsent && (await detectForeignLayoutOrNull(store, name, signal)) === null) {
      return nothingToDo(invocation, name, `no backup of ${name} exists in ${store.url}`);
    }
    const bar = new ProgressBar(`restoring ${name}`, () => env.monotonicMs());
    const { force, dryRun, strict: isStrict } = values;
    const request = { name, outputPath: output, point, force, dryRun, integrityMode, isStrict };
    const places = localPlaces(invocation);
    try {
      const result = await restore(request, {
        store,
        env,
        signal,
        checker: integrityChecker(),
        onProgress: (done, total) => bar.update(done, total),
        places,
      });
      bar.clear();
      report(result, values.dryRun, isJson);
      return 0;
    } catch (error) {
      bar.clear();
      throw error;
    }
  });
}

/** Whether the listing is empty, or the bucket or folder does not exist yet. */
async function isAbsent(list: () => Promise<readonly unknown[]>): Promise<boolean> {
  try {
    return (await list()).length === 0;
  } catch (error) {
    if (hasCode(error, "missing-bucket")) return true;
    throw error;
  }
}

function nothingToDo(invocation: Invocation, name: string, reason: string): number {
  if (invocation.isJson) printJson({ name, restored: false, reason });
  else printLine(`${name}: nothing restored, ${reason}`);
  return 0;
}

function report(result: RestoreResult, isDryRun: boolean, isJson: boolean): void {
  const time = result.timeMs === null ? null : new Date(result.timeMs).toISOString();
  if (isJson) {
    printJson({
      name: result.name,
      restored: !isDryRun,
      output: result.outputPath,
      txid: result.txid,
      time,
      bytes: result.bytes,
      objects: result.objects,
      downloaded_bytes: result.downloadedBytes,
      duration_ms: result.durationMs,
      notice: result.notice,
      damaged: result.damaged,
      previous: result.previousPath,
      checks: {
        sha256_objects: result.checks.sha256Objects,
        unchained_objects: result.checks.unchainedObjects,
        database_checksum: result.checks.databaseChecksum,
        integrity_check: jsonStatus(result.checks.integrityCheck),
      },
      integrity_check: verdictJson(result.integrity),
      owner: ownerJson(result.access),
    });
    return;
  }
  if (isDryRun) {
    const size = formatBytes(result.downloadedBytes);
    printLine(
      `${result.name}: would restore TXID ${result.txid} from ${countOf(result.objects, "object")} (${size})`,
    );
  } else {
    const size = formatBytes(result.bytes);
    printLine(`${result.name}: restored TXID ${result.txid} of ${time} to ${result.outputPath}`);
    printLine(
      `  ${size} from ${countOf(result.objects, "object")} in ${result.durationMs} ms; ${checksText(result)}`,
    );
  }
  if (result.access !== null) printLine(`  ${ownerText(result.access)}`);
  if (result.notice !== null) printLine(`  ${result.notice}`);
  for (const key of result.damaged) printLine(`  restored without ${key}, which is damaged`);
  if (result.previousPath !== null) printLine(`  the replaced file is now ${result.previousPath}`);
}

function ownerText({ uid, gid, mode, from }: FileAccess): string {
  const owner = `owner ${uid}, group ${gid}`;
  return from === "folder"
    ? `${owner}, from its folder; mode ${modeText(mode)}`
    : `${owner}, mode ${modeText(mode)}, from the replaced file`;
}

function ownerJson(access: FileAccess | null): unknown {
  if (access === null) return null;
  const { uid, gid, mode, from } = access;
  return { uid, gid, mode: modeText(mode), from: from.replaceAll("-", "_") };
}

function modeText(mode: number): string {
  return mode.toString(8).padStart(4, "0");
}

function checksText(result: RestoreResult): string {
  const { sha256Objects, unchainedObjects, databaseChecksum } = result.checks;
  const parts = [verdictText(result.integrity)];
  if (sha256Objects > 0) parts.push(`SHA-256 chain of ${countOf(sha256Objects, "object")} ok`);
  if (unchainedObjects > 0)
    parts.push(
      `no chain on ${countOf(unchainedObjects, "object")} (not written by walrust, or metadata lost)`,
    );
  if (databaseChecksum !== null) parts.push(`database checksum ${databaseChecksum}`);
  return parts.join(", ");
}

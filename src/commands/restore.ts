/**
 * `walrust restore`: restores a verified copy of a database, or of all, at its newest or an earlier point in
 * time.
 */
import { existsSync } from "node:fs";
import type { OptionValues } from "../config/settings/option-spec.ts";
import { PATIENCE_OPTIONS, PROGRESS_OPTIONS, RESTORE_OPTIONS } from "../config/settings/options.ts";
import { STATE_OPTIONS, STORE_OPTIONS } from "../config/settings/settings.ts";
import { WalrustError } from "../errors.ts";
import type { IntegrityChecker } from "../recovery/integrity/integrity-child.ts";
import type { IntegrityMode } from "../recovery/integrity/integrity-verdict.ts";
import { parsePointInTime } from "../recovery/plan/restore-point.ts";
import { restore } from "../recovery/restore/restore-database.ts";
import { isBackupAbsent } from "../storage/bucket/backup-absent.ts";
import type { ObjectStore } from "../storage/contract/store.ts";
import { type EachRestore, restoreAllDatabases } from "./restore/all-databases.ts";
import { restoreJson, restoreLines } from "./restore/restore-report.ts";
import type { NothingRestoredDocument } from "./shared/documents.ts";
import { integrityChecker } from "./shared/integrity.ts";
import { localPlaces } from "./shared/local-places.ts";
import { withPatience } from "./shared/open-destination.ts";
import { printJson, printLine } from "./shared/output.ts";
import { progressOf } from "./shared/progress-of.ts";
import { type Invocation, NAME_MEANING, STORAGE_EXIT, settingsOf, type Verb } from "./shared/verb.ts";

/** The verb `restore`. */
export const restoreVerb: Verb = {
  name: "restore",
  summary: "Restore a database, or all, at its newest or an earlier point in time",
  usage: "NAME -o PATH | --all --into DIR [-b URL]",
  options: [STORE_OPTIONS, RESTORE_OPTIONS, STATE_OPTIONS, PATIENCE_OPTIONS, PROGRESS_OPTIONS],
  positionals: { name: "NAME", min: 0, max: 1, meaning: NAME_MEANING },
  examples: [
    ["walrust restore app -o app.db -b file:///backup", "the newest state"],
    ["walrust restore app -o app.db -b s3://my-bucket/vm1 --point-in-time 2026-03-01T12:00:00Z", "at noon"],
    ["walrust restore app -o app.db -b s3://my-bucket/vm1 --point-in-time -2h", "two hours ago"],
    ["walrust restore app -o old.db -b s3://my-bucket/vm1 --point-in-time txid:41", "at a TXID"],
    ["walrust restore --all --into /var/lib/data -b s3://my-bucket/vm1", "all databases, 4 at a time"],
    [
      "walrust restore app -o app.db -b s3://my-bucket/vm1 --if-db-not-exists --if-replica-exists",
      "on boot: restore onto an empty disk; exit 0 if there is no backup yet",
    ],
  ],
  exitCodes: [
    [
      0,
      "restored and verified, with a warning for each fault of the source; or --if-… left nothing to do; " +
        "with --all: every database is restored (otherwise the first of 5, 6, 4, 3, 2 that one ended with)",
    ],
    [2, "usage; or the target exists and --force is missing; or a name has no place below --into"],
    [3, "the target is not writable or is in use, or the disk is too small"],
    STORAGE_EXIT,
    [5, "integrity: an object is missing or damaged, or --strict found a fault; the target is unchanged"],
    [6, "no backup of NAME exists, another program wrote it, or the point in time is out of range"],
  ],
  savesMemory: true,
  run,
};

async function run(invocation: Invocation): Promise<number> {
  const values = settingsOf(invocation, RESTORE_OPTIONS);
  const { strict: isStrict, force, dryRun, output, into } = values;
  const [name] = invocation.words.positionals;
  assertOneOrAll(values, name);
  const point = parsePointInTime(values.pointInTime);
  const integrityMode = values.integrityCheck as IntegrityMode;
  if (isStrict && integrityMode === "off") {
    throw new WalrustError("usage", "--strict and --integrity-check=off are both given", {
      hint: "Use --strict with --integrity-check=full or quick",
    });
  }
  const how = { point, force, dryRun, integrityMode, isStrict };
  if (into !== undefined) {
    const { jobs, prefix = null, ifReplicaExists } = values;
    return restoreAllDatabases(invocation, { into, prefix, jobs, how }, ifReplicaExists);
  }
  if (name === undefined || output === undefined) throw new Error("a restore has a name and an output");
  if (values.ifDbNotExists && existsSync(output)) return nothingToDo(invocation, name, `${output} exists`);
  return restoreOne(invocation, name, output, how, values.ifReplicaExists);
}

type RestoreValues = OptionValues<typeof RESTORE_OPTIONS>;

/**
 * @throws WalrustError code "usage" unless one database with its output is named, or all with their folder
 */
function assertOneOrAll({ all, into, output, prefix, ifDbNotExists }: RestoreValues, name?: string): void {
  const fail = (message: string, hint: string): never => {
    throw new WalrustError("usage", message, { hint });
  };
  if (!all) {
    if (into !== undefined || prefix !== undefined) {
      fail(
        `--${into === undefined ? "prefix" : "into"} is given without --all`,
        "Add --all, or name a file with -o",
      );
    }
    if (name === undefined)
      fail("No database is given", "Give one NAME with -o PATH, or --all with --into DIR");
    if (output === undefined) fail("No output file is given", "Name the file with -o PATH");
    return;
  }
  if (name !== undefined) fail(`${name} and --all are both given`, "Give one NAME, or --all");
  if (output !== undefined) fail("-o and --all are both given", "Name the folder with --into DIR");
  if (into === undefined) fail("No folder is given", "Name the folder with --into DIR");
  if (ifDbNotExists) {
    fail("--if-db-not-exists and --all are both given", "--all leaves files alone that are restored already");
  }
}

function restoreOne(
  invocation: Invocation,
  name: string,
  output: string,
  how: EachRestore,
  isReplicaOptional: boolean,
): Promise<number> {
  const work = async (store: ObjectStore): Promise<number> => {
    const { env, signal, isJson } = invocation;
    if (isReplicaOptional && (await isBackupAbsent(store, name, signal))) {
      return nothingToDo(invocation, name, `no backup of ${name} exists in ${store.url}`);
    }
    const request = { ...how, name, outputPath: output };
    const places = localPlaces(invocation);
    const shown = { verb: "restore", database: name, label: `restoring ${name}`, unit: "read" } as const;
    const result = await progressOf(invocation).during(shown, (report) => {
      let readBytes = 0;
      const onProgress = (doneBytes: number, totalBytes: number): void => {
        readBytes = totalBytes;
        report(doneBytes, totalBytes);
      };
      const inner = integrityChecker();
      const checker: IntegrityChecker = (path, mode, surroundings) => {
        report(readBytes, readBytes, "integrity_check");
        return inner(path, mode, surroundings);
      };
      return restore(request, { store, env, signal, checker, onProgress, places });
    });
    if (isJson) printJson(restoreJson(result, how.dryRun));
    else for (const line of restoreLines(result, how.dryRun)) printLine(line);
    return 0;
  };
  // Local state beside the output may know the destination.
  return withPatience(invocation, work, [output]);
}

function nothingToDo(invocation: Invocation, name: string, reason: string): number {
  if (invocation.isJson) printJson({ name, restored: false, reason } satisfies NothingRestoredDocument);
  else printLine(`${name}: nothing restored, ${reason}`);
  return 0;
}

/**
 * `walrust verify`: checks that the backups of one database, or of all, can be restored.
 */
import { PATIENCE_OPTIONS, PROGRESS_OPTIONS, VERIFY_OPTIONS } from "../config/settings/options.ts";
import { STATE_OPTIONS, STORE_OPTIONS } from "../config/settings/settings.ts";
import { hasCode, WalrustError } from "../errors.ts";
import { listVerifiable, type Verifiable } from "../recovery/verify/verifiable-databases.ts";
import { type VerifyOptions, verifyDatabase } from "../recovery/verify/verify-database.ts";
import { fixDatabase, type Repair } from "../recovery/verify/verify-fix.ts";
import { strangerReport, unverifiedReport, type VerifyReport } from "../recovery/verify/verify-report.ts";
import type { LiveContent } from "../recovery/verify/verify-restore.ts";
import { databasePathOrNull } from "../replication/control/announcements.ts";
import { askWatchByNameOrNull } from "../replication/control/control-client.ts";
import { concernsOneDatabase } from "../storage/bucket/error-scope.ts";
import {
  type ForeignLayout,
  ForeignLayoutError,
  findForeignDatabases,
} from "../storage/bucket/foreign-layout.ts";
import type { ObjectStore } from "../storage/contract/store.ts";
import type { VerifiedDatabase, VerifyDocument } from "./shared/documents.ts";
import { integrityChecker, verdictJson } from "./shared/integrity.ts";
import { runtimeFolders } from "./shared/local-places.ts";
import { withPatience } from "./shared/open-destination.ts";
import { countOf, printJson, printLine } from "./shared/output.ts";
import { RepeatedProgress } from "./shared/progress.ts";
import { progressOf } from "./shared/progress-of.ts";
import { ManyProgress } from "./shared/progress-of-many.ts";
import {
  type Invocation,
  NAME_MEANING,
  STORAGE_EXIT,
  settingsOf,
  USAGE_EXIT,
  type Verb,
} from "./shared/verb.ts";
import { remediesOf } from "./verify/finding-remedies.ts";
import { type GoneDatabase, goneReport, localHistories } from "./verify/local-histories.ts";
import { reportLines, soundLineOrNull } from "./verify/verify-text.ts";

const EXIT_CODE_BY_STATUS = { ok: 0, warnings: 1, errors: 5 } as const;

/** The verb `verify`. */
export const verifyVerb: Verb = {
  name: "verify",
  summary: "Check that backups can be restored",
  usage: "NAME|--all [-b URL]",
  options: [STORE_OPTIONS, VERIFY_OPTIONS, STATE_OPTIONS, PATIENCE_OPTIONS, PROGRESS_OPTIONS],
  positionals: { name: "NAME", min: 0, max: 1, meaning: NAME_MEANING },
  examples: [
    ["walrust verify app -b file:///backup", "check headers, sizes, chain and continuity of one database"],
    [
      "walrust verify --all -b s3://my-bucket/vm1 --read-data=5%",
      "check all databases, and read 5 % of the large objects in full",
    ],
    [
      "walrust verify app -b s3://my-bucket/vm1 --restore",
      "restore into a temporary file and check the file",
    ],
    ["walrust verify app -b file:///backup --fix", "rewrite the manifest, delete leftovers"],
  ],
  exitCodes: [
    [0, "every backup is sound"],
    [1, "warnings only: leftovers, a stale manifest, lost metadata, faults of the source, unchecked parts"],
    USAGE_EXIT,
    [3, "--restore: no room for the temporary file (see TMPDIR), or a watch on this machine does not answer"],
    STORAGE_EXIT,
    [5, "a restore is in danger: an object or a database of this machine is missing, damaged or altered"],
    [6, "no backup of NAME exists, and none was made from this machine, or another program wrote it"],
  ],
  run,
};

async function run(invocation: Invocation): Promise<number> {
  const values = settingsOf(invocation, VERIFY_OPTIONS);
  const [name = null] = invocation.words.positionals;
  if ((name === null) !== values.all) {
    throw new WalrustError(
      "usage",
      name === null ? "No database is given" : `${name} and --all are both given`,
      {
        hint: "Give one NAME, or --all",
      },
    );
  }
  return withPatience(invocation, async (store) => {
    const work = { verb: "verify", label: "verifying", unit: "checked" } as const;
    const many = name === null ? new ManyProgress(progressOf(invocation), work) : null;
    try {
      return await verifyEach(invocation, store, name, many);
    } finally {
      many?.end();
    }
  });
}

/** Verifies the named database, or all, and prints the reports. @returns the exit code */
async function verifyEach(
  invocation: Invocation,
  store: ObjectStore,
  name: string | null,
  many: ManyProgress | null,
): Promise<number> {
  const values = settingsOf(invocation, VERIFY_OPTIONS);
  const { isJson, signal } = invocation;
  const all: Verifiable[] = name === null ? await listVerifiable(store, signal) : [{ name, problem: null }];
  const names = new Set(all.map((one) => one.name));
  let gone: readonly GoneDatabase[] = [];
  if (name === null) gone = await localHistories(invocation, store, (one) => names.has(one));
  many?.start(all.length);
  const reports: VerifyReport[] = [];
  const shown = new Set<VerifyReport>();
  const repairs: Repair[] = [];
  const foreign: ForeignLayout[] = [];
  for (const { name: database, problem, isStranger } of all) {
    try {
      if (problem !== null) throw problem;
      const { report, fixed } = isStranger
        ? { report: strangerReport(database), fixed: [] }
        : await verifyAndFix(invocation, store, database, values, many);
      printReport(invocation, report, fixed, store, name !== null);
      if (fixed.length > 0) shown.add(report);
      reports.push(report);
      repairs.push(...fixed);
    } catch (error) {
      if (name !== null && isNothingThere(error))
        gone = await localHistories(invocation, store, (one) => one !== name);
      if (name !== null && gone.length > 0) continue;
      if (name !== null || !concernsOneDatabase(error)) throw error;
      if (error instanceof ForeignLayoutError) foreign.push(error.layout);
      else {
        const report = unverifiedReport(database, error);
        printReport(invocation, report, [], store, false);
        reports.push(report);
      }
    } finally {
      many?.complete(database);
    }
  }
  for (const report of gone.map(goneReport)) {
    printReport(invocation, report, [], store, name !== null);
    reports.push(report);
  }
  if (all.length === 0) foreign.push(...(await findForeignDatabases(store, signal)));
  if (reports.length === 0 && foreign[0] !== undefined) throw new ForeignLayoutError(store, foreign[0]);
  const status = worstStatus(reports, foreign.length > 0);
  if (isJson) {
    const databases = reports.map((report) => jsonOf(report, pathOf(invocation, store, report.name)));
    printJson({ status, databases, fixed: repairs, foreign } satisfies VerifyDocument);
  } else if (all.length + gone.length === 0) printLine(`Nothing is stored in ${store.url}`);
  else if (name === null) {
    const sound = soundLineOrNull(reports.filter((report) => !shown.has(report)));
    if (sound !== null) printLine(sound);
    printLine(summaryOf(reports));
  }
  if (!isJson) for (const { database, title } of foreign) printLine(`${database}: ${title}; not verified`);
  return EXIT_CODE_BY_STATUS[status];
}

/** Whether the bucket holds nothing under a name, and no other program's backup either. */
function isNothingThere(error: unknown): boolean {
  return hasCode(error, "restore") && !(error instanceof ForeignLayoutError);
}

/** Verifies one database, and verifies again after repairs. */
async function verifyAndFix(
  invocation: Invocation,
  store: ObjectStore,
  database: string,
  values: { readonly restore: boolean; readonly fix: boolean; readonly readData: number | undefined },
  many: ManyProgress | null,
): Promise<{ report: VerifyReport; fixed: Repair[] }> {
  const { env, signal } = invocation;
  const live = values.restore ? await liveContentOrNull(invocation, store.location, database) : null;
  const checker = integrityChecker();
  const options = { readPercent: values.readData ?? 0, restore: values.restore, live, signal, checker };
  const report = await verifyOne(invocation, store, database, options, many);
  const fixed = values.fix ? await fixDatabase(store, report, env) : [];
  if (fixed.length === 0) return { report, fixed };
  return { report: await verifyOne(invocation, store, database, options, many), fixed };
}

/** The content of the live database, if a watch on this machine replicates it. */
async function liveContentOrNull(
  asker: Invocation,
  destination: string,
  name: string,
): Promise<LiveContent | null> {
  const request = { verb: "checksum", name, destination } as const;
  const folders = runtimeFolders(asker);
  return (await askWatchByNameOrNull(destination, name, request, asker, folders)) as LiveContent | null;
}

async function verifyOne(
  invocation: Invocation,
  store: ObjectStore,
  name: string,
  options: VerifyOptions,
  many: ManyProgress | null,
): Promise<VerifyReport> {
  if (many !== null) {
    const onProgress = (done: number, total: number): void => many.update(name, done, total);
    return verifyDatabase(store, name, { ...options, onProgress }, invocation.env);
  }
  const display = progressOf(invocation);
  const of = (label: string, unit: "checked" | "read"): RepeatedProgress =>
    new RepeatedProgress(display, { verb: "verify", database: name, label, unit });
  const checking = of(`verifying ${name}`, "checked");
  const restoring = of(`restoring ${name} on trial`, "read");
  checking.update({ doneBytes: 0, totalBytes: null });
  const onProgress = (doneBytes: number, totalBytes: number): void => {
    restoring.end();
    checking.update({ doneBytes, totalBytes });
  };
  const onTrialProgress = (doneBytes: number, totalBytes: number): void => {
    checking.end();
    restoring.update({ doneBytes, totalBytes });
  };
  try {
    return await verifyDatabase(store, name, { ...options, onProgress, onTrialProgress }, invocation.env);
  } finally {
    checking.end();
    restoring.end();
  }
}

function worstStatus(reports: readonly VerifyReport[], isForeignThere: boolean): VerifyReport["status"] {
  if (reports.some(({ status }) => status === "errors")) return "errors";
  return isForeignThere || reports.some(({ status }) => status === "warnings") ? "warnings" : "ok";
}

/** The file of a database that a watch of this user last replicated, or null. */
function pathOf(invocation: Invocation, { location }: ObjectStore, name: string): string | null {
  return databasePathOrNull(location, name, runtimeFolders(invocation));
}

function jsonOf(report: VerifyReport, path: string | null): VerifiedDatabase {
  const { name, status, findings, checked, outlook } = report;
  return {
    name,
    status,
    sound_from_txid: outlook?.soundFromTxid ?? null,
    findings,
    remedies: remediesOf(name, findings, path),
    checked: {
      objects: checked.objects,
      bytes: checked.bytes,
      snapshots: checked.snapshots,
      chained_objects: checked.chainedObjects,
      unchained_objects: checked.unchainedObjects,
      lost_metadata_objects: checked.lostMetadataObjects,
      read_objects: checked.readObjects,
      read_bytes: checked.readBytes,
      min_txid: checked.minTxid,
      max_txid: checked.maxTxid,
      restored_txid: checked.restoredTxid,
      integrity_check: checked.integrity === null ? null : verdictJson(checked.integrity),
      compared_with_live: checked.comparedWithLive,
      omitted_findings: checked.omittedFindings,
    },
  };
}

/** Prints a report, unless it is that of a sound database among many: those have one line at the end. */
function printReport(
  invocation: Invocation,
  report: VerifyReport,
  repairs: readonly Repair[],
  store: ObjectStore,
  isAlone: boolean,
): void {
  if (invocation.isJson || (!isAlone && report.status === "ok" && repairs.length === 0)) return;
  const path = pathOf(invocation, store, report.name);
  for (const line of reportLines(report, repairs, store, path)) printLine(line);
}

function summaryOf(reports: readonly VerifyReport[]): string {
  const withStatus = (status: VerifyReport["status"]): number =>
    reports.filter((report) => report.status === status).length;
  const parts = [
    `${withStatus("ok")} ok`,
    `${withStatus("warnings")} with warnings`,
    `${withStatus("errors")} with errors`,
  ];
  return `${countOf(reports.length, "database")}: ${parts.join(", ")}`;
}

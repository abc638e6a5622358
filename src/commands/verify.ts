/**
 * `walrust verify`: checks that the backups of one database, or of all, can be restored.
 */
import { PATIENCE_OPTIONS, PROGRESS_OPTIONS, VERIFY_OPTIONS } from "../config/settings/options.ts";
import { STATE_OPTIONS, STORE_OPTIONS } from "../config/settings/settings.ts";
import { WalrustError } from "../errors.ts";
import { listVerifiable, type Verifiable } from "../recovery/verify/verifiable-databases.ts";
import { type VerifyOptions, verifyDatabase } from "../recovery/verify/verify-database.ts";
import { fixDatabase, type Repair } from "../recovery/verify/verify-fix.ts";
import { describeOutlook } from "../recovery/verify/verify-outlook.ts";
import {
  type Finding,
  strangerReport,
  unverifiedReport,
  type VerifyReport,
} from "../recovery/verify/verify-report.ts";
import type { LiveContent } from "../recovery/verify/verify-restore.ts";
import { askWatchByNameOrNull } from "../replication/control/control-client.ts";
import { concernsOneDatabase } from "../storage/bucket/error-scope.ts";
import {
  type ForeignLayout,
  ForeignLayoutError,
  findForeignDatabases,
} from "../storage/bucket/foreign-layout.ts";
import type { ObjectStore } from "../storage/contract/store.ts";
import type { VerifiedDatabase, VerifyDocument } from "./shared/documents.ts";
import { integrityChecker, verdictJson, verdictText } from "./shared/integrity.ts";
import { runtimeFolders } from "./shared/local-places.ts";
import { withPatience } from "./shared/open-destination.ts";
import { countOf, formatBytes, printJson, printLine } from "./shared/output.ts";
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

/** Warnings that no repair of the bucket can end. */
const NOTHING_TO_TIDY: ReadonlySet<string> = new Set(["metadata-lost", "source-damaged", "not-checked"]);

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
    [5, "a restore is in danger: an object is missing, damaged or altered"],
    [6, "no backup of NAME exists, or another program wrote it"],
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
  many?.start(all.length);
  const reports: VerifyReport[] = [];
  const repairs: Repair[] = [];
  const foreign: ForeignLayout[] = [];
  for (const { name: database, problem, isStranger } of all) {
    try {
      if (problem !== null) throw problem;
      const { report, fixed } = isStranger
        ? { report: strangerReport(database), fixed: [] }
        : await verifyAndFix(invocation, store, database, values, many);
      if (!isJson) printReport(report, fixed, store);
      reports.push(report);
      repairs.push(...fixed);
    } catch (error) {
      if (name !== null || !concernsOneDatabase(error)) throw error;
      if (error instanceof ForeignLayoutError) foreign.push(error.layout);
      else {
        const report = unverifiedReport(database, error);
        if (!isJson) printReport(report, [], store);
        reports.push(report);
      }
    } finally {
      many?.complete(database);
    }
  }
  if (all.length === 0) foreign.push(...(await findForeignDatabases(store, signal)));
  if (reports.length === 0 && foreign[0] !== undefined) throw new ForeignLayoutError(store, foreign[0]);
  const status = worstStatus(reports, foreign.length > 0);
  if (isJson) {
    printJson({ status, databases: reports.map(jsonOf), fixed: repairs, foreign } satisfies VerifyDocument);
  } else if (all.length === 0) printLine(`Nothing is stored in ${store.url}`);
  else if (name === null) printLine(summaryOf(reports));
  if (!isJson) for (const { database, title } of foreign) printLine(`${database}: ${title}; not verified`);
  return EXIT_CODE_BY_STATUS[status];
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

function jsonOf({ name, status, findings, checked, outlook }: VerifyReport): VerifiedDatabase {
  return {
    name,
    status,
    sound_from_txid: outlook?.soundFromTxid ?? null,
    findings,
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

function printReport(report: VerifyReport, repairs: readonly Repair[], store: ObjectStore): void {
  const { name, checked, findings } = report;
  printLine(`${name} in ${store.url}`);
  const range = checked.maxTxid === null ? "" : `, TXID ${checked.minTxid ?? "none"} to ${checked.maxTxid}`;
  printLine(
    `  ${countOf(checked.objects, "object")} (${formatBytes(checked.bytes)}), ` +
      `${countOf(checked.snapshots, "snapshot")}${range}`,
  );
  printLine(`  headers, sizes, continuity and checksums of ${countOf(checked.objects, "object")} checked`);
  if (checked.chainedObjects > 0)
    printLine(`  SHA-256 chain of ${countOf(checked.chainedObjects, "object")}`);
  const foreign = checked.unchainedObjects - checked.lostMetadataObjects;
  if (foreign > 0) printLine(`  ${countOf(foreign, "object")} without a chain (not written by walrust)`);
  printLine(`  read in full: ${countOf(checked.readObjects, "object")} (${formatBytes(checked.readBytes)})`);
  if (checked.restoredTxid !== null) {
    const verdict = checked.integrity === null ? "" : `: ${verdictText(checked.integrity)}`;
    printLine(`  restored TXID ${checked.restoredTxid} into a temporary file${verdict}`);
    const isOther = findings.some(({ code }) => code === "differs-from-live");
    if (!checked.comparedWithLive)
      printLine("  (not compared with the live database: no watch on this machine replicates it)");
    else if (!isOther) printLine("  the live database has the same content at that TXID");
  }
  for (const { object, message } of repairs) printLine(`  fixed: ${object} ${message}`);
  for (const finding of findings) printLine(`  ${findingText(finding)}`);
  if (checked.omittedFindings > 0) printLine(`  and ${countOf(checked.omittedFindings, "more finding")}`);
  const outlook = report.outlook === null ? [] : describeOutlook(name, report.outlook);
  for (const sentence of outlook) printLine(`  ${sentence}`);
  printLine(`${name}: ${verdictOf(report)}`);
}

function findingText({ severity, code, object, message }: Finding): string {
  const isNamed = object === null || message.includes(object);
  return `${severity.toUpperCase()} ${code}: ${isNamed ? "" : `${object} `}${message}`;
}

function verdictOf({ status, findings }: VerifyReport): string {
  if (status === "ok") return "ok";
  const errors = findings.filter(({ severity }) => severity === "error").length;
  const warnings = findings.length - errors;
  const parts = [
    ...(errors > 0 ? [countOf(errors, "error")] : []),
    ...(warnings > 0 ? [countOf(warnings, "warning")] : []),
  ];
  const isTidy = findings.every(({ code }) => NOTHING_TO_TIDY.has(code));
  const restorable = isTidy ? "restorable" : "restorable; verify --fix tidies up";
  const verdict = status === "errors" ? "A RESTORE IS IN DANGER" : restorable;
  return `${verdict} (${parts.join(", ")})`;
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

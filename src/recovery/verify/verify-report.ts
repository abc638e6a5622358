/**
 * The report of a verification: findings with stable codes, and counts of the checked objects.
 *
 * An error endangers a restore; a warning does not. Memory is bounded: of each severity the first thousand
 * findings are kept, and the others are counted.
 */
import type { WalrustError } from "../../errors.ts";
import type { Txid } from "../../format/types.ts";
import type { IntegrityVerdict } from "../integrity/integrity-verdict.ts";
import { OBJECT_FINDING_SEVERITIES } from "../object/object-finding.ts";

/** Severity by code. Codes are part of the JSON output, and are never renamed. */
export const FINDING_SEVERITIES = {
  "missing-snapshot": "error",
  gap: "error",
  "missing-object": "error",
  "missing-database": "error",
  ...OBJECT_FINDING_SEVERITIES,
  "manifest-ahead": "error",
  "manifest-contradicts": "error",
  "restore-failed": "error",
  "differs-from-live": "error",
  "source-damaged": "warning",
  "not-checked": "warning",
  unverifiable: "error",
  "manifest-missing": "warning",
  "manifest-unreadable": "warning",
  "manifest-stale": "warning",
  "temporary-file": "warning",
  "orphan-sidecar": "warning",
  "unreachable-object": "warning",
  "unknown-key": "warning",
  "special-file": "warning",
} as const;

/** The stable name of a kind of finding. */
export type FindingCode = keyof typeof FINDING_SEVERITIES;

/** A defect of a database in a bucket. */
export interface Finding {
  readonly code: FindingCode;
  readonly severity: "warning" | "error";
  /** Key of the object; null when the finding is about the whole database. */
  readonly object: string | null;
  readonly txid: number | null;
  readonly message: string;
}

/** Counts of a verification. */
export interface VerifyCounts {
  objects: number;
  bytes: number;
  snapshots: number;
  /** Objects with a link or value of the SHA-256 chain. */
  chainedObjects: number;
  /** Objects without chain values: Litestream wrote them, or the storage lost their metadata. */
  unchainedObjects: number;
  /** Objects of walrust that lost metadata in the storage. */
  lostMetadataObjects: number;
  /** Objects that were read in full: decoded, and compared with their SHA-256 if they carry one. */
  readObjects: number;
  readBytes: number;
  /** The oldest and the newest restorable TXID; null when no TXID is restorable. */
  minTxid: number | null;
  maxTxid: number | null;
  /** The TXID of the trial restore; null without a trial. */
  restoredTxid: number | null;
  /** SQLite's verdict on the restored file; null without a trial. */
  integrity: IntegrityVerdict | null;
  /** Whether the restored file was compared with the live database. */
  comparedWithLive: boolean;
  /** The number of findings beyond the limit of the list. */
  omittedFindings: number;
}

/** The restorable rest of a damaged database. */
export interface Outlook {
  /** Every point from this TXID on can be restored, as far as objects were read. */
  readonly soundFromTxid: Txid;
  readonly newestTxid: Txid;
  /** Keys to delete: then, after a repair, the bucket is clean. */
  readonly removals: readonly string[];
  /** The first TXID of the history after that deletion; null when the deletion costs no sound snapshot. */
  readonly keptFromTxid: Txid | null;
}

/** The verdict on one database. */
export interface VerifyReport {
  readonly name: string;
  readonly status: "ok" | "warnings" | "errors";
  /** Errors first. */
  readonly findings: readonly Finding[];
  readonly checked: Readonly<VerifyCounts>;
  /** Null when nothing is damaged, or nothing certain follows from the findings. */
  readonly outlook: Outlook | null;
}

/** The most findings of one severity in a report. */
export const FINDINGS_MAX = 1000;

/** Collects findings. */
export class Findings {
  readonly #kept: Record<"warning" | "error", Finding[]> = { error: [], warning: [] };
  #omitted = 0;
  /** The number of errors, including errors beyond the limit. */
  errorCount = 0;

  /** Adds a finding about a key, or about the whole database. */
  add(code: FindingCode, object: string | null, txid: number | null, message: string): void {
    const severity = FINDING_SEVERITIES[code];
    const kept = this.#kept[severity];
    if (severity === "error") this.errorCount++;
    if (kept.length === FINDINGS_MAX) this.#omitted++;
    else kept.push({ code, severity, object, txid, message });
  }

  /** All kept findings: errors first, in the order they were added. */
  list(): Finding[] {
    return [...this.#kept.error, ...this.#kept.warning];
  }

  get status(): VerifyReport["status"] {
    if (this.#kept.error.length > 0) return "errors";
    return this.#kept.warning.length > 0 ? "warnings" : "ok";
  }

  get omitted(): number {
    return this.#omitted;
  }
}

/** The report on a database that could not be verified: an error. */
export function unverifiedReport(name: string, error: WalrustError): VerifyReport {
  const findings = new Findings();
  const { key } = error.context;
  findings.add("unverifiable", typeof key === "string" ? key : null, null, error.message);
  return {
    name,
    status: findings.status,
    findings: findings.list(),
    checked: NOTHING_CHECKED,
    outlook: null,
  };
}

/** The report on a database of which the bucket holds nothing, though it had acknowledged a history. */
export function missingReport(name: string, txid: number, message: string): VerifyReport {
  const findings = new Findings();
  findings.add("missing-database", null, txid, message);
  return {
    name,
    status: findings.status,
    findings: findings.list(),
    checked: NOTHING_CHECKED,
    outlook: null,
  };
}

/** The report on a name that is neither a file nor a folder. */
export function strangerReport(name: string): VerifyReport {
  const findings = new Findings();
  findings.add("special-file", name, null, "is neither a file nor a folder: it is passed over");
  return {
    name,
    status: findings.status,
    findings: findings.list(),
    checked: NOTHING_CHECKED,
    outlook: null,
  };
}

const NOTHING_CHECKED: VerifyCounts = {
  objects: 0,
  bytes: 0,
  snapshots: 0,
  chainedObjects: 0,
  unchainedObjects: 0,
  lostMetadataObjects: 0,
  readObjects: 0,
  readBytes: 0,
  minTxid: null,
  maxTxid: null,
  restoredTxid: null,
  integrity: null,
  comparedWithLive: false,
  omittedFindings: 0,
};

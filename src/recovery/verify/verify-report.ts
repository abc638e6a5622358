/**
 * What verify says: findings with stable codes, and what was looked at.
 *
 * An error is anything that endangers a restore; a warning is untidiness that does not. Memory is bounded: of
 * each severity only the first thousand findings are kept, the others are counted.
 */
import type { WalrustError } from "../../errors.ts";
import type { Txid } from "../../format/types.ts";
import type { IntegrityVerdict } from "../integrity/integrity-verdict.ts";
import { OBJECT_FINDING_SEVERITIES } from "../object/object-finding.ts";

/** Severity by code. Codes are part of the JSON output: they are never renamed. */
export const FINDING_SEVERITIES = {
  "missing-snapshot": "error",
  gap: "error",
  "missing-object": "error",
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

/** Something that is not as it should be. */
export interface Finding {
  readonly code: FindingCode;
  readonly severity: "warning" | "error";
  /** Key of the object it is about. */
  readonly object: string | null;
  readonly txid: number | null;
  readonly message: string;
}

/** What was looked at. */
export interface VerifyCounts {
  objects: number;
  bytes: number;
  snapshots: number;
  /** Objects with a link or value of the SHA-256 chain. */
  chainedObjects: number;
  /** Objects without a place in the chain: Litestream wrote them, or the storage lost their metadata. */
  unchainedObjects: number;
  /** Objects of walrust of which the storage lost metadata. */
  lostMetadataObjects: number;
  /** Objects whose every byte was read: decoded, and hashed against their SHA-256 where they have one. */
  readObjects: number;
  readBytes: number;
  /** The oldest and the newest restorable TXID, null without any. */
  minTxid: number | null;
  maxTxid: number | null;
  /** The TXID that was restored on trial, null when none was. */
  restoredTxid: number | null;
  /** SQLite's verdict on the restored file, null when none was restored. */
  integrity: IntegrityVerdict | null;
  /** Whether that was compared with the live database. */
  comparedWithLive: boolean;
  /** Findings that are not in the list, for there were too many. */
  omittedFindings: number;
}

/** What damage leaves. */
export interface Outlook {
  /** The newest state and every point from this TXID on can be restored, as far as was read. */
  readonly soundFromTxid: Txid;
  readonly newestTxid: Txid;
  /** Keys without which, and after repairs, nothing is wrong any more. */
  readonly removals: readonly string[];
  /** The TXID that the history begins with then, or null when that gives up no snapshot that is whole. */
  readonly keptFromTxid: Txid | null;
}

/** The verdict on one database. */
export interface VerifyReport {
  readonly name: string;
  readonly status: "ok" | "warnings" | "errors";
  /** Errors first. */
  readonly findings: readonly Finding[];
  readonly checked: Readonly<VerifyCounts>;
  /** Null where nothing is damaged, or nothing certain can be said of the rest. */
  readonly outlook: Outlook | null;
}

/** The most findings of one severity that are kept. */
export const FINDINGS_MAX = 1000;

/** Collects findings. */
export class Findings {
  readonly #kept: Record<"warning" | "error", Finding[]> = { error: [], warning: [] };
  #omitted = 0;
  /** Errors that were added, also those that are not kept. */
  errorCount = 0;

  /** Adds a finding about an object (or anything with a key), or about the whole. */
  add(code: FindingCode, object: string | null, txid: number | null, message: string): void {
    const severity = FINDING_SEVERITIES[code];
    const kept = this.#kept[severity];
    if (severity === "error") this.errorCount++;
    if (kept.length === FINDINGS_MAX) this.#omitted++;
    else kept.push({ code, severity, object, txid, message });
  }

  /** Errors first, each in the order they were found. */
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

/** The verdict on a database that could not be looked at: not a sound one. */
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

/** The verdict on what is neither a file nor a folder in the place of a name. */
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

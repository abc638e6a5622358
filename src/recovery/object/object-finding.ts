/**
 * The findings of the judge (check-object.ts, object-links.ts). A finding has a stable code, which is part of
 * the JSON output of `verify`, and carries the error that a restore throws.
 *
 * An error makes an object unusable. A warning does not stop a restore, but an object with a warning
 * justifies no deletion.
 */
import { WalrustError } from "../../errors.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";

/** Severity of the findings about one object, by code. Codes are never renamed. */
export const OBJECT_FINDING_SEVERITIES = {
  "corrupt-object": "error",
  "bad-size": "error",
  "wrong-key": "error",
  "time-mismatch": "error",
  "bad-metadata": "error",
  "bad-sha256": "error",
  "broken-chain": "error",
  "checksum-mismatch": "error",
  "page-size-mismatch": "error",
  "metadata-lost": "warning",
} as const;

/** The stable name of a kind of finding about one object. */
export type ObjectFindingCode = keyof typeof OBJECT_FINDING_SEVERITIES;

/** A defect of one object. */
export interface ObjectFinding {
  readonly code: ObjectFindingCode;
  readonly severity: "warning" | "error";
  /** A sentence. Its subject, the object, is left out where that is possible. */
  readonly message: string;
  /**
   * The error of a caller that cannot continue: code "corrupt" or "integrity". The message names the object.
   */
  readonly error: WalrustError;
}

/** Makes a finding. @param what a predicate: the object is its subject */
export function objectFinding(object: LtxObject, code: ObjectFindingCode, what: string): ObjectFinding {
  const error = new WalrustError("integrity", `${object.key} ${what}`, {
    hint: "The object was damaged, replaced or edited; run `walrust verify` and restore another point",
    context: { key: object.key, txid: object.maxTxid },
  });
  return { code, severity: OBJECT_FINDING_SEVERITIES[code], message: what, error };
}

/** Makes a finding of a decoder's error, whose message names the object. */
export function decodingFinding(code: "corrupt-object" | "bad-metadata", error: WalrustError): ObjectFinding {
  return { code, severity: OBJECT_FINDING_SEVERITIES[code], message: error.message, error };
}

/** Demands of an object what a restore demands. @throws WalrustError the first error among the findings */
export function throwFirstError(findings: readonly ObjectFinding[]): void {
  const first = findings.find(({ severity }) => severity === "error");
  if (first !== undefined) throw first.error;
}

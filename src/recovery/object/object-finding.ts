/**
 * The findings of the judge of an object (check-object.ts, object-links.ts). A finding has a stable code,
 * which is part of the JSON output of `verify`, and the error that a restore ends with.
 *
 * An error makes an object unusable. A warning is no obstacle to a restore; nothing is deleted on the
 * evidence of an object that has one.
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

/** Something that is wrong with one object. */
export interface ObjectFinding {
  readonly code: ObjectFindingCode;
  readonly severity: "warning" | "error";
  /** A sentence, mostly without its subject: the object. */
  readonly message: string;
  /** The error of a caller that cannot go on: code "corrupt" or "integrity". It names the object. */
  readonly error: WalrustError;
}

/** Makes a finding. @param what the predicate of a sentence about the object */
export function objectFinding(object: LtxObject, code: ObjectFindingCode, what: string): ObjectFinding {
  const error = new WalrustError("integrity", `${object.key} ${what}`, {
    hint: "The object was damaged, replaced or edited; run `walrust verify` and restore another point",
    context: { key: object.key, txid: object.maxTxid },
  });
  return { code, severity: OBJECT_FINDING_SEVERITIES[code], message: what, error };
}

/** The finding that an error of a decoder is, whose message names the object. */
export function decodingFinding(code: "corrupt-object" | "bad-metadata", error: WalrustError): ObjectFinding {
  return { code, severity: OBJECT_FINDING_SEVERITIES[code], message: error.message, error };
}

/** @throws WalrustError the first error among findings: what a restore demands of an object */
export function throwFirstError(findings: readonly ObjectFinding[]): void {
  const first = findings.find(({ severity }) => severity === "error");
  if (first !== undefined) throw first.error;
}

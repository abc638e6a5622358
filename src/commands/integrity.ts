/**
 * How this program starts SQLite's check as a process of its own, and how a verdict is shown.
 */
import { existsSync } from "node:fs";
import { checkerInChild, checkInProcess, type IntegrityChecker } from "../recovery/integrity-child.ts";
import type { IntegrityVerdict } from "../recovery/integrity-verdict.ts";

/** The word that makes this program check one file and end; for its own use, in no help. */
export const CHECK_WORD = "__check-database";

/** The running executable: it stays the same one while a newer version is installed over it. */
const OWN_EXECUTABLE = "/proc/self/exe";

/** The checker of this program: itself, once more. */
export function integrityChecker(): IntegrityChecker {
  const executable = existsSync(OWN_EXECUTABLE) ? OWN_EXECUTABLE : process.execPath;
  if (Bun.main.startsWith("/$bunfs/")) return checkerInChild([executable, CHECK_WORD]);
  // From source it is Bun that runs main.ts. Anything else that imports this is not ours to start again.
  if (Bun.main.endsWith("/src/main.ts")) return checkerInChild([executable, Bun.main, CHECK_WORD]);
  return checkInProcess;
}

/** A verdict as JSON. */
export function verdictJson({ mode, status, problems, unchecked }: IntegrityVerdict): unknown {
  return { mode, status: jsonStatus(status), problems, not_checked: unchecked };
}

/** A status as JSON spells it. */
export function jsonStatus(status: IntegrityVerdict["status"]): string {
  return status.replaceAll("-", "_");
}

/** A verdict in a few words. */
export function verdictText({ mode, status }: IntegrityVerdict): string {
  const check = mode === "quick" ? "quick_check" : "integrity_check";
  switch (status) {
    case "ok":
      return `${check} ok`;
    case "failed":
      return `${check} finds faults of the source`;
    case "partial":
      return `${check} ok as far as SQLite can check it here`;
    case "not-checked":
      return "not checked by SQLite";
    case "skipped":
      return "integrity_check left out";
  }
}

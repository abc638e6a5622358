/**
 * The verdict of `PRAGMA integrity_check` on a restored file, and its consequence. Pure.
 *
 * SQLite's check mixes two kinds of notes:
 * - It *cannot check*: the schema uses a collation, a function, a tokenizer or a module of the application,
 *   or the file is encrypted. The file may be sound.
 * - It *finds a fault*: a damaged page, an index that lacks rows, NULL in a NOT NULL column.
 *
 * A file with the right database checksum equals its source, so the source had the fault too. In a file
 * without checksums (objects of Litestream) the fault may be of the copy.
 */
import { WalrustError } from "../../errors.ts";

/** The depth of SQLite's check of a restored file. */
export type IntegrityMode = "full" | "quick" | "off";

/** The modes, as they are spelled on the command line. */
export const INTEGRITY_MODES = ["full", "quick", "off"] as const;

/** A part of the database that SQLite cannot check here. */
export interface UncheckedPart {
  /** "the database", "table t", "the indexes of table t". */
  readonly part: string;
  readonly reason: string;
}

/** The result of one check. */
export interface IntegrityVerdict {
  readonly mode: IntegrityMode;
  /**
   * "ok": all was checked and is sound. "failed": there are problems. "partial": a part was not checked, the
   * rest is sound. "not-checked": nothing could be checked. "skipped": the check was off.
   */
  readonly status: "ok" | "failed" | "partial" | "not-checked" | "skipped";
  /** The first faults, in SQLite's words. */
  readonly problems: readonly string[];
  /** The first parts that were not checked. */
  readonly unchecked: readonly UncheckedPart[];
}

/** One note of a running check. */
export type IntegrityNote =
  | { readonly kind: "problem"; readonly text: string }
  | ({ readonly kind: "unchecked" } & UncheckedPart);

/** The most notes of a kind in a verdict. */
export const NOTES_MAX = 20;
const NOTE_LENGTH_MAX = 300;
const SHOWN_MAX = 3;

/** The name of the whole database as a part. */
export const WHOLE_DATABASE = "the database";

/** The verdict when the check is off. */
export const SKIPPED: IntegrityVerdict = { mode: "off", status: "skipped", problems: [], unchecked: [] };

/** Makes the verdict of the notes of a check. */
export function verdictOf(mode: IntegrityMode, notes: readonly IntegrityNote[]): IntegrityVerdict {
  const problems: string[] = [];
  const unchecked: UncheckedPart[] = [];
  for (const note of notes) {
    const short = shortNote(note);
    if (short.kind === "problem" && problems.length < NOTES_MAX) problems.push(short.text);
    if (short.kind === "unchecked" && unchecked.length < NOTES_MAX) {
      unchecked.push({ part: short.part, reason: short.reason });
    }
  }
  const isWhole = unchecked.some(({ part }) => part === WHOLE_DATABASE);
  const status =
    problems.length > 0 ? "failed" : isWhole ? "not-checked" : unchecked.length > 0 ? "partial" : "ok";
  return { mode, status, problems, unchecked };
}

/** Shortens the texts of a note: names in a schema may have any length. */
export function shortNote(note: IntegrityNote): IntegrityNote {
  if (note.kind === "problem") return { kind: "problem", text: shortened(note.text) };
  return { kind: "unchecked", part: shortened(note.part), reason: shortened(note.reason) };
}

/** One line of bounded length of a text from a database. */
function shortened(text: string): string {
  const line = text.replace(/\s+/g, " ");
  return line.length <= NOTE_LENGTH_MAX ? line : `${line.slice(0, NOTE_LENGTH_MAX)}…`;
}

/** The evidence about a file beside SQLite's verdict. */
export interface IntegrityEvidence {
  readonly name: string;
  /** Whether the file was compared with the database checksum of the newest object. */
  readonly isProven: boolean;
  /** Whether a fault of the source is an error (`--strict`). */
  readonly isStrict: boolean;
}

/**
 * Decides the consequence of a verdict.
 * @returns the warning, or null
 * @throws WalrustError code "integrity" when the file must not be used
 */
export function assessVerdict(verdict: IntegrityVerdict, evidence: IntegrityEvidence): string | null {
  const { status, problems, unchecked } = verdict;
  const { name, isProven, isStrict } = evidence;
  if (!isProven && (status === "failed" || status === "not-checked")) {
    const found = status === "failed" ? problemsText(problems) : uncheckedText(unchecked);
    throw new WalrustError("integrity", `The restored ${name} fails integrity_check: ${found}`, {
      hint:
        "Its objects carry no database checksums, so the copy may have the fault: restore another point, " +
        "or accept the file with --integrity-check=off",
      context: { database: name },
    });
  }
  if (status === "failed" && isStrict) {
    throw new WalrustError("integrity", `${name} fails integrity_check: ${problemsText(problems)}`, {
      hint:
        "All checksums are right: the source had this fault when it was captured. Without --strict the " +
        "file is restored with a warning",
      context: { database: name },
    });
  }
  return warningOrNull(verdict);
}

/** The warning about a correct copy, or null. */
export function warningOrNull({ status, problems, unchecked }: IntegrityVerdict): string | null {
  if (status === "failed") {
    const rest = unchecked.length > 0 ? `; not checked: ${uncheckedText(unchecked)}` : "";
    return `integrity_check finds a fault that the source had already: ${problemsText(problems)}${rest}`;
  }
  if (status !== "partial" && status !== "not-checked") return null;
  return `integrity_check cannot check everything: ${uncheckedText(unchecked)}`;
}

function problemsText(problems: readonly string[]): string {
  return shownOf(problems);
}

function uncheckedText(unchecked: readonly UncheckedPart[]): string {
  return shownOf(unchecked.map(({ part, reason }) => `${part} (${reason})`));
}

function shownOf(texts: readonly string[]): string {
  const shown = texts.slice(0, SHOWN_MAX).join("; ");
  if (texts.length <= SHOWN_MAX) return shown;
  // A full list was cut off: the number of notes is not known.
  const atLeast = texts.length === NOTES_MAX ? "at least " : "";
  return `${shown}; and ${atLeast}${texts.length - SHOWN_MAX} more`;
}

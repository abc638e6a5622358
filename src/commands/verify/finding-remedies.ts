/**
 * PURE: the remedy for each kind of finding of `verify`: a command, or a step that a person takes. Each is a
 * sentence; NAME and PATH stand for the database's name in the bucket and its file.
 */
import type { Finding, FindingCode } from "../../recovery/verify/verify-report.ts";

const SNAPSHOT =
  "`walrust snapshot PATH` makes the present state of the database restorable, if its file still exists";
const OLDER = "older points need another copy of the bucket, or its versioning";
const LOST = `${SNAPSHOT}; ${OLDER}`;
const DAMAGED = `${LOST}. \`walrust verify NAME --read-data\` lists all damage`;
const CONTRADICTION = `${LOST}. Look for a second walrust or a tool that writes below the prefix`;
const TIDY = "`walrust verify NAME --fix` puts this right";
const STRANGER = "`walrust` never touches it: delete it yourself, or move it out of the destination";

const BY_CODE: Readonly<Record<FindingCode, string>> = {
  "missing-snapshot": LOST,
  "missing-database":
    "`walrust sync NAME` beside a watch, or `walrust snapshot PATH`, uploads it again; " +
    "delete its state folder if this backup was given up",
  gap: LOST,
  "missing-object": LOST,
  "corrupt-object": DAMAGED,
  "bad-size": DAMAGED,
  "wrong-key": DAMAGED,
  "time-mismatch": DAMAGED,
  "bad-metadata": DAMAGED,
  "bad-sha256": DAMAGED,
  "broken-chain": CONTRADICTION,
  "checksum-mismatch": CONTRADICTION,
  "page-size-mismatch": CONTRADICTION,
  "metadata-lost": "`walrust snapshot PATH` writes new metadata, unless a gateway drops them again",
  "manifest-ahead": LOST,
  "manifest-contradicts": CONTRADICTION,
  "restore-failed": `\`walrust restore NAME -o COPY --point-in-time -1h\` tries an earlier point; ${LOST}`,
  "differs-from-live": `${SNAPSHOT}; run \`walrust verify NAME --restore\` again after it`,
  "source-damaged":
    "`sqlite3 PATH 'PRAGMA integrity_check'` shows the fault in the source; REINDEX or .recover mends most",
  "not-checked":
    "`walrust restore NAME -o COPY`, then check the copy with an SQLite that has what is missing",
  unverifiable: "`walrust doctor` tries the destination; then run `walrust verify NAME` again",
  "manifest-missing": TIDY,
  "manifest-unreadable": TIDY,
  "manifest-stale": TIDY,
  "temporary-file": TIDY,
  "orphan-sidecar": TIDY,
  "unreachable-object": TIDY,
  "unknown-key": STRANGER,
  "special-file": STRANGER,
};

/** Kinds of findings with one remedy. */
export interface Remedy {
  readonly codes: readonly FindingCode[];
  readonly remedy: string;
}

/**
 * The remedies of a report, in the order of its findings: each remedy comes once.
 * @param path the file of the database, if it is known on this machine
 */
export function remediesOf(
  name: string,
  findings: readonly Pick<Finding, "code">[],
  path: string | null = null,
): Remedy[] {
  const codes = [...new Set(findings.map(({ code }) => code))];
  const words = { NAME: shellWord(name), PATH: path === null ? "PATH" : shellWord(path) };
  const inserted = (text: string): string =>
    text.replace(/\b(NAME|PATH)\b/g, (word) => words[word as keyof typeof words]);
  const groups = Map.groupBy(codes, (code) => BY_CODE[code]);
  return [...groups].map(([remedy, own]) => ({ codes: own, remedy: inserted(remedy) }));
}

/** A text as one word of a shell. */
function shellWord(text: string): string {
  const isPlain = /^[\w./@%+=:,][\w./@%+=:,-]*$/.test(text);
  return isPlain ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

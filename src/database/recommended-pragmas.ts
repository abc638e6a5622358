/**
 * Settings for an application whose database walrust watches: recommended and discouraged ones, each with its
 * reason, and both as SQL that `sqlite3` runs unchanged.
 *
 * The database file stores journal_mode only. The other settings belong to a connection, so every connection
 * of the application has to run them. None of them changes content, and none is weaker than SQLite's default.
 *
 * Shown by test/commands/pragma.test.ts and test/e2e/commands/pragma.test.ts with SQLite 3.40 and Bun's
 * SQLite. Source: SQLite's documentation at the address of each entry.
 */

/** A recommended setting. */
export interface RecommendedPragma {
  readonly name: string;
  readonly value: string | number;
  /** "database": the file stores it, once is enough. "connection": every connection has to run it. */
  readonly scope: "database" | "connection";
  readonly reason: string;
  readonly source: string;
}

/** A discouraged setting. */
export interface AvoidedPragma {
  readonly setting: string;
  readonly reason: string;
  readonly source: string;
}

/** The pages of WAL at which SQLite checkpoints by itself by default. */
const SQLITE_CHECKPOINT_PAGES = 1000;
/** Limit of the WAL while no walrust runs, about 40 MB, however high the threshold of walrust is. */
const CHECKPOINT_PAGES_MAX = 10_000;
const BUSY_TIMEOUT_MS = 5000;
const SIZE_LIMIT_MIN_BYTES = 64 * 1024 ** 2;
const PAGE_SIZE_ASSUMED_BYTES = 4096;

/**
 * The recommended settings, in the order to run them.
 * @param minCheckpointPageCount the pages of WAL at which the watch checkpoints
 */
export function recommendedPragmas(minCheckpointPageCount: number): RecommendedPragma[] {
  const checkpointPages = Math.min(
    Math.max(minCheckpointPageCount, SQLITE_CHECKPOINT_PAGES),
    CHECKPOINT_PAGES_MAX,
  );
  const usualWalBytes = 4 * minCheckpointPageCount * PAGE_SIZE_ASSUMED_BYTES;
  return [
    {
      name: "busy_timeout",
      value: BUSY_TIMEOUT_MS,
      scope: "connection",
      reason:
        "walrust holds the write lock for some milliseconds at each of its checkpoints. With a " +
        "timeout a write at that moment waits; without a timeout it fails with SQLITE_BUSY. Begin " +
        "transactions that write with BEGIN IMMEDIATE: a transaction that reads first and then writes " +
        "does not wait, but fails.",
      source: "https://sqlite.org/pragma.html#pragma_busy_timeout",
    },
    {
      name: "journal_mode",
      value: "WAL",
      scope: "database",
      reason:
        "walrust copies commits from the write-ahead log, so it cannot watch a database in another " +
        "mode. The change to this mode needs the database exclusively for a moment: it fails (database " +
        "is locked) while another connection uses the database.",
      source: "https://sqlite.org/wal.html#activating_and_configuring_wal_mode",
    },
    {
      name: "synchronous",
      value: "FULL",
      scope: "connection",
      reason:
        "Every commit that returned survives a power cut. FULL is SQLite's default, but some builds " +
        "default to NORMAL. NORMAL keeps the database consistent and commits faster, but a power cut " +
        "may revert the last commits. The bucket may then be ahead of the database. walrust detects " +
        "this and follows the database; the reverted commits remain restorable as an older point.",
      source: "https://sqlite.org/pragma.html#pragma_synchronous",
    },
    {
      name: "wal_autocheckpoint",
      value: checkpointPages,
      scope: "connection",
      reason:
        "walrust checkpoints by itself, and no checkpoint can remove commits that it has not copied. " +
        "This setting is for the time without walrust: with 0, which other tools advise, the log would " +
        "grow without bound.",
      source: "https://sqlite.org/pragma.html#pragma_wal_autocheckpoint",
    },
    {
      name: "journal_size_limit",
      value: Math.max(SIZE_LIMIT_MIN_BYTES, usualWalBytes),
      scope: "connection",
      reason:
        "A big transaction leaves a log file of its size on the disk, and without a limit the file " +
        "keeps that size. With a limit, SQLite truncates the file when the log restarts. The value is " +
        "well above the usual size of the log.",
      source: "https://sqlite.org/pragma.html#pragma_journal_size_limit",
    },
  ];
}

/** The settings to avoid beside a watch. */
export const AVOIDED_PRAGMAS: readonly AvoidedPragma[] = [
  {
    setting: "synchronous = OFF",
    reason: "a power cut may corrupt the database itself",
    source: "https://sqlite.org/pragma.html#pragma_synchronous",
  },
  {
    setting: "wal_autocheckpoint = 0",
    reason: "the log grows without bound whenever no walrust runs",
    source: "https://sqlite.org/pragma.html#pragma_wal_autocheckpoint",
  },
  {
    setting: "locking_mode = EXCLUSIVE",
    reason: "no other connection can use the database; beside a watch SQLite refuses it (database is locked)",
    source: "https://sqlite.org/pragma.html#pragma_locking_mode",
  },
  {
    setting: "journal_mode = DELETE, TRUNCATE, PERSIST, MEMORY, OFF",
    reason: "it leaves WAL mode, which walrust needs; beside a watch SQLite refuses it",
    source: "https://sqlite.org/pragma.html#pragma_journal_mode",
  },
  {
    setting: "wal_checkpoint(FULL, RESTART or TRUNCATE) from a timer",
    reason: "it blocks all writers while it waits for readers; walrust checkpoints already",
    source: "https://sqlite.org/pragma.html#pragma_wal_checkpoint",
  },
];

/** The settings as SQL, with or without their reasons as comments. */
export function pragmaSql(pragmas: readonly RecommendedPragma[], hasComments: boolean): string {
  const statementOf = ({ name, value }: RecommendedPragma): string => `PRAGMA ${name} = ${value};`;
  if (!hasComments) return `${pragmas.map(statementOf).join("\n")}\n`;
  const blocks = pragmas.map((pragma) => {
    const scope =
      pragma.scope === "database" ? "The database stores it: once is enough." : "On every connection.";
    return [...commentLines(`${scope} ${pragma.reason}`), `-- ${pragma.source}`, statementOf(pragma)];
  });
  const avoided = AVOIDED_PRAGMAS.flatMap(({ setting, reason }) =>
    commentLines(`${setting}: ${reason}`, "  "),
  );
  const lines = [
    ["-- SQLite settings for an application whose database walrust watches."],
    ...blocks,
    ["-- Avoid:", ...avoided],
  ];
  return `${lines.map((block) => block.join("\n")).join("\n\n")}\n`;
}

const COMMENT_WIDTH = 96;

/** Wraps a text into comment lines; lines after the first are indented. */
function commentLines(text: string, indent = ""): string[] {
  const lines: string[] = [];
  let line = `-- ${indent}`;
  for (const word of text.split(" ")) {
    const isFirst = line.endsWith(" ");
    if (!isFirst && line.length + 1 + word.length > COMMENT_WIDTH) {
      lines.push(line);
      line = `-- ${indent}${indent}`;
    }
    line += line.endsWith(" ") ? word : ` ${word}`;
  }
  return [...lines, line];
}

/**
 * Settings for an application whose database walrust watches, each with its reason: what is worth setting
 * beside a watch, what is deliberately left alone, and both as SQL that `sqlite3` runs as it is.
 *
 * Only journal_mode is stored in the database file. The others belong to a connection: every connection of
 * the application has to run them. None of them changes content, and none is weaker than SQLite's default.
 *
 * Shown by test/commands/pragma.test.ts and test/e2e/commands/pragma.test.ts with SQLite 3.40 and the one in
 * Bun. Source: SQLite's documentation at the address of each entry.
 */

/** A setting that is worth having. */
export interface RecommendedPragma {
  readonly name: string;
  readonly value: string | number;
  /** "database": stored in the file, once is enough. "connection": every connection has to run it. */
  readonly scope: "database" | "connection";
  readonly reason: string;
  readonly source: string;
}

/** A setting that is better left alone. */
export interface AvoidedPragma {
  readonly setting: string;
  readonly reason: string;
  readonly source: string;
}

/** The pages of WAL at which SQLite checkpoints by itself, unless it is told otherwise. */
const SQLITE_CHECKPOINT_PAGES = 1000;
/** Some 40 MB: how far the WAL may grow while no walrust runs, however high its threshold is. */
const CHECKPOINT_PAGES_MAX = 10_000;
const BUSY_TIMEOUT_MS = 5000;
const SIZE_LIMIT_MIN_BYTES = 64 * 1024 ** 2;
const PAGE_SIZE_ASSUMED_BYTES = 4096;

/**
 * The settings worth having, in the order to run them.
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
        "walrust holds the write lock for some milliseconds at each of its checkpoints. Without a " +
        "timeout a write at that moment fails with SQLITE_BUSY, with one it waits. Begin " +
        "transactions that write with BEGIN IMMEDIATE: one that has read and then writes is not made " +
        "to wait, but fails.",
      source: "https://sqlite.org/pragma.html#pragma_busy_timeout",
    },
    {
      name: "journal_mode",
      value: "WAL",
      scope: "database",
      reason:
        "walrust copies commits out of the write-ahead log; a database in another mode cannot be " +
        "watched. Entering the mode takes the database for itself for a moment: it fails (database " +
        "is locked) while another connection is using it.",
      source: "https://sqlite.org/wal.html#activating_and_configuring_wal_mode",
    },
    {
      name: "synchronous",
      value: "FULL",
      scope: "connection",
      reason:
        "Every commit that returned survives a power cut. It is SQLite's default, but some builds " +
        "have NORMAL: that keeps the database consistent and commits faster, but a power cut may " +
        "take back the last commits. The bucket may then be ahead of the database; walrust notices " +
        "and follows the database, and what was taken back remains as an older point to restore.",
      source: "https://sqlite.org/pragma.html#pragma_synchronous",
    },
    {
      name: "wal_autocheckpoint",
      value: checkpointPages,
      scope: "connection",
      reason:
        "walrust checkpoints by itself, and what it has not copied yet no checkpoint can take away. " +
        "This is for the time when no walrust runs: with 0, which other tools advise, the log would " +
        "grow without bound.",
      source: "https://sqlite.org/pragma.html#pragma_wal_autocheckpoint",
    },
    {
      name: "journal_size_limit",
      value: Math.max(SIZE_LIMIT_MIN_BYTES, usualWalBytes),
      scope: "connection",
      reason:
        "One big transaction leaves a log of its size on the disk, and without a limit it stays so. " +
        "With one, the file is cut back when the log begins anew; it is well above what the log has " +
        "in daily work.",
      source: "https://sqlite.org/pragma.html#pragma_journal_size_limit",
    },
  ];
}

/** What is better left alone beside a watch. */
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
    reason: "nobody else gets at the database; beside a watch SQLite refuses it (database is locked)",
    source: "https://sqlite.org/pragma.html#pragma_locking_mode",
  },
  {
    setting: "journal_mode = DELETE, TRUNCATE, PERSIST, MEMORY, OFF",
    reason: "it leaves WAL mode, and the watch ends there; while it runs SQLite refuses it",
    source: "https://sqlite.org/pragma.html#pragma_journal_mode",
  },
  {
    setting: "wal_checkpoint(FULL, RESTART or TRUNCATE) from a timer",
    reason: "it keeps all writers out while it waits for readers; walrust checkpoints already",
    source: "https://sqlite.org/pragma.html#pragma_wal_checkpoint",
  },
];

/** The settings as SQL, with reasons as comments or without any. */
export function pragmaSql(pragmas: readonly RecommendedPragma[], hasComments: boolean): string {
  const statementOf = ({ name, value }: RecommendedPragma): string => `PRAGMA ${name} = ${value};`;
  if (!hasComments) return `${pragmas.map(statementOf).join("\n")}\n`;
  const blocks = pragmas.map((pragma) => {
    const scope =
      pragma.scope === "database" ? "Stored in the database: once is enough." : "On every connection.";
    return [...commentLines(`${scope} ${pragma.reason}`), `-- ${pragma.source}`, statementOf(pragma)];
  });
  const avoided = AVOIDED_PRAGMAS.flatMap(({ setting, reason }) =>
    commentLines(`${setting}: ${reason}`, "  "),
  );
  const lines = [
    ["-- SQLite settings for an application whose database walrust watches."],
    ...blocks,
    ["-- Better left alone:", ...avoided],
  ];
  return `${lines.map((block) => block.join("\n")).join("\n\n")}\n`;
}

const COMMENT_WIDTH = 96;

/** A text as comment lines of limited width; lines after the first are indented. */
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

/**
 * `walrust pragma`: prints SQL with the recommended settings for a watched database. It opens no database:
 * the application runs the SQL, or `sqlite3` does.
 *
 * An existing file given with -o is replaced whole or not at all. A database is never replaced.
 */
import {
  closeSync,
  constants,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { PRAGMA_OPTIONS } from "../config/settings/options.ts";
import { SYNC_OPTIONS } from "../config/settings/settings.ts";
import { AVOIDED_PRAGMAS, pragmaSql, recommendedPragmas } from "../database/recommended-pragmas.ts";
import type { Env } from "../env.ts";
import { errorMessage, systemCode, WalrustError } from "../errors.ts";
import { hex } from "../format/chain.ts";
import { resolvePlace } from "../recovery/restore/target-folder.ts";
import { printJson, printText } from "./shared/output.ts";
import { type Invocation, settingsOf, type Verb } from "./shared/verb.ts";

/** The verb `pragma`. */
export const pragmaVerb: Verb = {
  name: "pragma",
  summary: "Print SQL with the recommended settings for a watched database",
  usage: "[-o FILE]",
  options: [PRAGMA_OPTIONS],
  positionals: { name: "arguments", min: 0, max: 0, meaning: "" },
  examples: [
    ["walrust pragma", "print the settings, each with its reason"],
    [
      "walrust pragma --comments false | sqlite3 app.db",
      "apply the settings once; the database file keeps journal_mode",
    ],
    ["walrust pragma -o pragmas.sql", "write a file that the application runs on every connection"],
  ],
  exitCodes: [
    [0, "printed or written"],
    [1, "FILE cannot be written, for example on a full disk"],
    [2, "usage; or FILE is a folder or a database, or its folder is missing or not writable"],
  ],
  run,
};

async function run(invocation: Invocation): Promise<number> {
  const { output, comments } = settingsOf(invocation, PRAGMA_OPTIONS);
  const { minCheckpointPageCount } = settingsOf(invocation, {
    minCheckpointPageCount: SYNC_OPTIONS.minCheckpointPageCount,
  });
  const pragmas = recommendedPragmas(minCheckpointPageCount);
  const sql = pragmaSql(pragmas, comments);
  const path = output === undefined || STDOUT_NAMES.has(output) ? null : output;
  if (path !== null) writeOutput(path, sql, invocation.env);
  if (invocation.isJson) printJson({ pragmas, avoid: AVOIDED_PRAGMAS, output: path });
  else if (path === null) printText(sql.trimEnd());
  return 0;
}

/** Names of stdout. If stdout is a file, replacing it would lose earlier output. */
const STDOUT_NAMES: ReadonlySet<string> = new Set(["-", "/dev/stdout"]);

/** Replaces the file, or writes into a device or pipe. */
function writeOutput(given: string, text: string, env: Env): void {
  try {
    const stats = statSync(given, { throwIfNoEntry: false });
    if (stats?.isDirectory()) throw refusal(given, "it is a folder");
    // The target of a link is replaced, unless another user made the link.
    const { path } = resolvePlace(given);
    if (stats?.isFile() && isDatabase(path)) throw refusal(given, "it is a database");
    if (stats !== undefined && !stats.isFile()) writeInto(given, text);
    else replaceFile(path, text, stats, env);
  } catch (error) {
    if (error instanceof WalrustError) throw error;
    const reason = systemCode(error) ?? errorMessage(error);
    if (PATH_PROBLEMS.has(reason)) throw refusal(given, reason);
    throw new WalrustError("internal", `Cannot write ${given}: ${reason}`, {
      hint: "Make room on that disk, or write to another one",
      cause: error,
    });
  }
}

/** Codes that mean a wrong path, not a failed write. */
const PATH_PROBLEMS: ReadonlySet<string> = new Set([
  "ENOENT",
  "ENOTDIR",
  "EISDIR",
  "EACCES",
  "EPERM",
  "EROFS",
  "ELOOP",
  "ENAMETOOLONG",
  "ENXIO",
]);

function refusal(path: string, reason: string): WalrustError {
  return new WalrustError("usage", `Cannot write to ${path}: ${reason}`, {
    hint: "Give -o a file in a folder that exists and is writable",
  });
}

/** Writes into a device or pipe. A FIFO without a reader is an error, because opening it would block. */
function writeInto(path: string, text: string): void {
  const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  try {
    writeFileSync(fd, text);
  } finally {
    closeSync(fd);
  }
}

function replaceFile(path: string, text: string, before: Stats | undefined, env: Env): void {
  const tempPath = join(dirname(path), `.${basename(path)}.${hex(env.randomBytes(6))}.tmp`);
  try {
    const fd = openSync(tempPath, "wx", before === undefined ? 0o666 : before.mode & 0o777);
    try {
      writeFileSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(tempPath, path);
  } catch (error) {
    rmSync(tempPath, { force: true });
    throw error;
  }
}

const DATABASE_MAGIC = "SQLite format 3\0";

/** Reads the magic of a file. Closing it drops no locks: this process has no SQLite connection. */
function isDatabase(path: string): boolean {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const bytes = Buffer.alloc(DATABASE_MAGIC.length);
    return readSync(fd, bytes) === bytes.length && bytes.toString("latin1") === DATABASE_MAGIC;
  } finally {
    closeSync(fd);
  }
}

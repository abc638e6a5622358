/**
 * `walrust pragma`: SQL with the settings that suit an application whose database is watched. It opens no
 * database; what it prints is run by the application, or by `sqlite3`.
 *
 * A file given with -o is what was made before and is replaced, at once or not at all; but never a database.
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
  summary: "Print SQL with the settings that suit a database that is watched",
  usage: "[-o FILE]",
  options: [PRAGMA_OPTIONS],
  positionals: { name: "arguments", min: 0, max: 0 },
  examples: [
    ["walrust pragma", "the settings, each with its reason"],
    ["walrust pragma --comments false | sqlite3 app.db", "run them once: journal_mode stays in the file"],
    ["walrust pragma -o pragmas.sql", "to a file, for the application to run on every connection"],
  ],
  exitCodes: [
    [0, "printed or written"],
    [1, "FILE could not be written, such as on a full disk"],
    [2, "usage; or FILE cannot be: its folder is missing or forbidden, it is a folder or a database"],
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

/** Where stdout is a file, what was written to it before must not be replaced. */
const STDOUT_NAMES: ReadonlySet<string> = new Set(["-", "/dev/stdout"]);

/** Writes a file, replacing what is there; into a device or pipe without replacing. */
function writeOutput(given: string, text: string, env: Env): void {
  try {
    const stats = statSync(given, { throwIfNoEntry: false });
    if (stats?.isDirectory()) throw refusal(given, "it is a folder");
    // Through a link to the file it names, unless another user made the link.
    const { path } = resolvePlace(given);
    if (stats?.isFile() && isDatabase(path)) throw refusal(given, "it is a database");
    if (stats !== undefined && !stats.isFile()) writeInto(given, text);
    else replaceFile(path, text, stats, env);
  } catch (error) {
    if (error instanceof WalrustError) throw error;
    const reason = systemCode(error) ?? errorMessage(error);
    if (PATH_PROBLEMS.has(reason)) throw refusal(given, reason);
    throw new WalrustError("internal", `Cannot write ${given}: ${reason}`, {
      hint: "Make room there, or write to another disk",
      cause: error,
    });
  }
}

/** What says that the path is wrong, not that writing failed. */
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
    hint: "Give -o a file in a folder that exists and may be written to",
  });
}

/** Into a device, or a pipe that somebody reads: a FIFO that nobody reads would be waited for. */
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

/** Closing the descriptor drops nobody's locks: this process has no connection. */
function isDatabase(path: string): boolean {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const bytes = Buffer.alloc(DATABASE_MAGIC.length);
    return readSync(fd, bytes) === bytes.length && bytes.toString("latin1") === DATABASE_MAGIC;
  } finally {
    closeSync(fd);
  }
}

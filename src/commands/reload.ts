/**
 * `walrust reload`: has the running watches of this user read their configuration again, as SIGHUP does, and
 * tells the result.
 */
import { STATE_OPTIONS, STORE_OPTIONS } from "../config/settings/settings.ts";
import { hasCode, WalrustError } from "../errors.ts";
import type { WatchAnswer } from "../replication/control/control-client.ts";
import { countOf, printJson, printLine } from "./shared/output.ts";
import { askOwnWatches, chosenLocationOrNull } from "./shared/own-watches.ts";
import type { Invocation, Verb } from "./shared/verb.ts";
import type { ReloadResult } from "./watch/config-reload.ts";

/** The verb `reload`. */
export const reloadVerb: Verb = {
  name: "reload",
  summary: "Have the running watch read its configuration again",
  usage: "[-b URL]",
  options: [STORE_OPTIONS, STATE_OPTIONS],
  positionals: { name: "", min: 0, max: 0, meaning: "" },
  examples: [
    ["walrust reload", "after a change of walrust.toml"],
    ["walrust reload -b s3://my-bucket/vm1", "only the watches that replicate there"],
  ],
  exitCodes: [
    [0, "each watch of this user has read its configuration"],
    [2, "usage; or a configuration cannot be used: that watch continues with its former one"],
    [3, "no watch of this user runs, one does not answer, or a folder of databases cannot be read"],
  ],
  run,
};

/** A search for databases may take its time. */
const ANSWER_LIMIT_MS = 60_000;

async function run(invocation: Invocation): Promise<number> {
  const location = await chosenLocationOrNull(invocation, true);
  const request = { verb: "reload", ...(location === null ? {} : { destination: location }) } as const;
  const all = await askOwnWatches(invocation, request, ANSWER_LIMIT_MS);
  // A watch of an earlier version cannot tell whether it is meant.
  const answers = location === null ? all : all.filter(({ error }) => !hasCode(error?.cause, "usage"));
  if (answers.length === 0) {
    const where = location === null ? "" : ` that replicates to ${location}`;
    throw new WalrustError("database", `No watch of this user${where} is running`, {
      hint: "Start one, or run reload as the user of the watch",
    });
  }
  if (invocation.isJson) printJson({ watches: answers.map(answerJson) });
  else for (const answer of answers) for (const line of answerLines(answer)) printLine(line);
  const failed = answers.map(({ error }) => error).filter((error) => error !== null);
  return Math.max(0, ...failed.map(({ exitCode }) => exitCode));
}

function answerJson({ pid, result, error }: WatchAnswer): object {
  if (error === null) return { pid, ...(result as ReloadResult), error: null };
  const { code, message, hint = null } = error;
  return { pid, error: { code, message, hint } };
}

function answerLines({ pid, result, error }: WatchAnswer): string[] {
  if (error !== null) {
    const hint = error.hint === undefined ? "" : ` (${error.hint})`;
    return [`process ${pid}: not reloaded, and nothing changes: ${error.message}${hint}`];
  }
  // A watch of an earlier version counts a database that stays as removed.
  const { config, databases, added, removed, held = [], changed, restart } = result as ReloadResult;
  const lines = [`process ${pid}: reloaded ${config}, ${countOf(databases, "database")}`];
  if (added.length > 0) lines.push(`  added: ${added.join(", ")}`);
  if (removed.length > 0) lines.push(`  removed: ${removed.join(", ")}`);
  if (held.length > 0)
    lines.push(`  kept, because an application has the deleted file open: ${held.join(", ")}`);
  if (changed.length > 0) lines.push(`  changed: ${changed.join(", ")}`);
  if (restart.length > 0) lines.push(`  after a restart: ${restart.join(", ")}`);
  return lines;
}

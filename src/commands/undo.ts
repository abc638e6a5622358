/**
 * `walrust undo`: puts back the file that the last `restore --force` at a path replaced.
 */
import { STATE_OPTIONS } from "../config/settings/settings.ts";
import type { UndoneState } from "../recovery/restore/restored-state.ts";
import { undoRestore } from "../recovery/restore/undo-restore.ts";
import { localPlaces } from "./shared/local-places.ts";
import { printJson, printLine } from "./shared/output.ts";
import { USAGE_EXIT, type Verb } from "./shared/verb.ts";

/** The verb `undo`. */
export const undoVerb: Verb = {
  name: "undo",
  summary: "Put back the file that the last restore --force replaced",
  usage: "PATH",
  options: [STATE_OPTIONS],
  positionals: { name: "PATH", min: 1, max: 1, meaning: "Path of the restored database file" },
  examples: [
    ["walrust undo app.db", "put back app.db as it was; the same command again takes that back"],
    ["walrust undo app.db --state-dir /var/lib/walrust", "with the --state-dir of the watch"],
  ],
  exitCodes: [
    [0, "the earlier file is back; the file that was there is kept as PATH.pre-restore-<time>[-undo]"],
    USAGE_EXIT,
    [3, "the database is in use or watched, or its folder is not writable"],
    [6, "nothing to undo: no restore has replaced a file at PATH"],
  ],
  run: async (invocation) => {
    const { words, env, isJson } = invocation;
    const [path] = words.positionals as [string];
    const result = undoRestore(path, { env, places: localPlaces(invocation) });
    const replacedAt = new Date(result.replacedMs).toISOString();
    if (isJson) {
      printJson({
        path: result.path,
        restored_from: result.from,
        replaced_at: replacedAt,
        replaced_by: result.wasUndo ? "undo" : "restore",
        kept: result.keptPath,
        state: result.state,
      });
      return 0;
    }
    const { wasUndo } = result;
    const what = wasUndo
      ? `took back the last undo: the restored file, which that undo replaced at ${replacedAt}, is back`
      : `put back the file that was replaced at ${replacedAt}`;
    printLine(`${result.path}: ${what}`);
    if (result.keptPath !== null) {
      printLine(
        `  the file ${wasUndo ? "of before the restore" : "that was there"} is now ${result.keptPath}`,
      );
      printLine("  another `walrust undo` exchanges the two files again");
    }
    printLine(`  ${STATE_TEXTS[result.state]}`);
    return 0;
  },
};

const STATE_TEXTS: Readonly<Record<UndoneState, string>> = {
  returned: "its state is back too: a watch continues where it stopped",
  kept: "a watch continues the history with the pages that differ",
  none: "there is no state: a watch uploads the database once in full",
};

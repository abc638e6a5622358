/**
 * `walrust status`: asks the running watches of this user for the state of their databases.
 */
import { STATUS_OPTIONS } from "../config/settings/options.ts";
import { STATE_OPTIONS, STORE_OPTIONS } from "../config/settings/settings.ts";
import { printJson, printText } from "./shared/output.ts";
import { askOwnWatches, chosenLocationOrNull, silentHolders } from "./shared/own-watches.ts";
import { settingsOf, USAGE_EXIT, type Verb } from "./shared/verb.ts";
import { HEALTH_EXITS, judgeWatches } from "./status/judged-watches.ts";
import { statusJson } from "./status/status-json.ts";
import { statusLines } from "./status/status-text.ts";

/** The verb `status`. */
export const statusVerb: Verb = {
  name: "status",
  summary: "Show the state of the databases that watches of this user replicate",
  usage: "[NAME…] [-b URL]",
  options: [STATUS_OPTIONS, STORE_OPTIONS, STATE_OPTIONS],
  positionals: {
    name: "NAME",
    min: 0,
    max: Number.POSITIVE_INFINITY,
    meaning: "Name of a database in the bucket; default: all databases",
  },
  examples: [
    ["walrust status", "the watches of the bucket in walrust.toml, or else all watches of this user"],
    ["walrust status app --json", "one database, as JSON"],
    ["walrust status -b s3://my-bucket/vm1", "only the watches that replicate there"],
  ],
  exitCodes: [
    [0, "every database is healthy"],
    [1, "a database is degraded"],
    USAGE_EXIT,
    [3, "a database is unhealthy or stopped, no watch replicates NAME, or no watch runs or answers"],
  ],
  run: async (invocation) => {
    const { words, env, isJson } = invocation;
    const { all: isWhole } = settingsOf(invocation, STATUS_OPTIONS);
    const names = words.positionals;
    const location = await chosenLocationOrNull(invocation);
    const answers = await askOwnWatches(invocation, { verb: "status" });
    const judged = judgeWatches(answers, { names, location });
    const silent = names.length > 0 ? [] : await silentHolders(invocation, answers);
    if (isJson) printJson(statusJson(judged, silent));
    else {
      const options = { nowMs: env.nowMs(), isWhole: isWhole || names.length > 0, silent };
      printText(statusLines(judged, options).join("\n"));
    }
    return HEALTH_EXITS[judged.health];
  },
};

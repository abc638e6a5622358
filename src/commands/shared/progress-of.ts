/**
 * The display of progress that a call of a verb asks for.
 */
import { PROGRESS_OPTIONS } from "../../config/settings/options.ts";
import { ProgressDisplay } from "./progress.ts";
import { type Invocation, settingsOf } from "./verb.ts";

/** The display on stderr, by the flags and the environment of a call. */
export function progressOf(invocation: Invocation): ProgressDisplay {
  const { isJson, sources, env } = invocation;
  const isWanted = settingsOf(invocation, PROGRESS_OPTIONS).progress;
  return ProgressDisplay.onStderr({ isJson, isWanted, variables: sources.environment }, env);
}

/**
 * The options for the start and the end of a watch (`--once`, `--restore-if-missing`, `--exec`), checked
 * before anything is done.
 */
import { COURSE_OPTIONS } from "../../config/settings/options.ts";
import { WalrustError } from "../../errors.ts";
import { type Invocation, settingsOf } from "../shared/verb.ts";
import { commandWords } from "./command-words.ts";

/** A command that can be started. */
export interface Command {
  /** Path of the program. */
  readonly file: string;
  /** The words of its command line, its name first. */
  readonly words: readonly string[];
}

/** How a watch starts and ends. */
export interface CourseOptions {
  /** End when everything is uploaded. */
  readonly isOnce: boolean;
  readonly restoresMissing: boolean;
  /** The application to start, or null. */
  readonly command: Command | null;
}

/**
 * Reads the options.
 * @throws WalrustError code "usage" when they contradict each other, or the program of the command is not
 * found
 */
export function courseOptionsOf(invocation: Invocation): CourseOptions {
  const { once: isOnce, restoreIfMissing: restoresMissing, exec } = settingsOf(invocation, COURSE_OPTIONS);
  if (exec === undefined) return { isOnce, restoresMissing, command: null };
  if (isOnce) {
    throw new WalrustError("usage", "--once and --exec are both given", {
      hint: "With --exec, the watch ends with its application, after a last upload",
    });
  }
  return { isOnce, restoresMissing, command: commandOf(exec, invocation) };
}

function commandOf(text: string, { sources }: Invocation): Command {
  const words = commandWords(text);
  const [name] = words as [string];
  const file = Bun.which(name, { PATH: sources.environment["PATH"] ?? "" });
  if (file !== null) return { file, words };
  throw new WalrustError("usage", `The program of --exec is not found: ${name}`, {
    hint: "Give its path, or put its folder into PATH",
  });
}

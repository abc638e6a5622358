/**
 * Runs a verb with a small engine: replaces this process, once and at the start, by the same program with
 * options of the engine in its environment. The process keeps its id, its words and its descriptors.
 *
 * The engine (JavaScriptCore) reads its options when it starts, and from the environment alone:
 *
 * - It lets the heap grow to several times its content before it collects all garbage, depending on the
 *   memory of the machine. `forceRAMSize` states a small machine instead.
 * - It compiles a function after some dozens of calls. Machine code and the data that belongs to it took a
 *   third of the anonymous memory of a watch. `thresholdForJITAfterWarmUp` has only busy functions compiled:
 *   a call counts 15, and each turn of a loop 1.
 *
 * Must never happen: a start that fails because of this, a loop of starts, or a child with these options: the
 * environment of the new process no longer shows them.
 */
import { statSync } from "node:fs";
import { replaceProcess } from "./replace-process.ts";

/** The variables that set the engine's options. README.md has the measurements. */
export const ENGINE_OPTIONS: Readonly<Record<string, string>> = {
  BUN_JSC_forceRAMSize: String(96 << 20),
  BUN_JSC_thresholdForJITAfterWarmUp: "50000",
};
const RUNNING_EXECUTABLE = "/proc/self/exe";

/** The parts of `process` that a restart needs. */
export interface Restartable {
  readonly platform: string;
  readonly execPath: string;
  readonly argv0: string;
  readonly argv: readonly string[];
  readonly env: Record<string, string | undefined>;
  /** Returns only if the system refuses. */
  execve(file: string, words: readonly string[], environment: Readonly<Record<string, string>>): void;
}

/**
 * Replaces this process by the same program with a small engine, unless it has one. An option that the user
 * has set stays as it is. Returns when all options are set, or when there is no such way: on other systems
 * than Linux, from source, and after an upgrade that replaced the executable since the start.
 * @param main the main module: compiled executables have it below /$bunfs/
 */
export function ensureSmallEngine(self: Restartable = thisProcess(), main = Bun.main): void {
  const { env, execPath, argv0, argv } = self;
  if (self.platform !== "linux" || !main.startsWith("/$bunfs/")) return;
  const options = Object.entries(ENGINE_OPTIONS);
  if (options.every(([name]) => env[name] !== undefined)) {
    for (const [name, value] of options) if (env[name] === value) delete env[name];
    return;
  }
  const environment: Record<string, string> = { ...ENGINE_OPTIONS };
  for (const [name, value] of Object.entries(env)) if (value !== undefined) environment[name] = value;
  try {
    // By its path: `ps` would show the name of the link /proc/self/exe.
    if (isRunning(execPath)) self.execve(execPath, [argv0, ...argv.slice(2)], environment);
  } catch {
    // A sandbox may forbid it, or hide the executable: the process is larger then, and nothing else is
    // different.
  }
}

function thisProcess(): Restartable {
  const { platform, execPath, argv0, argv, env } = process;
  return { platform, execPath, argv0, argv, env, execve: replaceProcess };
}

/** Whether the file at `path` is the executable that runs. */
function isRunning(path: string): boolean {
  const running = statSync(RUNNING_EXECUTABLE, { throwIfNoEntry: false });
  const named = statSync(path, { throwIfNoEntry: false });
  return running !== undefined && running.dev === named?.dev && running.ino === named.ino;
}

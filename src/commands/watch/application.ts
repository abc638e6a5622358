/**
 * The application that `watch --exec` starts: a child process with the standard streams, the environment and
 * the process group of walrust.
 *
 * The child first asks the kernel for a SIGTERM when walrust is gone, and then becomes the application
 * (`execve`). So no application runs on without its backup when walrust is killed. Linux only; elsewhere the
 * application runs on.
 *
 * Must never happen: a second application beside a first, or an application that is never waited for.
 */
import { constants } from "node:os";
import { libcFunctionsOrNull } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import { replaceProcess } from "../memory/replace-process.ts";
import { printError } from "../shared/output.ts";
import { dieWithParent, helperCommandOrNull } from "../shared/parent-death.ts";
import type { SignalName } from "../shared/verb.ts";
import type { Command } from "./course-options.ts";

/** The word that makes this program become an application. Only walrust itself uses it; no help shows it. */
export const APPLICATION_WORD = "__become-application";

/** Variables of the service manager that are meant for walrust alone. */
const OWN_VARIABLES = new Set(["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]);

/** The shell's exit code for a program that cannot be started, and the base of those of signals. */
const NOT_STARTED = 126;
const SIGNAL_BASE = 128;
const SIG_DFL = 0n;

/** A running application. */
export class Application {
  /** The exit code; 128 plus the number of the signal that ended the application. */
  readonly exited: Promise<number>;
  readonly #child: Bun.Subprocess;
  #isRunning = true;

  private constructor(child: Bun.Subprocess) {
    this.#child = child;
    this.exited = child.exited.then((code) => {
      this.#isRunning = false;
      const { signalCode } = child;
      return signalCode === null ? code : SIGNAL_BASE + constants.signals[signalCode as NodeJS.Signals];
    });
  }

  /** Starts an application. @throws WalrustError code "usage" when the system refuses */
  static start(
    { file, words }: Command,
    environment: Readonly<Record<string, string | undefined>>,
  ): Application {
    const helper = helperCommandOrNull(APPLICATION_WORD);
    const kept = Object.entries(environment).filter(([name]) => !OWN_VARIABLES.has(name));
    const env = Object.fromEntries(kept);
    try {
      const cmd = helper === null ? [...words] : [...helper, file, ...words];
      return new Application(Bun.spawn(cmd, { env, stdio: ["inherit", "inherit", "inherit"] }));
    } catch (cause) {
      throw new WalrustError("usage", `Cannot start ${file}: ${String(cause)}`, { cause });
    }
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Whether the application has not ended. */
  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** Passes a signal on. */
  signal(name: SignalName): void {
    if (this.#isRunning) this.#child.kill(name);
  }
}

/**
 * Turns this process into the application. Returns only if that is not possible.
 * @returns the exit code
 */
export function becomeApplication([parent = "", file = "", ...words]: readonly string[]): number {
  if (!dieWithParent(Number(parent), "SIGTERM")) return SIGNAL_BASE + constants.signals.SIGTERM;
  // Bun ignores SIGPIPE, and a program keeps what its predecessor ignores.
  const libc = libcFunctionsOrNull({ signal: { args: ["i32", "u64"], returns: "u64" } });
  libc?.signal(constants.signals.SIGPIPE, SIG_DFL);
  const environment = Object.entries(process.env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  replaceProcess(file, words, Object.fromEntries(environment));
  const hint =
    "A script needs a first line such as #!/bin/sh, and a program the architecture of this machine";
  printError(
    { code: "usage", exitCode: NOT_STARTED, message: `Cannot start ${file}`, hint, context: {} },
    false,
  );
  return NOT_STARTED;
}

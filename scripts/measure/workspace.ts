/**
 * The temporary folder of a script and the processes it starts. A case runs in a scope: a folder that
 * disappears with its processes at the end of the case, also after a failure. An exit of the script kills
 * all processes. Where `setpriv` (util-linux) is installed, even a SIGKILL of the script ends its
 * children.
 */
import { closeSync, lstatSync, mkdirSync, openSync, readFileSync, rmSync } from "node:fs";
import { chmod, cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { capture } from "../toolchain.ts";

/** A program and its surroundings. It inherits only PATH from this process's environment. */
export interface Command {
  readonly words: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Absent or null for the user of the script. */
  readonly user?: User | null;
}

/** Ids of a user. */
export interface User {
  readonly uid: number;
  readonly gid: number;
}

/** A process of the workspace, with its output in a log file. */
export interface Child {
  readonly label: string;
  readonly pid: number;
  readonly process: Bun.Subprocess<"ignore", number, number>;
  readonly logPath: string;
}

const LOG_TAIL_LINES = 15;
const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/** Exits, which kills all processes of the workspace. */
function onSignal(signal: (typeof SIGNALS)[number]): void {
  process.exit(signal === "SIGINT" ? 130 : 143);
}

/** A temporary folder and its processes. */
export class Workspace {
  readonly folder: string;
  readonly #children = new Set<Child>();
  readonly #wrapper: readonly string[];
  #childCount = 0;
  readonly #onExit = (): void => {
    for (const child of this.#children) child.process.kill("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  };

  private constructor(folder: string) {
    this.folder = folder;
    this.#wrapper = Bun.which("setpriv") === null ? [] : ["setpriv", "--pdeathsig", "KILL", "--"];
    process.on("exit", this.#onExit);
    for (const signal of SIGNALS) process.on(signal, onSignal);
  }

  /** Makes a workspace below $TMPDIR, with the name of the script in the name of its folder. */
  static async create(name: string): Promise<Workspace> {
    const folder = await mkdtemp(join(tmpdir(), `walrust-${name}-`));
    // Tools that run as another user reach their own folders below this one.
    await chmod(folder, 0o711);
    return new Workspace(folder);
  }

  /** Runs an action with a new folder; kills the processes it leaves behind and removes the folder. */
  async scope<Result>(name: string, action: (folder: string) => Promise<Result>): Promise<Result> {
    const folder = join(this.folder, name);
    mkdirSync(folder);
    const others = new Set(this.#children);
    try {
      return await action(folder);
    } finally {
      await Promise.all(
        [...this.#children].filter((child) => !others.has(child)).map((one) => this.kill(one)),
      );
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** Starts a program in the workspace. */
  start(label: string, command: Command): Child {
    const logPath = join(this.folder, `${++this.#childCount}-${label}.log`);
    const log = openSync(logPath, "a");
    const subprocess = Bun.spawn([...this.#wrapper, ...asUser(command.user), ...command.words], {
      cwd: this.folder,
      env: this.environment(command.env),
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    const child = { label, pid: subprocess.pid, process: subprocess, logPath };
    this.#children.add(child);
    return child;
  }

  /** The whole environment of a process of the workspace. @param own the variables of its command */
  environment(own: Command["env"]): Record<string, string> {
    return { PATH: process.env["PATH"] ?? "", HOME: this.folder, ...own };
  }

  /**
   * Sends SIGTERM and waits for the end of the process.
   * @throws Error when it ends with another exit code than 0, or not in time
   */
  async stop(child: Child, limitMs: number): Promise<void> {
    assertAlive(child);
    child.process.kill("SIGTERM");
    await this.finish(child, limitMs);
  }

  /**
   * Waits for the end of a process that ends by itself.
   * @throws Error when it ends with another exit code than 0, or not in time
   */
  async finish(child: Child, limitMs: number): Promise<void> {
    const timeout = setTimeout(() => child.process.kill("SIGKILL"), limitMs);
    const exitCode = await child.process.exited;
    clearTimeout(timeout);
    this.#children.delete(child);
    if (exitCode !== 0) throw endedBadly(child);
  }

  /** Sends SIGKILL and waits for the end of the process. */
  async kill(child: Child): Promise<void> {
    child.process.kill("SIGKILL");
    await child.process.exited;
    this.#children.delete(child);
  }

  /** Kills all processes. */
  async killAll(): Promise<void> {
    await Promise.all([...this.#children].map((child) => this.kill(child)));
  }

  /**
   * Kills running processes, and copies logs, databases and local files to another folder. Executables,
   * templates and sockets are left out.
   */
  async keepIn(path: string): Promise<void> {
    await this.killAll();
    const isKept = (source: string): boolean => {
      const stats = lstatSync(source, { throwIfNoEntry: false });
      const isCopyable = stats?.isFile() === true || stats?.isDirectory() === true;
      return isCopyable && !/\/(walrust|template-\d+\.db)$/.test(source);
    };
    await cp(this.folder, path, { recursive: true, filter: isKept });
  }

  /** Kills running processes and removes the folder. */
  async dispose(): Promise<void> {
    await this.killAll();
    await rm(this.folder, { recursive: true, force: true });
    process.off("exit", this.#onExit);
    for (const signal of SIGNALS) process.off(signal, onSignal);
  }
}

function asUser(user: User | null | undefined): string[] {
  if (user === null || user === undefined) return [];
  return ["setpriv", `--reuid=${user.uid}`, `--regid=${user.gid}`, "--clear-groups", "--"];
}

/** Ids of a user by name. @throws Error when the machine does not know the user */
export async function findUser(name: string): Promise<User> {
  const [uid, gid] = await Promise.all(["-u", "-g"].map((flag) => capture(["id", flag, name])));
  if (uid?.exitCode !== 0 || gid?.exitCode !== 0) throw new Error(`There is no user ${name}`);
  return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
}

/** Reads the log of a process. */
export function readLog(child: Child): string {
  return readFileSync(child.logPath, "utf8");
}

/** Whether a process has not ended, as far as is known. */
export function isAlive({ process: { exitCode, signalCode } }: Child): boolean {
  return exitCode === null && signalCode === null;
}

/** @throws Error with the end of its log when the process has ended */
export function assertAlive(child: Child): void {
  if (!isAlive(child)) throw endedBadly(child);
}

/** Waits for a duration. @throws Error as soon as one of these processes has ended */
export async function waitBeside(children: readonly Child[], durationMs: number): Promise<void> {
  const untilMs = performance.now() + durationMs;
  await waitUntil(children, "the time is over", durationMs * 2 + 1000, () => performance.now() >= untilMs);
}

/**
 * Waits for a condition.
 * @throws Error when one of these processes ends first, or at the time limit
 */
export async function waitUntil(
  children: readonly Child[],
  label: string,
  limitMs: number,
  isDone: () => boolean,
): Promise<void> {
  const deadlineMs = performance.now() + limitMs;
  while (!isDone()) {
    for (const child of children) assertAlive(child);
    if (performance.now() > deadlineMs) throw new Error(`${label}: not within ${limitMs / 1000} s`);
    await Bun.sleep(20);
  }
  for (const child of children) assertAlive(child);
}

/** The last lines of the log of a process, for a message. */
export function describeLog(child: Child): string {
  const tail = readLog(child).trimEnd().split("\n").slice(-LOG_TAIL_LINES).join("\n");
  return `the end of its log:\n${tail}`;
}

function endedBadly(child: Child): Error {
  const { exitCode, signalCode } = child.process;
  const how = signalCode === null ? `exit code ${exitCode}` : `signal ${signalCode}`;
  return new Error(`${child.label} ended with ${how}; ${describeLog(child)}`);
}

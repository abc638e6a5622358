/**
 * Waits for orphans. In a container walrust may be process 1, the parent of every process whose own parent
 * has ended. Such a process stays a zombie until process 1 waits for it, and zombies use up the process ids.
 *
 * Bun waits for each child that it started, within milliseconds after its end. So a process that is a zombie
 * at two checks in a row is nobody else's, and waiting for it takes no exit code away.
 */
import { readdirSync, readFileSync } from "node:fs";
import { type Env, libcFunctionsOrNull } from "../../env.ts";

/** Between two checks. */
export const REAP_INTERVAL_MS = 5_000;
const FIRST_PROCESS = 1;
const WNOHANG = 1;
/** The fields of /proc/PID/stat behind the name, counted from the state. Source: proc_pid_stat(5). */
const STATE = 0;
const PARENT = 1;
const START_TIME = 19;

/** The processes of this machine or container. */
export interface Processes {
  /** The zombies whose parent is process 1: their start times by process id. */
  zombies(): Map<number, string>;
  /** Waits for a zombie. */
  reap(pid: number): void;
}

/** Waits for orphans until the signal aborts. Nothing happens unless this is process 1. */
export async function reapOrphans(
  until: AbortSignal,
  { sleep }: Pick<Env, "sleep">,
  processes: Processes | null = ownProcessesOrNull(),
): Promise<void> {
  if (processes === null) return;
  let before = new Map<number, string>();
  while (!until.aborted) {
    const now = processes.zombies();
    for (const [pid, startTime] of now) if (before.get(pid) === startTime) processes.reap(pid);
    before = now;
    await sleep(REAP_INTERVAL_MS, until);
  }
}

/**
 * The state, the parent and the start time of a process, from the text of its /proc/PID/stat.
 * The name of a process may contain anything, also spaces and parentheses.
 */
export function parseStat(text: string): { state: string; parent: number; startTime: string } {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { state: fields[STATE] ?? "", parent: Number(fields[PARENT]), startTime: fields[START_TIME] ?? "" };
}

function ownProcessesOrNull(): Processes | null {
  if (process.platform !== "linux" || process.pid !== FIRST_PROCESS) return null;
  const libc = libcFunctionsOrNull({ waitpid: { args: ["i32", "ptr", "i32"], returns: "i32" } });
  if (libc === null) return null;
  return { zombies: findZombies, reap: (pid) => void libc.waitpid(pid, null, WNOHANG) };
}

function findZombies(): Map<number, string> {
  const zombies = new Map<number, string>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const { state, parent, startTime } = parseStat(readFileSync(`/proc/${name}/stat`, "latin1"));
      if (state === "Z" && parent === FIRST_PROCESS) zombies.set(Number(name), startTime);
    } catch {
      // The process ended just now.
    }
  }
  return zombies;
}

/**
 * A mount namespace for the whole run: mounts below are private to the run and disappear with it, even after
 * a SIGKILL. Root makes one directly, other users inside a user namespace of their own, if the machine
 * permits that.
 */
import { capture } from "../../toolchain.ts";

const VARIABLE = "WALRUST_CHAOS_NAMESPACE";
const WAYS = [
  ["unshare", "--mount", "--propagation", "private"],
  ["unshare", "--user", "--map-root-user", "--mount", "--propagation", "private"],
];

/** Whether this process runs in a namespace of its own; otherwise the reason. */
export function namespaceOrReason(): true | string {
  const state = process.env[VARIABLE];
  return state === "own" ? true : (state ?? "no namespace");
}

/**
 * Runs this script once more, in a namespace if that is possible.
 * @returns the exit code of that run, or null if this process is that run
 */
export async function runInNamespace(): Promise<number | null> {
  if (process.env[VARIABLE] !== undefined) return null;
  let way: readonly string[] = [];
  let state = "`unshare` is not installed";
  for (const words of Bun.which("unshare") === null ? [] : WAYS) {
    const { exitCode, stderr } = await capture([...words, "true"]);
    if (exitCode === 0) {
      way = words;
      state = "own";
      break;
    }
    state = `no mount namespace: ${stderr.trim()}`;
  }
  const lifeline = Bun.which("setpriv") === null ? [] : ["setpriv", "--pdeathsig", "KILL", "--"];
  const child = Bun.spawn([...lifeline, ...way, process.execPath, ...process.argv.slice(1)], {
    env: { ...process.env, [VARIABLE]: state },
    stdio: ["ignore", "inherit", "inherit"],
  });
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
  return await child.exited;
}

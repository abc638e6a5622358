/**
 * Runs the built executable as a user does: `dist/walrust`, or the path in WALRUST_BINARY. `bun run test`
 * builds the executable before the end-to-end tests. A test file that runs alone builds it if it is missing
 * or older than the sources. Runs get no variable of the machine's cloud account.
 */
import { afterEach } from "bun:test";
import { chmodSync, copyFileSync, existsSync, readdirSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tempFolder } from "../temp.ts";
import type { OtherUser } from "./other-user.ts";

const ROOT = join(import.meta.dir, "../../..");
const RUN_LIMIT_MS = 30_000;

/** Additional environment variables. */
export type Variables = Readonly<Record<string, string>>;

/** Exit code and output of a run. */
export interface Run {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Surroundings of a run. */
export interface RunOptions {
  readonly env?: Variables | undefined;
  readonly cwd?: string | undefined;
  /** The user of the run; requires root and `setpriv`. */
  readonly user?: OtherUser | undefined;
  /** A command that runs the executable, such as `unshare -m`. */
  readonly by?: readonly string[] | undefined;
  /** A command in the place of the executable, such as one that a package has installed. */
  readonly program?: string | undefined;
}

const children = new Set<Bun.Subprocess>();

afterEach(async () => {
  for (const child of children) child.kill("SIGKILL");
  await Promise.all([...children].map((child) => child.exited));
  children.clear();
});

/** Kills a child at the end of the test, even of a failed test. */
export function untilTestEnds<Child extends Bun.Subprocess>(child: Child): Child {
  children.add(child);
  return child;
}

let binary: Promise<string> | null = null;

/**
 * The path of the executable; builds it if necessary.
 * @throws Error with the build's output if the build fails
 */
export function walrustBinary(): Promise<string> {
  binary ??= findOrBuild();
  return binary;
}

async function findOrBuild(): Promise<string> {
  const named = process.env["WALRUST_BINARY"];
  if (named !== undefined) return named;
  const path = join(ROOT, "dist", "walrust");
  if (existsSync(path) && statSync(path).mtimeMs > newestSourceMs()) return path;
  const script = join(ROOT, "scripts", "build.ts");
  const build = Bun.spawn([process.execPath, script], { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"] });
  const [stdout, stderr] = await Promise.all([build.stdout.text(), build.stderr.text()]);
  if ((await build.exited) !== 0) throw new Error(`the build failed:\n${stdout}${stderr}`);
  return path;
}

function newestSourceMs(): number {
  const files = readdirSync(join(ROOT, "src"), { recursive: true }) as string[];
  return Math.max(...files.map((file) => statSync(join(ROOT, "src", file)).mtimeMs));
}

/** The environment of this process without variables of a cloud account, plus `added`. */
export function cleanEnvironment(added: Variables = {}): Record<string, string> {
  const kept = Object.entries(process.env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && !/^(AWS|LITESTREAM)_/.test(entry[0]),
  );
  return { ...Object.fromEntries(kept), HOME: tmpdir(), AWS_EC2_METADATA_DISABLED: "true", ...added };
}

let empty: string | null = null;

/** A folder without a walrust.toml, readable for every user. */
function emptyFolder(): string {
  if (empty === null || !existsSync(empty)) empty = tempFolder("cwd");
  chmodSync(empty, 0o755);
  return empty;
}

/** Whether tests can run children as other users. */
export const canChangeUser = process.geteuid?.() === 0 && Bun.which("setpriv") !== null;

/** A copy of the executable for other users, who may not enter this user's folder. */
let publicBinary: string | null = null;

async function commandOf({ user, program }: RunOptions): Promise<string[]> {
  const path = program ?? (await walrustBinary());
  if (user === undefined) return [path];
  if (publicBinary === null || !existsSync(publicBinary)) {
    const folder = tempFolder("public");
    chmodSync(folder, 0o755);
    publicBinary = join(folder, "walrust");
    copyFileSync(path, publicBinary);
    chmodSync(publicBinary, 0o755);
  }
  const { uid, gid, groups, umask } = user;
  const ids = [`--reuid=${uid}`, `--regid=${gid}`, `--groups=${groups.join(",")}`];
  const script = `umask ${umask.toString(8)}; exec "$@"`;
  return ["setpriv", ...ids, "sh", "-c", script, "sh", publicBinary];
}

/** Starts the executable with pipes. The end of the test kills the executable. */
export async function spawnWalrust(
  words: readonly string[],
  options: RunOptions = {},
): Promise<Bun.Subprocess<"ignore", "pipe", "pipe">> {
  return untilTestEnds(
    Bun.spawn([...(options.by ?? []), ...(await commandOf(options)), ...words], {
      cwd: options.cwd ?? emptyFolder(),
      env: cleanEnvironment(options.env),
      stdio: ["ignore", "pipe", "pipe"],
    }),
  );
}

/** Runs the executable to its end. @throws Error after half a minute */
export async function runWalrust(words: readonly string[], options: RunOptions = {}): Promise<Run> {
  return collect(await spawnWalrust(words, options), `walrust ${words.join(" ")}`);
}

/** Like `runWalrust`, for runs that must succeed. @throws Error with the output if the exit code is not 0 */
export async function mustWalrust(words: readonly string[], options: RunOptions = {}): Promise<Run> {
  const run = await runWalrust(words, options);
  if (run.exitCode === 0) return run;
  throw new Error(`walrust ${words.join(" ")} ended with ${run.exitCode}\n${run.stderr}${run.stdout}`);
}

/** Waits for the end of a child and returns its output. @throws Error at the time limit */
export async function collect(child: Bun.Subprocess<"ignore", "pipe", "pipe">, label: string): Promise<Run> {
  const timeout = setTimeout(() => child.kill("SIGKILL"), RUN_LIMIT_MS);
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  const exitCode = await child.exited;
  clearTimeout(timeout);
  if (child.signalCode === "SIGKILL") throw new Error(`${label} did not end in time\n${stderr}${stdout}`);
  return { exitCode, stdout, stderr };
}

/** The single JSON document on stdout. @throws Error unless stdout is exactly one line */
export function documentOf<Shape = Record<string, unknown>>(run: Run): Shape {
  const lines = run.stdout.trimEnd().split("\n");
  if (lines.length !== 1) throw new Error(`stdout has ${lines.length} lines:\n${run.stdout}`);
  return JSON.parse(run.stdout) as Shape;
}

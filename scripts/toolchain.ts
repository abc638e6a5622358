/**
 * Shared by the scripts: the project's folder, running programs, installing packages. Imports no package,
 * because it runs before packages are installed. A script starts the same Bun that runs the script, so `bun`
 * need not be on PATH.
 */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";

/** The project's folder. */
export const ROOT = resolve(import.meta.dir, "..");

/** The executable that `bun run build` makes. */
export const BINARY = join(ROOT, "dist", "walrust");

const INSTALL_STAMP = join(ROOT, "node_modules", ".installed-from");

/** Options for running a program. */
export interface RunOptions {
  readonly cwd?: string;
  /** Added to the environment; undefined removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/**
 * Runs a program with this process's stdout and stderr and an empty stdin. Returns its exit code (128 + n for
 * signal n).
 */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<number> {
  const child = Bun.spawn([...command], {
    cwd: options.cwd ?? ROOT,
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "inherit", "inherit"],
  });
  return await child.exited;
}

/** Runs a program and returns its exit code and output. */
export async function capture(
  command: readonly string[],
  options: RunOptions = {},
): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const child = Bun.spawn([...command], {
    cwd: options.cwd ?? ROOT,
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, stdout, stderr };
}

/**
 * The date of SOURCE_DATE_EPOCH if that is set, else of the commit, as YYYY-MM-DD: a build of the same commit
 * has the same date. Null outside of a repository.
 */
export async function commitDateOrNull(): Promise<string | null> {
  const epoch = process.env["SOURCE_DATE_EPOCH"] ?? (await commitTime());
  return /^\d{1,11}$/.test(epoch) ? new Date(Number(epoch) * 1000).toISOString().slice(0, 10) : null;
}

/** Seconds since 1970 of the commit; empty outside of a repository. */
async function commitTime(): Promise<string> {
  if (Bun.which("git") === null) return "";
  const { exitCode, stdout } = await capture(["git", "log", "-1", "--format=%ct"]);
  return exitCode === 0 ? stdout.trim() : "";
}

/** The command that runs this process's Bun with these arguments. */
export function bunCommand(...parameters: string[]): string[] {
  return [process.execPath, ...parameters];
}

/**
 * Installs the locked packages, unless a run has already installed them from this package.json and bun.lock.
 * @throws Error when the installation fails
 */
export async function ensurePackages(): Promise<void> {
  const wanted = await packagesDigest();
  const stamp = Bun.file(INSTALL_STAMP);
  if ((await stamp.exists()) && (await stamp.text()) === wanted) return;
  console.error("Installing packages (bun install --frozen-lockfile)");
  const exitCode = await run(bunCommand("install", "--frozen-lockfile"));
  if (exitCode !== 0) throw new Error(`bun install ended with exit code ${exitCode}`);
  await Bun.write(INSTALL_STAMP, wanted);
}

async function packagesDigest(): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  for (const name of ["package.json", "bun.lock"]) {
    const path = join(ROOT, name);
    if (existsSync(path)) hasher.update(await Bun.file(path).bytes());
  }
  return hasher.digest("hex");
}

/** The executable to run: `binary`, or a fresh build for null. @throws Error when the build fails */
export async function ensureBinary(binary: string | null): Promise<string> {
  if (binary !== null) return binary;
  await ensurePackages();
  if ((await run(bunCommand("scripts/build.ts"))) !== 0) throw new Error("walrust cannot be built");
  return BINARY;
}

/** Prints a message to stderr and exits with 1. */
export function fail(message: string): never {
  console.error(message);
  process.exit(1);
}

/**
 * What the scripts share: where the project lies, how a program is run, and how its packages get installed.
 * Uses nothing but Bun itself, because it runs before any package is there. `bun` need not be on PATH: a
 * script always starts the Bun that runs it.
 */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";

/** The project's folder. */
export const ROOT = resolve(import.meta.dir, "..");

/** The executable that `bun run build` makes. */
export const BINARY = join(ROOT, "dist", "walrust");

const INSTALL_STAMP = join(ROOT, "node_modules", ".installed-from");

/** How to run a program. */
export interface RunOptions {
  readonly cwd?: string;
  /** Added to the environment; undefined removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** Runs a program with our own stdin, stdout and stderr, and returns its exit code (128 + n for signal n). */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<number> {
  const child = Bun.spawn([...command], {
    cwd: options.cwd ?? ROOT,
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "inherit", "inherit"],
  });
  return await child.exited;
}

/** Runs a program and returns what it wrote. */
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

/** The command that runs this very Bun with these arguments. */
export function bunCommand(...parameters: string[]): string[] {
  return [process.execPath, ...parameters];
}

/**
 * Installs the locked packages unless that was already done for this bun.lock.
 * @throws Error when the installation fails.
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

/** Ends the script with a message instead of a stack trace. */
export function fail(message: string): never {
  console.error(message);
  process.exit(1);
}

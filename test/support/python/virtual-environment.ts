/**
 * Pythons of this machine, and fresh virtual environments with the package, as its users have it: a wheel
 * that pip installs without an index. Each runs without the variables and files of this machine's own Python.
 */
import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { cleanEnvironment, type Run, untilTestEnds, walrustBinary } from "../processes/binary.ts";
import { tempFolder } from "../temp.ts";

const ROOT = join(import.meta.dir, "../../..");

/** The oldest Python that the package supports: 3.MINOR. */
const MINOR_MIN = 9;

/** A Python that can make virtual environments and has SQLite. */
export interface Python {
  readonly path: string;
  /** The second number of its version. */
  readonly minor: number;
}

/** Prints the second number of the version, if the modules that a test needs are there. */
const PROBE = "import pip, sqlite3, sys, venv; print(sys.version_info[1])";

/** The usable Pythons from 3.9 on, one of each version, the oldest first. */
export async function findPythons(): Promise<Python[]> {
  const found = await Promise.all(candidates().map(probed));
  const usable = found.filter((one): one is Python => one !== null && one.minor >= MINOR_MIN);
  const byMinor = new Map(usable.toReversed().map((python) => [python.minor, python]));
  return [...byMinor.values()].toSorted((a, b) => a.minor - b.minor);
}

/** Names on PATH, and the versions of pyenv, whose own commands on PATH may refuse to run. */
function candidates(): string[] {
  const minors = Array.from({ length: 12 }, (_, index) => `python3.${MINOR_MIN + index}`);
  const onPath = ["python3", ...minors].map((name) => Bun.which(name)).filter((path) => path !== null);
  const versions = join(process.env["PYENV_ROOT"] ?? join(homedir(), ".pyenv"), "versions");
  const ofPyenv = existsSync(versions) ? readdirSync(versions) : [];
  return [...onPath, ...ofPyenv.map((version) => join(versions, version, "bin", "python3"))];
}

async function probed(path: string): Promise<Python | null> {
  try {
    const { exitCode, stdout } = await runPython([path, "-c", PROBE]);
    return exitCode === 0 ? { path, minor: Number(stdout) } : null;
  } catch {
    return null;
  }
}

/** Runs a command to its end, with the environment of all Pythons here. */
export async function runPython(command: readonly string[], cwd = ROOT): Promise<Run> {
  const child = untilTestEnds(
    Bun.spawn([...command], { cwd, env: environment(), stdio: ["ignore", "pipe", "pipe"] }),
  );
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, stdout, stderr };
}

/** The environment without PYTHONPATH, a configuration of pip and the like. */
function environment(): Record<string, string> {
  const own = Object.entries(cleanEnvironment()).filter(([name]) => !/^(PYTHON|PIP_|VIRTUAL_ENV)/.test(name));
  const pip = { PIP_CONFIG_FILE: "/dev/null", PIP_NO_INDEX: "1", PIP_DISABLE_PIP_VERSION_CHECK: "1" };
  return { ...Object.fromEntries(own), ...pip, PIP_NO_CACHE_DIR: "1", PYTHONDONTWRITEBYTECODE: "1" };
}

let wheel: Promise<string> | null = null;

/** The path of a wheel with the built executable. @throws Error with the output of `bun run package` */
export function builtWheel(): Promise<string> {
  wheel ??= buildWheel(tempFolder("wheel"));
  return wheel;
}

/** Makes a wheel in a folder, and returns its path. @throws Error with the output of `bun run package` */
export async function buildWheel(folder: string): Promise<string> {
  const words = ["--kind", "wheel", "--out", folder, "--level", "1", "--binary", await walrustBinary()];
  await must([process.execPath, join(ROOT, "scripts", "package.ts"), ...words]);
  const [name = ""] = readdirSync(folder).filter((one) => one.endsWith(".whl"));
  return join(folder, name);
}

async function must(command: readonly string[], cwd?: string): Promise<Run> {
  const run = await runPython(command, cwd);
  if (run.exitCode === 0) return run;
  throw new Error(`${command.join(" ")} ended with ${run.exitCode}\n${run.stderr}${run.stdout}`);
}

/** A virtual environment that has the package installed. */
export class VirtualEnvironment {
  private constructor(readonly folder: string) {}

  /** Makes one with nothing but the wheel. @throws Error with the output of venv or pip */
  static async install(python: Python): Promise<VirtualEnvironment> {
    const folder = tempFolder("venv");
    // A pip of its own would cost more time than all the rest.
    await must([python.path, "-m", "venv", "--without-pip", folder]);
    const pip = [python.path, "-m", "pip", "--python", join(folder, "bin", "python")];
    await must([...pip, "install", "--quiet", await builtWheel()]);
    return new VirtualEnvironment(folder);
  }

  /** Runs its Python in a folder to the end. */
  run(words: readonly string[], cwd = this.folder): Promise<Run> {
    return runPython([join(this.folder, "bin", "python"), ...words], cwd);
  }
}

/**
 * Finds the program that a child process runs: this package's own `main.ts` with the running Bun, unless the
 * application names an executable. The only place that knows where walrust lies.
 *
 * Must never happen: that the application starts itself. In an application made by `bun build --compile`, the
 * running program is the application, and this package has no files.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { WalrustError } from "../errors.ts";

const PACKAGE_NAME = "walrust";
/** No `.env` and no `bunfig.toml` of the application: a preloaded module would run in walrust. */
const BUN_WORDS = ["--no-env-file", "--config=/dev/null"];

/**
 * The first words of the command line of a child.
 * @param given path or name of a walrust executable, or undefined for the one of this package
 * @param folder the folder of this file
 * @throws WalrustError code "usage" when this package has no files and no executable is given
 */
export function findExecutable(
  given: string | undefined,
  folder = import.meta.dir,
  running = process.execPath,
): string[] {
  if (given !== undefined) return [given];
  const root = join(folder, "..", "..");
  const main = join(root, "src", "main.ts");
  const version = ownVersionOrNull(root);
  if (version !== null && existsSync(main)) {
    // As the build of the executable does: objects in the bucket carry the version.
    return [running, ...BUN_WORDS, `--define=WALRUST_VERSION=${JSON.stringify(version)}`, main];
  }
  const isCompiled = folder.startsWith("/$bunfs/");
  const where = isCompiled ? "a compiled application" : "a bundle";
  throw new WalrustError("usage", `Cannot find walrust from within ${where}`, {
    hint: isCompiled
      ? "Give the option executable: the path of a walrust executable"
      : "Give the option executable, or leave walrust out of the bundle (--external walrust)",
  });
}

/**
 * The version of this package if a folder holds it: a bundle may lie anywhere, beside a main.ts of the
 * application.
 */
function ownVersionOrNull(root: string): string | null {
  try {
    const { name, version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
      readonly name?: unknown;
      readonly version?: unknown;
    };
    return name === PACKAGE_NAME ? String(version) : null;
  } catch {
    return null;
  }
}

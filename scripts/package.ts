/**
 * `bun run package`: makes the packages of this version, and `SHA256SUMS` of all of them.
 *
 *   --target NAMES   platforms, separated by commas (scripts/package/targets.ts); all of them without it
 *   --kind NAMES     kinds of packages (scripts/package/kinds.ts); all of them without it
 *   --out FOLDER     instead of dist/packages; the files of an earlier run there are removed
 *   --binary PATH    packs this executable of this machine's platform instead of a build
 *   --level N        compression of zlib, 1 to 9; 9 without it
 *
 * Two runs of one commit make the same bytes: every time in a package is SOURCE_DATE_EPOCH, by default the
 * time of the commit, and the executables contain the pinned Bun. Uncommitted changes cause a warning.
 * WALRUST_REPOSITORY is the `repository` of the npm packages, if package.json has none.
 */
import { existsSync } from "node:fs";
import { mkdir, readFile, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { collectDocuments } from "./package/documents.ts";
import { buildExecutables, checkVersion } from "./package/executables.ts";
import { kindsNamed } from "./package/kinds.ts";
import type { Executable } from "./package/package-kind.ts";
import { formatSums, namesInSums, SUMS } from "./package/sums.ts";
import { nativeTarget, targetsNamed } from "./package/targets.ts";
import { capture, ensurePackages, fail, ROOT } from "./toolchain.ts";

/** The time stamp of all packages. @throws Error when there is neither SOURCE_DATE_EPOCH nor a commit */
async function readEpochSeconds(): Promise<number> {
  const given = process.env["SOURCE_DATE_EPOCH"];
  if (given !== undefined) {
    if (/^\d{1,10}$/.test(given)) return Number(given);
    throw new Error(`SOURCE_DATE_EPOCH is ${given}, expected seconds since 1970`);
  }
  const { exitCode, stdout } = await capture(["git", "log", "-1", "--format=%ct"]);
  if (exitCode !== 0) throw new Error("This is no clone of a git repository: set SOURCE_DATE_EPOCH");
  const { stdout: changes } = await capture(["git", "status", "--porcelain"]);
  if (changes !== "") console.error("WARNING: the tree has uncommitted changes; the packages contain them");
  return Number(stdout);
}

/** Removes the files that an earlier run made; leaves all others. */
async function emptyFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const sums = join(folder, SUMS);
  if (!existsSync(sums)) return;
  for (const name of namesInSums(await readFile(sums, "utf8"))) await rm(join(folder, name), { force: true });
  await rm(sums);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      target: { type: "string" },
      kind: { type: "string" },
      out: { type: "string", default: join(ROOT, "dist", "packages") },
      binary: { type: "string" },
      level: { type: "string", default: "9" },
    },
  });
  const namesOf = (list: string | undefined): string[] => list?.split(",") ?? [];
  const kinds = kindsNamed(namesOf(values.kind));
  const targets = values.binary === undefined ? targetsNamed(namesOf(values.target)) : [nativeTarget()];
  const folder = resolve(values.out);
  await ensurePackages();
  const manifest = await Bun.file(join(ROOT, "package.json")).json();
  const { version, description, license } = manifest;
  const repository = manifest.repository ?? process.env["WALRUST_REPOSITORY"];
  const epochSeconds = await readEpochSeconds();
  const executables: readonly Executable[] =
    values.binary === undefined
      ? await buildExecutables(targets)
      : [{ target: nativeTarget(), path: resolve(values.binary) }];
  await checkVersion(executables, version);
  const documents = await collectDocuments(executables);
  await emptyFolder(folder);
  const about = { version, description, license, repository, epochSeconds };
  const context = { ...about, compressionLevel: Number(values.level), folder, executables, documents };
  const names: string[] = [];
  for (const kind of kinds) names.push(...(await kind.make(context)));
  await Bun.write(join(folder, SUMS), await formatSums(folder, names));
  for (const name of [...names.toSorted(), SUMS]) console.log(join(folder, name));
}

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    fail(error instanceof Error ? error.message : String(error));
  }
}

/**
 * Writes `src/commands/manual/licenses.txt`, the notices that `walrust --licenses` prints: of walrust, of
 * each npm package that the executable may contain, and of Bun with its linked libraries. Packages with the
 * same text share one copy. With `--check` the script writes nothing and exits with 1 when the file is out of
 * date.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ensurePackages, fail, ROOT } from "./toolchain.ts";

const OUTPUT = join(ROOT, "src", "commands", "manual", "licenses.txt");
const FOLDER = join(import.meta.dir, "licenses");
const RULE = "-".repeat(80);

interface Package {
  readonly name: string;
  readonly version: string;
  readonly license?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
}

/** All direct and indirect dependencies, with their folders, by name and version. */
export function bundledPackages(): Map<string, { folder: string; manifest: Package }> {
  const found = new Map<string, { folder: string; manifest: Package }>();
  const visit = (name: string, from: string): void => {
    const folder = folderOf(name, from);
    const manifest = manifestOf(folder);
    const id = `${manifest.name} ${manifest.version}`;
    if (found.has(id)) return;
    found.set(id, { folder, manifest });
    for (const next of Object.keys(manifest.dependencies ?? {})) visit(next, folder);
  };
  for (const name of Object.keys(manifestOf(ROOT).dependencies ?? {})) visit(name, ROOT);
  return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The folder of a package that a file in `from` imports. @throws Error when no folder above has it */
function folderOf(name: string, from: string): string {
  for (let folder = from; ; folder = dirname(folder)) {
    const candidate = join(folder, "node_modules", name);
    if (existsSync(join(candidate, "package.json"))) return candidate;
    if (folder === dirname(folder)) throw new Error(`${name} is not installed`);
  }
}

function manifestOf(folder: string): Package {
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Package;
}

/** The license text of a package; for a package without a license file, the text that its license names. */
function licenseText(folder: string, { name, license }: Package, apache: string): string {
  const file = readdirSync(folder).find((entry) => /^licen[cs]e(\.(txt|md))?$/i.test(entry));
  if (file !== undefined) return readFileSync(join(folder, file), "utf8").trim();
  if (license === "Apache-2.0") return apache;
  throw new Error(`${name} has no license file, and this script has no text for its license ${license}`);
}

/** All notices as one text. @throws Error for a package without a license text */
export function notices(): string {
  const own = readFileSync(join(ROOT, "LICENSE"), "utf8").trim();
  const namesByText = new Map<string, string[]>();
  for (const [id, { folder, manifest }] of bundledPackages()) {
    const text = licenseText(folder, manifest, own);
    const names = namesByText.get(text) ?? [];
    namesByText.set(text, names);
    names.push(`${id} (${manifest.license})`);
  }
  const part = (file: string): string => readFileSync(join(FOLDER, file), "utf8").trim();
  const parts = [
    `walrust\n=======\n\n${own}`,
    ...[...namesByText].map(([text, names]) => `${names.join("\n")}\n\n${text}`),
    ...["bun.txt", "LGPL-2.0.txt", "LGPL-2.1.txt"].map(part),
  ];
  return `${parts
    .join(`\n\n${RULE}\n\n`)
    .replaceAll(/[\t\f\r ]+\n/g, "\n")
    .replaceAll("\f", "")}\n`;
}

if (import.meta.main) {
  await ensurePackages();
  const text = notices();
  const isCurrent = existsSync(OUTPUT) && readFileSync(OUTPUT, "utf8") === text;
  if (process.argv.includes("--check")) {
    if (!isCurrent) fail("src/commands/manual/licenses.txt is out of date: run bun scripts/licenses.ts");
    console.log("The notices are up to date.");
  } else {
    if (!isCurrent) await Bun.write(OUTPUT, text);
    console.log(isCurrent ? "The notices are up to date." : "The notices are written.");
  }
}

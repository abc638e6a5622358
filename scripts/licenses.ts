/**
 * Writes `src/commands/licenses.txt`, the notices that `walrust --licenses` prints: of walrust, of each npm
 * package that can be in the executable, and of Bun with what it links. Packages with the same text share it.
 * With `--check` nothing is written, and the exit code says whether the file is up to date.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ensurePackages, fail, ROOT } from "./toolchain.ts";

const OUTPUT = join(ROOT, "src", "commands", "licenses.txt");
const FOLDER = join(import.meta.dir, "licenses");
const RULE = "-".repeat(80);

interface Package {
  readonly name: string;
  readonly version: string;
  readonly license?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
}

/** The packages that `dependencies` lead to, with their folders, by name and version. */
function bundledPackages(): Map<string, { folder: string; manifest: Package }> {
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

/** Where a package that is imported in `from` lies. @throws Error when it is not installed */
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

/** The text of a package's license; of one that ships none, the text of its license's name. */
function licenseText(folder: string, { name, license }: Package, apache: string): string {
  const file = readdirSync(folder).find((entry) => /^licen[cs]e(\.(txt|md))?$/i.test(entry));
  if (file !== undefined) return readFileSync(join(folder, file), "utf8").trim();
  if (license === "Apache-2.0") return apache;
  throw new Error(`${name} has no license file, and its license ${license} is not one that is known here`);
}

/** The notices. @throws Error for a package without a license that is known */
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
    if (!isCurrent) fail("src/commands/licenses.txt is out of date: bun scripts/licenses.ts");
    console.log("The notices are up to date.");
  } else {
    if (!isCurrent) await Bun.write(OUTPUT, text);
    console.log(isCurrent ? "The notices are up to date." : "The notices are made anew.");
  }
}

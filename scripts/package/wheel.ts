/**
 * Wheels for `pip install walrust`: the Python package of `src/python`, and the executable among the scripts
 * of the wheel, so that pip puts it on PATH. One wheel for each platform, for every Python from 3.9 on.
 * Source: the specifications of binary distributions, core metadata and platform tags at
 * packaging.python.org.
 *
 *   walrust/                               the package
 *   walrust-VERSION.data/scripts/walrust   the executable
 *   walrust-VERSION.dist-info/             METADATA, WHEEL, licenses/, and RECORD with a digest of each file
 */
import { join } from "node:path";
import { ROOT } from "../toolchain.ts";
import { documentText, type Executable, type PackageContext, type PackageKind } from "./package-kind.ts";
import { type ZipEntry, zip } from "./zip.ts";

/** The kind of packages that `--kind wheel` selects. */
export const wheels: PackageKind = { name: "wheel", make };

/** The Python package, below the project's folder. */
const PACKAGE = "src/python/walrust";
const PAGE = "src/python/README.md";

/** The oldest Python that the package supports. */
const PYTHON_MIN = "3.9";

/** Documents of the context that go into the folder of licenses. */
const LICENSES = ["LICENSE", "THIRD-PARTY-NOTICES.txt"] as const;

const CLASSIFIERS = [
  "Environment :: Console",
  "Intended Audience :: Developers",
  "Intended Audience :: System Administrators",
  "Operating System :: MacOS",
  "Operating System :: POSIX :: Linux",
  "Programming Language :: Python :: 3",
  "Topic :: Database",
  "Topic :: System :: Archiving :: Backup",
  "Typing :: Typed",
] as const;

async function make(context: PackageContext): Promise<string[]> {
  const version = pythonVersion(context.version);
  const sources = await packageEntries();
  const metadata = metadataText({ ...context, version }, await Bun.file(join(ROOT, PAGE)).text());
  const names: string[] = [];
  for (const executable of context.executables) {
    const name = `walrust-${version}-py3-none-${executable.target.wheel}.whl`;
    const entries = [...sources, ...(await platformEntries(context, version, executable, metadata))];
    const bytes = zip(withRecord(entries, version), context.epochSeconds, context.compressionLevel);
    await Bun.write(join(context.folder, name), bytes);
    names.push(name);
  }
  return names;
}

/**
 * A version as Python spells it: `0.5.0-rc.1` is `0.5.0rc1`. @throws Error for a version that has no spelling
 */
export function pythonVersion(version: string): string {
  const parts = /^(\d+\.\d+\.\d+)(?:-(alpha|beta|rc)\.(\d+))?$/.exec(version);
  if (parts === null) throw new Error(`Python has no spelling for the version ${version}`);
  const [, release = "", phase, number = ""] = parts;
  const letters: Readonly<Record<string, string>> = { alpha: "a", beta: "b", rc: "rc" };
  return phase === undefined ? release : `${release}${letters[phase]}${number}`;
}

/** The files of the Python package, sorted by path. */
async function packageEntries(): Promise<ZipEntry[]> {
  const folder = join(ROOT, PACKAGE);
  const names = [...new Bun.Glob("*.{py,typed}").scanSync({ cwd: folder, dot: false })].toSorted();
  return await Promise.all(
    names.map(async (name) => ({
      path: `walrust/${name}`,
      content: await Bun.file(join(folder, name)).bytes(),
    })),
  );
}

async function platformEntries(
  context: PackageContext,
  version: string,
  { target, path }: Executable,
  metadata: string,
): Promise<ZipEntry[]> {
  const info = `walrust-${version}.dist-info`;
  return [
    {
      path: `walrust-${version}.data/scripts/walrust`,
      content: await Bun.file(path).bytes(),
      isExecutable: true,
    },
    textEntry(`${info}/METADATA`, metadata),
    textEntry(`${info}/WHEEL`, wheelText(context.version, target.wheel)),
    ...LICENSES.map((name) => textEntry(`${info}/licenses/${name}`, documentText(context, name))),
  ];
}

/** The core metadata. The page of the package is its description, without links that lead nowhere there. */
export function metadataText(
  context: Pick<PackageContext, "version" | "description" | "license" | "repository">,
  page: string,
): string {
  const { version, description, license, repository } = context;
  const fields = [
    "Metadata-Version: 2.4",
    "Name: walrust",
    `Version: ${version}`,
    `Summary: ${description}`,
    `License-Expression: ${license}`,
    ...LICENSES.map((name) => `License-File: ${name}`),
    "Keywords: sqlite,backup,replication,s3,litestream",
    ...CLASSIFIERS.map((name) => `Classifier: ${name}`),
    ...(repository === undefined ? [] : [`Project-URL: Source, ${repository}`]),
    `Requires-Python: >=${PYTHON_MIN}`,
    "Description-Content-Type: text/markdown",
  ];
  return `${fields.join("\n")}\n\n${page.replaceAll(/\[([^\]]*)\]\((?![a-z]+:)[^)]*\)/g, "$1")}`;
}

/** The text of WHEEL. A platform tag with dots stands for one tag each. */
function wheelText(version: string, platform: string): string {
  const tags = platform.split(".").map((one) => `Tag: py3-none-${one}\n`);
  return `Wheel-Version: 1.0\nGenerator: walrust (${version})\nRoot-Is-Purelib: false\n${tags.join("")}`;
}

/** The entries with RECORD behind them. */
function withRecord(entries: readonly ZipEntry[], version: string): ZipEntry[] {
  const path = `walrust-${version}.dist-info/RECORD`;
  const rows = entries.map((entry) => {
    const digest = new Bun.CryptoHasher("sha256").update(entry.content).digest("base64url");
    return `${entry.path},sha256=${digest},${entry.content.length}\n`;
  });
  return [...entries, textEntry(path, `${rows.join("")}${path},,\n`)];
}

function textEntry(path: string, text: string): ZipEntry {
  return { path, content: new TextEncoder().encode(text) };
}

/**
 * The files that packages for Linux distributions install: executable, completions and manual page where the
 * shells and `man` look for them, the unit of systemd, and a configuration that stays as the user changes it.
 *
 * A package starts nothing: the unit names a user and folders that every machine has to choose.
 */
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { ROOT } from "../../toolchain.ts";
import type { Executable, PackageContext } from "../package-kind.ts";

/** A file that a package installs. */
export interface SystemFile {
  /** Absolute path on the machine. */
  readonly path: string;
  readonly content: Uint8Array;
  readonly isExecutable: boolean;
  /** The package manager keeps the user's changes. */
  readonly isConfiguration: boolean;
  /** Documentation, which a package manager may leave out. */
  readonly isDocument: boolean;
}

/** The places that differ between distributions. */
export interface Places {
  /** Folder of completions for zsh. */
  readonly zsh: string;
}

/** The unit of systemd. */
export const UNIT = "walrust.service";

/** Description of the package in one line. */
export const SUMMARY = "Continuous, verified backup of SQLite databases to object storage";

/** Description of the package: paragraphs of lines that no reader wraps. */
export const DESCRIPTION: readonly (readonly string[])[] = [
  [
    "walrust runs beside applications that use SQLite, captures each commit",
    "from the WAL, and uploads it to a bucket of S3 (or of a provider that",
    "speaks its protocol) or to a folder. It restores a database as of now or",
    "as of an earlier point in time, and checks every byte of the restored file.",
  ],
  [
    "The service is not started: choose its user and folders with",
    "`systemctl edit walrust`, and the databases in /etc/walrust/walrust.toml.",
  ],
];

/** The person or group that answers for the packages, as `NAME <ADDRESS>`. */
export function maintainer(): string {
  return process.env["WALRUST_MAINTAINER"] ?? "The walrust authors <maintainers@walrust.invalid>";
}

/** A version as dpkg and rpm sort it: a pre-release counts before its release. */
export function sortedVersion(version: string): string {
  return version.replace("-", "~");
}

/** The files of a package, sorted by path. @throws Error when a document or an example is missing */
export async function systemFiles(
  context: PackageContext,
  { path }: Executable,
  places: Places,
  more: readonly SystemFile[],
): Promise<SystemFile[]> {
  const files: SystemFile[] = [
    { ...plain("/usr/bin/walrust", await Bun.file(path).bytes()), isExecutable: true },
    ...printed(context, places),
    plain(`/usr/lib/systemd/system/${UNIT}`, await unitText()),
    { ...plain("/etc/walrust/walrust.toml", await exampleText("walrust.toml")), isConfiguration: true },
    ...more,
  ];
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Completions and manual page, unless no executable of the run could print them on this machine. */
function printed({ documents }: PackageContext, { zsh }: Places): SystemFile[] {
  const made: Readonly<Record<string, (text: string) => SystemFile>> = {
    "completions/walrust.bash": (text) => plain("/usr/share/bash-completion/completions/walrust", text),
    "completions/_walrust": (text) => plain(`${zsh}/_walrust`, text),
    "completions/walrust.fish": (text) => plain("/usr/share/fish/vendor_completions.d/walrust.fish", text),
    "man/walrust.1": (text) => document("/usr/share/man/man1/walrust.1.gz", compressed(text)),
  };
  return documents.flatMap(({ path, text }) => made[path]?.(text) ?? []);
}

/** A file that is documentation. */
export function document(path: string, content: Uint8Array | string): SystemFile {
  return { ...plain(path, content), isDocument: true };
}

/** Text in the format of gzip, without a name and a time. */
export function compressed(text: string): Uint8Array {
  return gzipSync(text, { level: 9 });
}

function plain(path: string, content: Uint8Array | string): SystemFile {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  return { path, content: bytes, isExecutable: false, isConfiguration: false, isDocument: false };
}

async function exampleText(name: string): Promise<string> {
  return await Bun.file(join(ROOT, "scripts", "examples", name)).text();
}

const UNIT_HEAD = /^# systemd unit for walrust, [^\n]*\n/;

/** The unit of the examples, with a head about the package. */
async function unitText(): Promise<string> {
  const text = await exampleText(UNIT);
  if (!UNIT_HEAD.test(text)) throw new Error(`scripts/examples/${UNIT} has another head than expected`);
  return text.replace(
    UNIT_HEAD,
    "# systemd unit of the package walrust. Choose user, folders and keys with `systemctl edit walrust`,\n" +
      "# then `systemctl enable --now walrust`.\n",
  );
}

/** All folders above these paths, parents first, without the root. */
export function foldersOf(paths: readonly string[]): string[] {
  const folders = new Set<string>();
  for (const path of paths) {
    for (let end = path.indexOf("/", 1); end !== -1; end = path.indexOf("/", end + 1)) {
      folders.add(path.slice(0, end));
    }
  }
  return [...folders].sort();
}

/**
 * Packages for Debian and its relatives: `walrust_VERSION_ARCHITECTURE.deb`, written without dpkg, so that
 * every machine makes the same bytes.
 *
 * A .deb is an archive of ar (magic "!<arch>\n") with three members in this order: `debian-binary` ("2.0\n"),
 * `control.tar.gz`, `data.tar.gz`. The header of a member has 60 bytes: name 0 (16 bytes), time 16 (12),
 * owner 28 (6), group 34 (6), mode 40 (8), size 48 (10), "`\n" 58, all of them text with blanks behind. A
 * member of an odd size has a newline behind it. Source: deb(5), ar(5).
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import type { Executable, PackageContext, PackageKind } from "../package-kind.ts";
import { documentText } from "../package-kind.ts";
import { type TarEntry, tarGzip } from "../tar.ts";
import {
  compressed,
  DESCRIPTION,
  document,
  foldersOf,
  maintainer,
  SUMMARY,
  type SystemFile,
  sortedVersion,
  systemFiles,
  UNIT,
} from "./system-files.ts";

/** The kind of packages that `--kind deb` selects. */
export const debPackages: PackageKind = { name: "deb", make };

async function make(context: PackageContext): Promise<string[]> {
  const names: string[] = [];
  for (const executable of context.executables) {
    const { deb } = executable.target;
    if (deb === null) continue;
    const name = `walrust_${sortedVersion(context.version)}_${deb}.deb`;
    await Bun.write(join(context.folder, name), await debBytes(context, executable, deb));
    names.push(name);
  }
  return names;
}

async function debBytes(context: PackageContext, executable: Executable, deb: string): Promise<Uint8Array> {
  const { epochSeconds, compressionLevel } = context;
  const places = { zsh: "/usr/share/zsh/vendor-completions" };
  const files = await systemFiles(context, executable, places, documentsOf(context));
  const control = tarGzip(controlFiles(context, files, deb), epochSeconds, compressionLevel);
  const data = tarGzip(dataEntries(files), epochSeconds, compressionLevel);
  return ar(
    [
      { name: "debian-binary", content: new TextEncoder().encode("2.0\n") },
      { name: "control.tar.gz", content: control },
      { name: "data.tar.gz", content: data },
    ],
    epochSeconds,
  );
}

function documentsOf(context: PackageContext): SystemFile[] {
  const { version, license, epochSeconds } = context;
  const folder = "/usr/share/doc/walrust";
  const date = new Date(epochSeconds * 1000).toUTCString().replace("GMT", "+0000");
  const changes =
    `walrust (${sortedVersion(version)}) unstable; urgency=medium\n\n  * Version ${version}.\n\n` +
    ` -- ${maintainer()}  ${date}\n`;
  const copyright = [
    "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/",
    "Upstream-Name: walrust",
    "",
    "Files: *",
    `Copyright: ${new Date(epochSeconds * 1000).getUTCFullYear()} The walrust authors`,
    `License: ${license}`,
    " The text of the license is in /usr/share/common-licenses/Apache-2.0.",
    " .",
    " The executable contains works of others under licenses of their own: see",
    " THIRD-PARTY-NOTICES.txt.gz in this folder.",
    "",
  ];
  return [
    document(`${folder}/README.md.gz`, compressed(documentText(context, "README.md"))),
    document(
      `${folder}/THIRD-PARTY-NOTICES.txt.gz`,
      compressed(documentText(context, "THIRD-PARTY-NOTICES.txt")),
    ),
    document(`${folder}/changelog.gz`, compressed(changes)),
    document(`${folder}/copyright`, copyright.join("\n")),
    document("/usr/share/lintian/overrides/walrust", OVERRIDES),
  ];
}

/** Findings of lintian that hold for every executable that Bun makes, and for scripts without debhelper. */
const OVERRIDES = `# The executable is the one of Bun: it contains its libraries, and the program behind them.
walrust: embedded-library *
walrust: hardening-no-pie *
walrust: hardening-no-relro *
walrust: unstripped-binary-or-object *
# The scripts start nothing, and are written without debhelper.
walrust: maintainer-script-calls-systemctl *
`;

function dataEntries(files: readonly SystemFile[]): TarEntry[] {
  const folders = foldersOf(files.map(({ path }) => path)).map((path) => ({
    path: `.${path}/`,
    content: "",
  }));
  const entries = files.map(({ path, content, isExecutable }) => ({
    path: `.${path}`,
    content,
    isExecutable,
  }));
  return [{ path: "./", content: "" }, ...folders, ...entries];
}

function controlFiles(context: PackageContext, files: readonly SystemFile[], deb: string): TarEntry[] {
  const sums = files
    .filter(({ isConfiguration }) => !isConfiguration)
    .map(({ path, content }) => `${createHash("md5").update(content).digest("hex")}  ${path.slice(1)}\n`);
  const kept = files.filter(({ isConfiguration }) => isConfiguration).map(({ path }) => `${path}\n`);
  return [
    { path: "./", content: "" },
    { path: "./conffiles", content: kept.join("") },
    { path: "./control", content: controlText(context, files, deb) },
    { path: "./md5sums", content: sums.join("") },
    { path: "./postinst", content: POSTINST, isExecutable: true },
    { path: "./postrm", content: POSTRM, isExecutable: true },
    { path: "./prerm", content: PRERM, isExecutable: true },
  ];
}

function controlText(context: PackageContext, files: readonly SystemFile[], deb: string): string {
  const { version, repository } = context;
  const kilobytes = files.reduce((sum, { content }) => sum + Math.ceil(content.length / 1024), 0);
  const lines = DESCRIPTION.map((paragraph) => paragraph.map((line) => ` ${line}`).join("\n"));
  return [
    "Package: walrust",
    `Version: ${sortedVersion(version)}`,
    `Architecture: ${deb}`,
    `Maintainer: ${maintainer()}`,
    `Installed-Size: ${kilobytes}`,
    "Depends: libc6 (>= 2.17)",
    "Section: database",
    "Priority: optional",
    ...(repository === undefined ? [] : [`Homepage: ${repository}`]),
    `Description: ${SUMMARY.charAt(0).toLowerCase()}${SUMMARY.slice(1)}`,
    lines.join("\n .\n"),
    "",
  ].join("\n");
}

/** Tells systemd of the unit; a running service continues with the new version. */
const POSTINST = `#!/bin/sh
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
  systemctl --system daemon-reload
  if [ -n "$2" ]; then
    systemctl try-restart ${UNIT} || :
  fi
fi
`;

/** Stops the service before its executable is removed, not before an update. */
const PRERM = `#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
  systemctl stop ${UNIT} || :
fi
`;

/** State in /var/lib/walrust stays, even at a purge: it may hold commits that are in no bucket yet. */
const POSTRM = `#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
  systemctl --system daemon-reload || :
fi
if [ "$1" = purge ]; then
  rmdir /etc/walrust 2>/dev/null || :
fi
`;

/** A member of an archive of ar. */
interface ArMember {
  /** At most 16 characters. */
  readonly name: string;
  readonly content: Uint8Array;
}

/** The bytes of an archive of ar. */
function ar(members: readonly ArMember[], epochSeconds: number): Uint8Array {
  const parts: Uint8Array[] = [Buffer.from("!<arch>\n")];
  for (const { name, content } of members) {
    const fields = [name.padEnd(16), `${epochSeconds}`.padEnd(12), "0     0     100644  "];
    parts.push(Buffer.from(`${fields.join("")}${`${content.length}`.padEnd(10)}\`\n`), content);
    if (content.length % 2 === 1) parts.push(Buffer.from("\n"));
  }
  return Buffer.concat(parts);
}

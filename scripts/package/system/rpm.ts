/**
 * Packages for Fedora, Red Hat, SUSE and their relatives: `walrust-VERSION-1.ARCHITECTURE.rpm`, written
 * without rpmbuild, so that every machine makes the same bytes.
 *
 * An .rpm is: a lead of 96 bytes, which only old programs read; the signature, a header with digests of the
 * rest, padded to 8 bytes; the header that describes the package; the files, as an archive of cpio (newc) in
 * the format of gzip. Source: RPM V4 package format, rpm.org; cpio(5).
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { documentText, type Executable, type PackageContext, type PackageKind } from "../package-kind.ts";
import { type HeaderEntry, type HeaderValue, rpmHeader } from "./rpm-header.ts";
import {
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

/** The kind of packages that `--kind rpm` selects. */
export const rpmPackages: PackageKind = { name: "rpm", make };

const RELEASE = "1";
/** Numbers of the architectures in the lead. */
const ARCHITECTURES: Readonly<Record<string, number>> = { x86_64: 1, aarch64: 19 };
/** Folders that belong to walrust; all others belong to the system. */
const OWN_FOLDERS = ["/etc/walrust", "/usr/share/doc/walrust", "/usr/share/licenses/walrust"];

async function make(context: PackageContext): Promise<string[]> {
  const names: string[] = [];
  for (const executable of context.executables) {
    const { rpm } = executable.target;
    if (rpm === null) continue;
    const name = `walrust-${sortedVersion(context.version)}-${RELEASE}.${rpm}.rpm`;
    await Bun.write(join(context.folder, name), await rpmBytes(context, executable, rpm));
    names.push(name);
  }
  return names;
}

async function rpmBytes(context: PackageContext, executable: Executable, rpm: string): Promise<Uint8Array> {
  const more = [
    document("/usr/share/doc/walrust/README.md", documentText(context, "README.md")),
    document("/usr/share/licenses/walrust/LICENSE", documentText(context, "LICENSE")),
    document(
      "/usr/share/licenses/walrust/THIRD-PARTY-NOTICES.txt",
      documentText(context, "THIRD-PARTY-NOTICES.txt"),
    ),
  ];
  const files = await systemFiles(context, executable, { zsh: "/usr/share/zsh/site-functions" }, more);
  const nodes = nodesOf(files);
  const archive = cpio(nodes, context.epochSeconds);
  const payload = gzipSync(archive, { level: context.compressionLevel });
  const header = rpmHeader(
    [...descriptionOf(context, rpm), ...fileEntries(nodes, context.epochSeconds), ...payloadEntries(payload)],
    63,
  );
  const rest = Buffer.concat([header, payload]);
  const signature = rpmHeader(signatureEntries(header, rest, archive.length), 62);
  const padding = Buffer.alloc(-signature.length & 7);
  return Buffer.concat([lead(context.version, rpm), signature, padding, rest]);
}

/** A file or a folder of the package. */
interface Node {
  readonly path: string;
  readonly mode: number;
  readonly content: Uint8Array;
  readonly flags: number;
}

const FLAG_CONFIG = 1;
const FLAG_DOC = 2;
const FLAG_NOREPLACE = 16;
const FLAG_LICENSE = 128;

function nodesOf(files: readonly SystemFile[]): Node[] {
  const folders = foldersOf(files.map(({ path }) => path))
    .filter((path) => OWN_FOLDERS.includes(path))
    .map((path): Node => ({ path, mode: 0o40755, content: new Uint8Array(), flags: 0 }));
  const own = files.map(({ path, content, isExecutable, ...file }): Node => {
    const isLicense = path.startsWith("/usr/share/licenses/");
    const config = file.isConfiguration ? FLAG_CONFIG | FLAG_NOREPLACE : 0;
    const doc = isLicense ? FLAG_LICENSE : file.isDocument ? FLAG_DOC : 0;
    return { path, mode: isExecutable ? 0o100755 : 0o100644, content, flags: config | doc };
  });
  return [...folders, ...own].sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** An archive of cpio: fields of 8 hex digits, name and content padded to 4 bytes. */
function cpio(nodes: readonly Node[], epochSeconds: number): Buffer {
  const parts: Buffer[] = [];
  const add = (path: string, fields: readonly number[], content: Uint8Array): void => {
    const hex = (number: number): string => number.toString(16).padStart(8, "0");
    const sizes = [content.length, 0, 0, 0, 0, path.length + 1, 0];
    const head = Buffer.from(`070701${[...fields, ...sizes].map(hex).join("")}${path}\0`);
    parts.push(head, Buffer.alloc(-head.length & 3), Buffer.from(content), Buffer.alloc(-content.length & 3));
  };
  for (const [index, { path, mode, content }] of nodes.entries()) {
    const links = mode === 0o40755 ? 2 : 1;
    add(`.${path}`, [index + 1, mode, 0, 0, links, epochSeconds], content);
  }
  add("TRAILER!!!", [0, 0, 0, 0, 1, 0], new Uint8Array());
  return Buffer.concat(parts);
}

function lead(version: string, rpm: string): Buffer {
  const bytes = Buffer.alloc(96);
  bytes.writeUInt32BE(0xedabeedb, 0);
  bytes.writeUInt8(3, 4);
  bytes.writeUInt16BE(ARCHITECTURES[rpm] ?? 255, 8);
  bytes.write(`walrust-${sortedVersion(version)}-${RELEASE}`.slice(0, 65), 10);
  bytes.writeUInt16BE(1, 76);
  bytes.writeUInt16BE(5, 78);
  return bytes;
}

function signatureEntries(header: Buffer, rest: Buffer, archiveSize: number): HeaderEntry[] {
  return [
    { tag: 269, value: text(digest("sha1", header)) },
    { tag: 273, value: text(digest("sha256", header)) },
    { tag: 1000, value: int32(rest.length) },
    { tag: 1004, value: { type: "bytes", bytes: createHash("md5").update(rest).digest() } },
    { tag: 1007, value: int32(archiveSize) },
  ];
}

/** A dependency on a feature of rpm, and on a program or a library. */
const SENSE_OF_RPM = 0x0100000a;
const SENSE_OF_LIBRARY = 0x4000;
const SENSE_OF_SCRIPTS = 0xd00;
const EQUAL = 8;

const REQUIREMENTS: readonly (readonly [name: string, flags: number, version: string])[] = [
  ["/bin/sh", SENSE_OF_SCRIPTS, ""],
  ["libc.so.6()(64bit)", SENSE_OF_LIBRARY, ""],
  ["rpmlib(CompressedFileNames)", SENSE_OF_RPM, "3.0.4-1"],
  ["rpmlib(FileDigests)", SENSE_OF_RPM, "4.6.0-1"],
  ["rpmlib(PayloadFilesHavePrefix)", SENSE_OF_RPM, "4.0-1"],
];

/** Tells systemd of the unit; a running service continues with the new version. */
const POSTIN = `if [ -d /run/systemd/system ]; then
  systemctl --system daemon-reload || :
  [ "$1" -lt 2 ] || systemctl try-restart ${UNIT} || :
fi
`;
/** Stops the service before its executable is removed, not before an update. */
const PREUN = `if [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then
  systemctl stop ${UNIT} || :
fi
`;

function descriptionOf(context: PackageContext, rpm: string): HeaderEntry[] {
  const { version, license, repository, epochSeconds } = context;
  const full = `${sortedVersion(version)}-${RELEASE}`;
  return [
    { tag: 100, value: texts(["C"]) },
    { tag: 1000, value: text("walrust") },
    { tag: 1001, value: text(sortedVersion(version)) },
    { tag: 1002, value: text(RELEASE) },
    { tag: 1004, value: { type: "i18n", text: SUMMARY } },
    { tag: 1005, value: { type: "i18n", text: DESCRIPTION.map((lines) => lines.join("\n")).join("\n\n") } },
    { tag: 1006, value: int32(epochSeconds) },
    { tag: 1007, value: text("localhost") },
    { tag: 1014, value: text(license) },
    { tag: 1015, value: text(maintainer()) },
    { tag: 1016, value: { type: "i18n", text: "Applications/Databases" } },
    ...(repository === undefined ? [] : [{ tag: 1020, value: text(repository) }]),
    { tag: 1021, value: text("linux") },
    { tag: 1022, value: text(rpm) },
    { tag: 1024, value: text(POSTIN) },
    { tag: 1025, value: text(PREUN) },
    { tag: 1044, value: text(`walrust-${full}.src.rpm`) },
    { tag: 1047, value: texts(["walrust", `walrust(${rpm === "x86_64" ? "x86-64" : "aarch-64"})`]) },
    { tag: 1112, value: int32(EQUAL, EQUAL) },
    { tag: 1113, value: texts([full, full]) },
    { tag: 1048, value: int32(...REQUIREMENTS.map(([, flags]) => flags)) },
    { tag: 1049, value: texts(REQUIREMENTS.map(([name]) => name)) },
    { tag: 1050, value: texts(REQUIREMENTS.map(([, , required]) => required)) },
    { tag: 1064, value: text("4.18.0") },
    { tag: 1086, value: text("/bin/sh") },
    { tag: 1087, value: text("/bin/sh") },
    { tag: 1124, value: text("cpio") },
    { tag: 1125, value: text("gzip") },
    { tag: 1126, value: text("9") },
    { tag: 5062, value: text("utf-8") },
  ];
}

function fileEntries(nodes: readonly Node[], epochSeconds: number): HeaderEntry[] {
  const each = (number: (node: Node, index: number) => number): HeaderValue => int32(...nodes.map(number));
  const folderOf = (path: string): string => path.slice(0, path.lastIndexOf("/") + 1);
  const folders = [...new Set(nodes.map(({ path }) => folderOf(path)))].sort();
  const isFolder = ({ mode }: Node): boolean => mode === 0o40755;
  return [
    { tag: 1009, value: int32(nodes.reduce((sum, { content }) => sum + content.length, 0)) },
    { tag: 1028, value: each((node) => (isFolder(node) ? 4096 : node.content.length)) },
    { tag: 1030, value: { type: "int16", numbers: nodes.map(({ mode }) => mode) } },
    { tag: 1033, value: { type: "int16", numbers: nodes.map(() => 0) } },
    { tag: 1034, value: each(() => epochSeconds) },
    { tag: 1035, value: texts(nodes.map((node) => (isFolder(node) ? "" : digest("sha256", node.content)))) },
    { tag: 1036, value: texts(nodes.map(() => "")) },
    { tag: 1037, value: each(({ flags }) => flags) },
    { tag: 1039, value: texts(nodes.map(() => "root")) },
    { tag: 1040, value: texts(nodes.map(() => "root")) },
    { tag: 1045, value: each(() => 0xffffffff) },
    { tag: 1095, value: each(() => 1) },
    { tag: 1096, value: each((_, index) => index + 1) },
    { tag: 1097, value: texts(nodes.map(() => "")) },
    { tag: 1116, value: each(({ path }) => folders.indexOf(folderOf(path))) },
    { tag: 1117, value: texts(nodes.map(({ path }) => path.slice(path.lastIndexOf("/") + 1))) },
    { tag: 1118, value: texts(folders) },
    { tag: 5011, value: int32(8) },
  ];
}

function payloadEntries(payload: Uint8Array): HeaderEntry[] {
  return [
    { tag: 5092, value: texts([digest("sha256", payload)]) },
    { tag: 5093, value: int32(8) },
  ];
}

function digest(algorithm: string, bytes: Uint8Array): string {
  return createHash(algorithm).update(bytes).digest("hex");
}

function text(value: string): HeaderValue {
  return { type: "text", text: value };
}

function texts(value: readonly string[]): HeaderValue {
  return { type: "texts", texts: value };
}

function int32(...numbers: readonly number[]): HeaderValue {
  return { type: "int32", numbers };
}

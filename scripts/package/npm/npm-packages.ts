/**
 * The npm packages: `walrust` with the command, which is a small program for Node.js (`walrust.cjs`), and for
 * each platform one package with its executable. `walrust` names them all as optional dependencies at its own
 * version; npm installs the one whose `os`, `cpu` and `libc` fit. No package has an install script.
 */
import { join } from "node:path";
import { documentText, type Executable, type PackageContext, type PackageKind } from "../package-kind.ts";
import { type TarEntry, tarGzip } from "../tar.ts";
import { TARGETS, type Target } from "../targets.ts";

const COMMAND = join(import.meta.dir, "walrust.cjs");
/** The oldest Node.js with all that the command needs. */
const ENGINES = { node: ">=14.18" };

/** The kind of packages that `--kind npm` selects. */
export const npmPackages: PackageKind = { name: "npm", make };

/** Name of the npm package for a platform. */
export function npmName(target: Target): string {
  return `@walrust/${target.name}`;
}

async function make(context: PackageContext): Promise<string[]> {
  const names = [await write(context, "walrust", await commandPackage(context))];
  for (const executable of context.executables) {
    const entries = await platformPackage(context, executable);
    names.push(await write(context, `walrust-${executable.target.name}`, entries));
  }
  return names;
}

/** Writes a package under the name that `npm pack` would give. @returns the name of the file */
async function write(context: PackageContext, name: string, entries: readonly TarEntry[]): Promise<string> {
  const file = `${name}-${context.version}.tgz`;
  const inFolder = entries.map((entry) => ({ ...entry, path: `package/${entry.path}` }));
  const bytes = tarGzip(inFolder, context.epochSeconds, context.compressionLevel);
  await Bun.write(join(context.folder, file), bytes);
  return file;
}

async function commandPackage(context: PackageContext): Promise<TarEntry[]> {
  const { version } = context;
  const manifest = {
    ...commonManifest(context, "walrust", context.description),
    keywords: ["sqlite", "backup", "replication", "s3", "litestream", "wal"],
    bin: { walrust: "bin/walrust.cjs" },
    engines: ENGINES,
    optionalDependencies: Object.fromEntries(TARGETS.map((target) => [npmName(target), version])),
  };
  const readme = `# walrust

${context.description}

\`\`\`sh
npx walrust watch app.db -b s3://my-bucket/vm1
npx walrust restore app -o app.db -b s3://my-bucket/vm1
npx walrust --help
\`\`\`

This package has the command. The executable comes from the package of your platform, such as
\`@walrust/linux-x64\`, which npm installs as an optional dependency. Nothing is downloaded later, and there
is no install script.

Platforms: ${TARGETS.map(({ name }) => name).join(", ")}.
`;
  return [
    { path: "package.json", content: format(manifest) },
    { path: "README.md", content: readme },
    { path: "LICENSE", content: documentText(context, "LICENSE") },
    { path: "bin/walrust.cjs", content: await Bun.file(COMMAND).bytes(), isExecutable: true },
  ];
}

async function platformPackage(context: PackageContext, { target, path }: Executable): Promise<TarEntry[]> {
  const { name, os, cpu, libc } = target;
  const about = `The executable of walrust for ${name}`;
  const manifest = {
    ...commonManifest(context, npmName(target), about),
    os: [os],
    cpu: [cpu],
    ...(libc === null ? {} : { libc: [libc] }),
    // Yarn would keep the package in an archive, and nothing can run from there.
    preferUnplugged: true,
  };
  const needs = libc === "musl" ? "\n\nThe executable needs libstdc++ (`apk add libstdc++`)." : "";
  const readme = `# ${npmName(target)}\n\n${about}. Install \`walrust\`.${needs}\n`;
  return [
    { path: "package.json", content: format(manifest) },
    { path: "README.md", content: readme },
    ...["LICENSE", "THIRD-PARTY-NOTICES.txt"].map((file) => ({
      path: file,
      content: documentText(context, file),
    })),
    { path: "walrust", content: await Bun.file(path).bytes(), isExecutable: true },
  ];
}

function commonManifest({ version, license, repository }: PackageContext, name: string, description: string) {
  return { name, version, description, license, ...(repository === undefined ? {} : { repository }) };
}

function format(manifest: object): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

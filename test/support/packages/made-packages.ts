/**
 * Packages of one kind around the built executable, made as `bun run package` makes them, but hardly
 * compressed. Executables of other platforms are small scripts.
 */
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../../../package.json";
import { collectDocuments } from "../../../scripts/package/documents.ts";
import type { PackageKind } from "../../../scripts/package/package-kind.ts";
import { nativeTarget, TARGETS } from "../../../scripts/package/targets.ts";
import { walrustBinary } from "../processes/binary.ts";
import { tempFolder } from "../temp.ts";

/** Makes the packages of all platforms. @returns their paths */
export async function makePackages(kind: PackageKind): Promise<string[]> {
  const folder = join(tempFolder("packages"), "out");
  mkdirSync(folder);
  const native = { target: nativeTarget(), path: await walrustBinary() };
  const executables = TARGETS.map((target) =>
    target === native.target ? native : { target, path: scriptFor(target.name) },
  );
  const { version, description, license } = packageJson;
  const names = await kind.make({
    version,
    description,
    license,
    epochSeconds: 1_700_000_000,
    compressionLevel: 1,
    folder,
    executables,
    documents: await collectDocuments([native]),
  });
  return names.map((name) => join(folder, name));
}

function scriptFor(name: string): string {
  const path = join(tempFolder("executable"), "walrust");
  writeFileSync(path, `#!/bin/sh\necho 'this is the executable of ${name}' >&2\nexit 99\n`);
  chmodSync(path, 0o755);
  return path;
}

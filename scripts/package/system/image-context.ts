/**
 * The context of a container image: `walrust-VERSION-image.tar.gz` holds the Dockerfile and the executable of
 * each architecture, so that one command makes the image: `docker buildx build -
 * <walrust-VERSION-image.tar.gz`. The image itself is no package of this script: its base comes from a
 * registry.
 */
import { join } from "node:path";
import { ROOT } from "../../toolchain.ts";
import { documentText, type PackageContext, type PackageKind } from "../package-kind.ts";
import { type TarEntry, tarGzip } from "../tar.ts";

/** The kind of packages that `--kind image` selects. */
export const imageContexts: PackageKind = { name: "image", make };

async function make(context: PackageContext): Promise<string[]> {
  const entries: TarEntry[] = [];
  for (const { target, path } of context.executables) {
    if (target.image === null) continue;
    const content = await Bun.file(path).bytes();
    entries.push({ path: `${target.image}/walrust`, content, isExecutable: true });
  }
  if (entries.length === 0) return [];
  const dockerfile = await Bun.file(join(ROOT, "scripts", "package", "system", "Dockerfile")).text();
  entries.push({ path: "Dockerfile", content: dockerfile });
  for (const path of ["LICENSE", "THIRD-PARTY-NOTICES.txt"]) {
    entries.push({ path, content: documentText(context, path) });
  }
  const name = `walrust-${context.version}-image.tar.gz`;
  await Bun.write(
    join(context.folder, name),
    tarGzip(entries, context.epochSeconds, context.compressionLevel),
  );
  return [name];
}

/**
 * Archives for people who install by hand: `walrust-VERSION-TARGET.tar.gz` holds one folder with the
 * executable and all documents.
 */
import { join } from "node:path";
import type { Executable, PackageContext, PackageKind } from "./package-kind.ts";
import { type TarEntry, tarGzip } from "./tar.ts";

/** The kind of packages that `--kind archive` selects. */
export const archives: PackageKind = { name: "archive", make };

async function make(context: PackageContext): Promise<string[]> {
  const names: string[] = [];
  for (const executable of context.executables) {
    const folder = `walrust-${context.version}-${executable.target.name}`;
    const entries = await entriesOf(context, executable, folder);
    const name = `${folder}.tar.gz`;
    await Bun.write(
      join(context.folder, name),
      tarGzip(entries, context.epochSeconds, context.compressionLevel),
    );
    names.push(name);
  }
  return names;
}

async function entriesOf(context: PackageContext, { path }: Executable, folder: string): Promise<TarEntry[]> {
  return [
    { path: `${folder}/walrust`, content: await Bun.file(path).bytes(), isExecutable: true },
    ...context.documents.map((document) => ({ path: `${folder}/${document.path}`, content: document.text })),
  ];
}

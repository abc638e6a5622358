/**
 * The seam between `bun run package` and the kinds of packages: each kind is one module that turns the
 * context of a run into files. A kind builds nothing and asks for no clock: the context has the executables,
 * the documents and the one time stamp, so that two runs of a commit make the same bytes.
 */
import type { Target } from "./targets.ts";

/** The executable for one platform. */
export interface Executable {
  readonly target: Target;
  readonly path: string;
}

/** A text that belongs into packages, by its place below an archive's folder. */
export interface PackageDocument {
  /** `LICENSE`, `completions/walrust.bash`, `man/walrust.1`. */
  readonly path: string;
  readonly text: string;
}

/** All that a kind needs. */
export interface PackageContext {
  /** The version in package.json, which every executable has shown to be its own. */
  readonly version: string;
  readonly description: string;
  /** SPDX name of walrust's own license. */
  readonly license: string;
  /** `repository` of package.json; npm accepts a proof of origin only for packages that name theirs. */
  readonly repository?: string | undefined;
  /** Modification time of every file in a package, in seconds since 1970: SOURCE_DATE_EPOCH. */
  readonly epochSeconds: number;
  /** Level of zlib, 1 to 9: low levels are for tests. */
  readonly compressionLevel: number;
  /** The folder for finished packages. */
  readonly folder: string;
  /** One executable for each wanted platform, in the order of the table of targets. */
  readonly executables: readonly Executable[];
  /** LICENSE, README.md, THIRD-PARTY-NOTICES.txt, and completions and man page. */
  readonly documents: readonly PackageDocument[];
}

/** A kind of packages. */
export interface PackageKind {
  /** Name for `--kind`. */
  readonly name: string;
  /**
   * Writes the packages into the context's folder and returns their file names. Skips platforms for which the
   * kind has no package.
   * @throws Error when a package cannot be made
   */
  make(context: PackageContext): Promise<string[]>;
}

/** The text of a document of the context. @throws Error if the context lacks the document */
export function documentText(context: PackageContext, path: string): string {
  const found = context.documents.find((document) => document.path === path);
  if (found === undefined) throw new Error(`The package context has no document ${path}`);
  return found.text;
}

/** All kinds of packages, in the order in which a run makes them. A new kind is a row here. */
import { archives } from "./archive.ts";
import { npmPackages } from "./npm/npm-packages.ts";
import type { PackageKind } from "./package-kind.ts";
import { bill } from "./sbom.ts";
import { debPackages } from "./system/deb.ts";
import { imageContexts } from "./system/image-context.ts";
import { rpmPackages } from "./system/rpm.ts";
import { wheels } from "./wheel.ts";

/** The kinds that `--kind` selects from. */
export const KINDS: readonly PackageKind[] = [
  npmPackages,
  archives,
  wheels,
  debPackages,
  rpmPackages,
  imageContexts,
  bill,
];

/** The kinds with these names; all without names. @throws Error for an unknown name */
export function kindsNamed(names: readonly string[]): PackageKind[] {
  for (const name of names) {
    if (KINDS.some((kind) => kind.name === name)) continue;
    throw new Error(`Unknown kind ${name}, expected one of ${KINDS.map((kind) => kind.name).join(", ")}`);
  }
  return KINDS.filter((kind) => names.length === 0 || names.includes(kind.name));
}

/**
 * The rules a machine can hold, over the texts of a project. Pure: it reads no file, so that each rule can be
 * shown to catch a planted violation.
 */
import { banViolations } from "./bans.ts";
import { importViolations } from "./imports.ts";
import { linkViolations } from "./links.ts";
import {
  basenameViolations,
  folderViolations,
  readmeViolations,
  shapeViolations,
  typeNameViolations,
} from "./shape.ts";
import { parseFiles, type Texts } from "./syntax.ts";

/** One place that breaks a rule. */
export interface Violation {
  readonly path: string;
  /** Counted from 1. */
  readonly line: number;
  readonly rule: string;
  readonly message: string;
}

/** Everything in these files that breaks a rule, by path and line. */
export async function findViolations(texts: Texts): Promise<Violation[]> {
  const files = await parseFiles(texts);
  const all = [
    ...shapeViolations(files),
    ...readmeViolations(texts),
    ...folderViolations(texts),
    ...basenameViolations(texts),
    ...typeNameViolations(files),
    ...linkViolations(texts),
    ...importViolations(files),
    ...banViolations(files),
  ];
  return all.sort((a, b) => (a.path === b.path ? a.line - b.line : a.path < b.path ? -1 : 1));
}

/** A violation as a line that editors can jump to. */
export function formatViolation({ path, line, rule, message }: Violation): string {
  return `${path}:${line}: ${rule}: ${message}`;
}

/**
 * Applies all tidy rules to the texts of a project. PURE: reads no file, so a test can plant a violation of
 * each rule.
 */
import { banViolations } from "./bans.ts";
import { importerViolations } from "./importers.ts";
import { importViolations } from "./imports.ts";
import { linkViolations } from "./links.ts";
import { mentionViolations } from "./mentions.ts";
import { proseViolations } from "./prose.ts";
import { pythonViolations } from "./python.ts";
import {
  basenameViolations,
  folderViolations,
  readmeViolations,
  screenViolations,
  shapeViolations,
  typeNameViolations,
} from "./shape.ts";
import { parseFiles, type Texts } from "./syntax.ts";
import { testMapViolations } from "./test-map.ts";

/** One place that breaks a rule. */
export interface Violation {
  readonly path: string;
  /** Counted from 1. */
  readonly line: number;
  readonly rule: string;
  readonly message: string;
}

/** All violations in these files, in the order of path and line. */
export async function findViolations(texts: Texts): Promise<Violation[]> {
  const files = await parseFiles(texts);
  const all = [
    ...shapeViolations(files),
    ...readmeViolations(texts),
    ...screenViolations(texts),
    ...folderViolations(texts),
    ...basenameViolations(texts),
    ...typeNameViolations(files),
    ...linkViolations(texts),
    ...mentionViolations(files, texts),
    ...proseViolations(files),
    ...pythonViolations(texts),
    ...testMapViolations(files, texts),
    ...importViolations(files),
    ...importerViolations(files),
    ...banViolations(files),
  ];
  return all.sort((a, b) => (a.path === b.path ? a.line - b.line : a.path < b.path ? -1 : 1));
}

/** A violation as `path:line: rule: message`. */
export function formatViolation({ path, line, rule, message }: Violation): string {
  return `${path}:${line}: ${rule}: ${message}`;
}

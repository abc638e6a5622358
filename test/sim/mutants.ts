/**
 * The mutants: faults planted into walrust's sources, which the simulator has to find. Each replaces one
 * exact text; `mutants.test.ts` fails when a text is not there exactly once any more.
 */
import type { Edit } from "./seam/seam-edits.ts";

/** A planted fault. */
export interface Mutant extends Edit {
  readonly name: string;
}

/** All mutants. */
export const MUTANTS: readonly Mutant[] = [];

/** The mutant with a name; null without a name. @throws Error when there is no such mutant */
export function findMutant(name: string | undefined): Mutant | null {
  if (name === undefined || name === "") return null;
  const found = MUTANTS.find((mutant) => mutant.name === name);
  if (found === undefined) throw new Error(`there is no mutant ${name}`);
  return found;
}

/**
 * The parameters of every property test. WALRUST_PROPERTY_CASES raises the number of cases of all of them at
 * once; each run then tries new cases, unless WALRUST_PROPERTY_SEED names the seed that a failure printed.
 */
const RAISED = Number(process.env["WALRUST_PROPERTY_CASES"] || 0);
const SEED = process.env["WALRUST_PROPERTY_SEED"] || undefined;

if (!Number.isInteger(RAISED) || RAISED < 0) {
  throw new Error(`WALRUST_PROPERTY_CASES=${process.env["WALRUST_PROPERTY_CASES"]}: expected a whole number`);
}

/**
 * Parameters for `fc.assert`.
 * @param count number of cases by default @param seed seed by default; without one, cases are new in each run
 */
export function cases(count: number, seed?: number): { numRuns: number; seed?: number } {
  const numRuns = Math.max(count, RAISED);
  if (SEED !== undefined) return { numRuns, seed: Number(SEED) };
  return seed === undefined || RAISED > count ? { numRuns } : { numRuns, seed };
}

/**
 * Numbers in the options of the command line. PURE.
 */

/** The largest seed. */
export const SEED_MAX = 2 ** 31;

/**
 * Reads a number, or gives `otherwise` without a text. @throws Error for anything below `min` or no number
 */
export function parseNumber(name: string, text: string | undefined, otherwise: number, min: number): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value) && value >= min) return value;
  throw new Error(`--${name} ${text}: expected a number from ${min}`);
}

/**
 * Reads a whole number, or gives `otherwise` without a text. @throws Error for anything else or out of range
 */
export function parseWhole(
  name: string,
  text: string | undefined,
  otherwise: number,
  min: number,
  max: number,
): number {
  const value = text === undefined ? otherwise : Number(text);
  if (text?.trim() !== "" && Number.isInteger(value) && value >= min && value <= max) return value;
  throw new Error(`--${name} ${text}: expected a whole number from ${min} to ${max}`);
}

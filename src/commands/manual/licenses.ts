/**
 * The notices of everything that the executable is made of, as `walrust --licenses` prints them. Imported
 * only then. `bun scripts/licenses.ts` makes the text from the installed packages.
 */
import text from "./licenses.txt" with { type: "text" };

/** Licenses of walrust, of its packages, and of Bun with what it links. */
export const LICENSES: string = text;

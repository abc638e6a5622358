/**
 * Temporary folders of ours: a random name and mode 0700, below a folder where nobody else can exchange them.
 * Every user may write to the system's folder for temporary files; only its sticky bit protects the entries.
 */
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { systemCode, WalrustError } from "../errors.ts";
import { parentsDistrustOrNull } from "./folder-trust.ts";
import { realParent } from "./places.ts";

/**
 * Makes a temporary folder in `parent`.
 * @param hint for the error
 * @throws WalrustError code "database" when the folder cannot be made, or could be exchanged
 */
export function makeTempFolder(parent: string, prefix: string, hint: string): string {
  const realPath = realParent(parent);
  const distrust = parentsDistrustOrNull(join(realPath, prefix));
  if (distrust !== null) {
    const found = `other users can exchange what lies there: ${distrust}`;
    throw new WalrustError("database", `Cannot make a temporary folder in ${parent}: ${found}`, { hint });
  }
  try {
    return mkdtempSync(join(realPath, prefix));
  } catch (error) {
    throw new WalrustError("database", `Cannot make a temporary folder in ${parent}: ${systemCode(error)}`, {
      hint,
      cause: error,
    });
  }
}

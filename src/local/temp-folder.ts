/**
 * Temporary folders of ours: a random name and mode 0700, in a folder where nobody else can exchange them.
 * The folder for temporary files is everybody's; its sticky bit alone protects what lies in it.
 */
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { systemCode, WalrustError } from "../errors.ts";
import { parentsDistrustOrNull } from "./folder-trust.ts";
import { realParent } from "./places.ts";

/**
 * Makes a folder in `parent`. @param hint what to do when that is not possible
 * @throws WalrustError code "database"
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

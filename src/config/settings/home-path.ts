/**
 * Expands `~` at the start of a path into the home folder of the user. A shell does so only at the start of a
 * word: not after `=`, not in quotes, and not in walrust.toml or in a unit of systemd.
 */
import { homeFolderOrNull } from "../../env.ts";
import { WalrustError } from "../../errors.ts";

/**
 * The path with a leading `~` or `~/` replaced. `./~` names a file of that name; `~user` stays as it is.
 * @param quote escapes the home folder, for a pattern
 * @param home $HOME, else the folder in the user database
 * @throws WalrustError code "usage" if a path begins with `~` and the user has no home folder
 */
export function expandHome(
  path: string,
  quote: (home: string) => string = (home) => home,
  home: string | null = homeFolderOrNull(),
): string {
  if (path !== "~" && !path.startsWith("~/")) return path;
  if (home !== null) return `${quote(home)}${path.slice(1)}`;
  throw new WalrustError("usage", `Cannot expand ${JSON.stringify(path)}: this user has no home folder`, {
    hint: "Set HOME, or give the whole path",
  });
}

/**
 * `~` at the begin of a path is the home folder of the user. A shell expands it only where a word begins:
 * not after `=`, not in quotes, not in walrust.toml or a unit of systemd.
 */
import { homeFolderOrNull } from "../../env.ts";
import { WalrustError } from "../../errors.ts";

/**
 * The path with a leading `~` or `~/` replaced. `./~` names a file of that name; `~user` stays as it is.
 * @param quote escapes the home folder, for a pattern
 * @param home the folder: $HOME, else the one of the user database
 * @throws WalrustError code "usage" when a path begins with `~` and the user has no home
 */
export function expandHome(
  path: string,
  quote: (home: string) => string = (home) => home,
  home: string | null = homeFolderOrNull(),
): string {
  if (path !== "~" && !path.startsWith("~/")) return path;
  if (home !== null) return `${quote(home)}${path.slice(1)}`;
  throw new WalrustError("usage", `Cannot use ${JSON.stringify(path)}: this user has no home folder`, {
    hint: "Set HOME, or write the whole path",
  });
}

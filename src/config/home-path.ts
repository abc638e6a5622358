/**
 * `~` at the begin of a path is the home folder of the user. A shell expands it only where a word begins:
 * not after `=`, not in quotes, not in walrust.toml or a unit of systemd.
 */
import { homedir } from "node:os";

/**
 * The path with a leading `~` or `~/` replaced. `./~` names a file of that name; `~user` stays as it is.
 * @param home the folder: $HOME, else the one of the user database
 */
export function expandHome(path: string, home: string = homedir()): string {
  return path === "~" || path.startsWith("~/") ? `${home}${path.slice(1)}` : path;
}

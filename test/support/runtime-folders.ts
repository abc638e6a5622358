/** Folders for the socket of a server that a test runs: below one that the test knows. */
import { RuntimeFolders } from "../../src/local/runtime-folder.ts";

/** Sockets and announcements lie in `<folder>/walrust`. */
export function runtimeFoldersIn(folder: string): RuntimeFolders {
  return RuntimeFolders.standard({ XDG_RUNTIME_DIR: folder });
}

/** Folders for the socket of a server that a test runs, below a folder of the test. */
import { RuntimeFolders } from "../../src/local/folders/runtime-folder.ts";

/** Puts sockets and announcements into `<folder>/walrust`. */
export function runtimeFoldersIn(folder: string): RuntimeFolders {
  return RuntimeFolders.standard({ XDG_RUNTIME_DIR: folder });
}

/**
 * Keeps every operation inside a folder destination: objects are regular files, and no folder on the way to
 * an object is a symbolic link.
 *
 * A folder may be shared, mounted from elsewhere or restored from an archive, so anything may lie in it. An
 * open of a FIFO, a device or a socket would block; a link would lead a read, a write or a deletion outside.
 * Only the destination itself may be a link.
 */
import { constants } from "node:fs";
import { type FileHandle, lstat, open, realpath } from "node:fs/promises";
import { dirname, join } from "node:path";
import { WalrustError } from "../../errors.ts";
import { isAbsent } from "./file-calls.ts";

const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** The errors of opening a link, a socket, or a device without a driver. */
const NO_FILE: ReadonlySet<string> = new Set(["ELOOP", "ENXIO", "ENODEV"]);

/**
 * Opens a regular file for reading; anything else counts as absent.
 * @throws errors of the system; ENOENT for anything but a regular file
 */
export async function openFile(path: string): Promise<FileHandle> {
  let handle: FileHandle;
  try {
    handle = await open(path, READ_FLAGS);
  } catch (error) {
    throw NO_FILE.has((error as { code?: string }).code ?? "") ? noFile(path) : error;
  }
  try {
    if ((await handle.stat()).isFile()) return handle;
    throw noFile(path);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** The kind of special file at a path, in words; null for a regular file, a folder, or nothing. */
export async function specialFileOrNull(path: string): Promise<string | null> {
  try {
    const stats = await lstat(path);
    if (stats.isFile() || stats.isDirectory()) return null;
    if (stats.isSymbolicLink()) return "a symbolic link";
    if (stats.isFIFO()) return "a FIFO";
    return stats.isSocket() ? "a socket" : "a device";
  } catch (error) {
    if (isAbsent(error)) return null;
    throw error;
  }
}

/**
 * Checks that no symbolic link lies between the destination and one of its folders, as far as they exist.
 * @param folder a key prefix, with or without a slash at its end; empty for the destination itself
 * @throws WalrustError "storage", or errors of the system
 */
export async function assertInside(root: string, folder: string): Promise<void> {
  for (let inside = folder.replace(/\/$/, ""); inside !== "" && inside !== "."; inside = dirname(inside)) {
    try {
      const [realRoot, real] = await Promise.all([realpath(root), realpath(join(root, inside))]);
      if (real === join(realRoot, inside)) return;
    } catch (error) {
      if (isAbsent(error)) continue;
      throw error;
    }
    throw new WalrustError(
      "storage",
      `Cannot use ${join(root, inside)}: a symbolic link leads out of ${root}`,
      {
        hint: "Put the folder itself there, or mount it; only the destination may be a link",
        context: { path: join(root, inside) },
      },
    );
  }
}

function noFile(path: string): Error {
  return Object.assign(new Error(`${path} is no regular file`), { code: "ENOENT" });
}

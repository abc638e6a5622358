/**
 * The file operations of a file:// destination: durable directories and files, and errors with hints. Nothing
 * here knows about objects.
 */
import { type FileHandle, mkdir, open, stat, unlink } from "node:fs/promises";
import { dirname, parse } from "node:path";
import { errorMessage, systemCode, WalrustError } from "../../errors.ts";
import { modesInFolder, type NewModes } from "./file-modes.ts";

const HINTS: Readonly<Record<string, string>> = {
  ENOSPC: "The disk of the destination is full: free some space.",
  EDQUOT: "The quota on the destination is used up: free some space.",
  EACCES: "Give the user that walrust runs as permission to read and write there.",
  EPERM: "Give the user that walrust runs as permission to read and write there.",
  EROFS: "The destination is mounted read-only.",
  ENOTDIR: "A part of the path is a file, not a directory.",
  EISDIR: "A directory is in the place of a file.",
  ENAMETOOLONG: "A part of the path is longer than the file system allows.",
};

/** Failures that may pass. */
const RETRYABLE: ReadonlySet<string> = new Set([
  "ENOSPC",
  "EDQUOT",
  "EIO",
  "EAGAIN",
  "EBUSY",
  "EMFILE",
  "ENFILE",
  "ESTALE",
  "ETIMEDOUT",
]);

/** A failed file operation as a WalrustError "storage"; a WalrustError stays what it is. */
export function fileError(action: string, path: string, cause: unknown): WalrustError {
  if (cause instanceof WalrustError) return cause;
  const code = systemCode(cause) ?? "";
  const hint = HINTS[code];
  return new WalrustError("storage", `Cannot ${action} ${path}: ${errorMessage(cause)}`, {
    ...(hint === undefined ? {} : { hint }),
    context: { path, systemCode: code },
    retryable: RETRYABLE.has(code),
    cause,
  });
}

/** Whether an operation failed because the file, or a directory on the way to it, does not exist. */
export function isAbsent(error: unknown): boolean {
  const code = systemCode(error);
  return code === "ENOENT" || code === "ENOTDIR";
}

/** Whether `path` is a directory. @throws errors of stat, except that nothing exists there */
export async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (isAbsent(error)) return false;
    throw error;
  }
}

/**
 * Makes a directory and those above it; each is durable in its parent when the promise resolves.
 * @param top neither this directory nor one above it is made
 */
export async function makeDirectories(path: string, top = parse(path).root): Promise<void> {
  if (path === top || (await isDirectory(path))) return;
  const parent = dirname(path);
  await makeDirectories(parent, top);
  try {
    await mkdir(path, { mode: (await modesIn(parent)).folderMode });
  } catch (error) {
    if (systemCode(error) !== "EEXIST" || !(await isDirectory(path))) throw error;
  }
  await syncDirectory(parent);
}

/** Makes changes to the names in a directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Modes of new files and folders in this folder. */
async function modesIn(folder: string): Promise<NewModes> {
  return modesInFolder(await stat(folder), process.getegid?.() ?? 0);
}

/**
 * Creates a file where neither a file nor a link may exist, lets `fill` write it, and makes its content
 * durable. Its mode is that of new files in its folder (`modesInFolder`).
 */
export async function writeNewFile(path: string, fill: (handle: FileHandle) => Promise<void>): Promise<void> {
  const { fileMode } = await modesIn(dirname(path));
  const handle = await open(path, "wx", fileMode);
  try {
    await fill(handle);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes all of `bytes` at the handle's position. */
export async function writeFully(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  let offset = 0;
  while (offset < bytes.byteLength) {
    const { bytesWritten } = await handle.write(bytes, offset, bytes.byteLength - offset);
    offset += bytesWritten;
  }
}

/** Removes a file; a missing file counts as removed. */
export async function removeFile(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
}

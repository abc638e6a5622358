/**
 * Writing an object of a file:// destination.
 *
 * Data and sidecar are written to temporary files in the object's folder and fsynced; then, holding the
 * folder's lock: sidecar in place, fsync of the folder, object in place (`link` when it must not replace
 * anything), fsync of the folder. So an object is whole and has its metadata from the moment it has its name,
 * and is durable, with every folder above it, when the put resolves. A crash leaves at most temporary files,
 * which a later deletion in that folder sweeps away, or a sidecar without an object, which the next put of
 * that key replaces.
 */
import { type FileHandle, link, lstat, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Env } from "../../env.ts";
import { systemCode, WalrustError } from "../../errors.ts";
import { handleChunks, putBodyChunks, putBodySize } from "../contract/object-body.ts";
import type { ObjectMetadata, PutBody, PutOptions } from "../contract/store.ts";
import { withDirectoryLock } from "./directory-lock.ts";
import { isAbsent, makeDirectories, removeFile, writeFully, writeNewFile } from "./file-calls.ts";
import { openFile, strangerOrNull } from "./file-inside.ts";
import {
  encodeSidecar,
  matchingEntryOrNull,
  parseSidecar,
  SIDECAR_SIZE_MAX,
  SIDECAR_SUFFIX,
  type Sidecar,
  type SidecarEntry,
} from "./file-sidecar.ts";
import { TEMPORARY_SUFFIX } from "./file-walk.ts";

/** What `link` answers on file systems that have no hard links. */
const NO_LINKS: ReadonlySet<string> = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"]);

/** Whether `name` is that of a temporary file of ours. */
export function isTemporaryName(name: string): boolean {
  return /^\.[0-9a-f]{16}\.tmp$/.test(name);
}

function temporaryPath(folder: string, env: Env): string {
  return join(folder, `.${Buffer.from(env.randomBytes(8)).toString("hex")}${TEMPORARY_SUFFIX}`);
}

/**
 * Writes an object and its sidecar, durably; "exists" when `createOnly` finds the object there.
 *
 * @throws what the system throws, and what reading the body throws.
 */
export async function putFile(
  path: string,
  body: PutBody,
  options: PutOptions,
  env: Env,
): Promise<"written" | "exists"> {
  if (options.createOnly && (await exists(path))) return "exists";
  const folder = dirname(path);
  const dataPath = temporaryPath(folder, env);
  const sidecarPath = temporaryPath(folder, env);
  try {
    const sha256 = await writeData(dataPath, body, options);
    if (options.sha256 !== undefined && options.sha256 !== sha256) {
      throw new WalrustError(
        "integrity",
        `Cannot write ${path}: the bytes to send are not those that were hashed`,
      );
    }
    const entry = { sizeBytes: putBodySize(body), sha256, metadata: options.metadata ?? {} };
    await writeSidecar(sidecarPath, entry);
    return await withDirectoryLock(folder, env, async (handle) => {
      options.signal?.throwIfAborted();
      if (options.createOnly) return await publishNew(path, dataPath, sidecarPath, handle);
      await publishOver(path, dataPath, sidecarPath, entry, handle, env);
      return "written";
    });
  } finally {
    await removeFile(dataPath);
    await removeFile(sidecarPath);
  }
}

/** Writes the data and gives its SHA-256. The folder is made when it is missing. */
async function writeData(dataPath: string, body: PutBody, options: PutOptions): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  async function fill(handle: FileHandle): Promise<void> {
    for await (const chunk of putBodyChunks(body)) {
      options.signal?.throwIfAborted();
      hasher.update(chunk);
      await writeFully(handle, chunk);
    }
    if (options.modifiedMs === undefined) return;
    // As seconds, a floating-point number, nearly every time would come out up to a microsecond too early.
    const modified = new Date(options.modifiedMs);
    await handle.utimes(modified, modified);
  }
  try {
    await writeNewFile(dataPath, fill);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
    await makeDirectories(dirname(dataPath));
    await writeNewFile(dataPath, fill);
  }
  return hasher.digest("hex");
}

async function writeSidecar(path: string, sidecar: Sidecar): Promise<void> {
  const bytes = new TextEncoder().encode(encodeSidecar(sidecar));
  await writeNewFile(path, (handle) => writeFully(handle, bytes));
}

async function publishNew(
  path: string,
  dataPath: string,
  sidecarPath: string,
  folder: FileHandle,
): Promise<"written" | "exists"> {
  if (await exists(path)) return "exists";
  await rename(sidecarPath, `${path}${SIDECAR_SUFFIX}`);
  await folder.sync();
  try {
    await link(dataPath, path);
  } catch (error) {
    const code = systemCode(error) ?? "";
    if (code === "EEXIST") {
      // Somebody who knows no lock, such as Litestream, was faster: what is there has no sidecar.
      await removeFile(`${path}${SIDECAR_SUFFIX}`);
      return "exists";
    }
    if (!NO_LINKS.has(code)) throw error;
    await rename(dataPath, path);
  }
  await folder.sync();
  return "written";
}

async function publishOver(
  path: string,
  dataPath: string,
  sidecarPath: string,
  entry: SidecarEntry,
  folder: FileHandle,
  env: Env,
): Promise<void> {
  const isThere = await exists(path);
  if (isThere) {
    const bothPath = temporaryPath(dirname(path), env);
    await writeSidecar(bothPath, { ...entry, previous: await currentEntryOrNull(path) });
    await rename(bothPath, `${path}${SIDECAR_SUFFIX}`);
  } else {
    await rename(sidecarPath, `${path}${SIDECAR_SUFFIX}`);
  }
  await folder.sync();
  await rename(dataPath, path);
  await folder.sync();
  // Not synced: should this step be lost, the sidecar with both entries says the same.
  if (isThere) await rename(sidecarPath, `${path}${SIDECAR_SUFFIX}`);
}

async function currentEntryOrNull(path: string): Promise<SidecarEntry | null> {
  const text = await readSidecarTextOrNull(path);
  if (text === null) return null;
  const handle = await openFile(path);
  try {
    const { size } = await handle.stat();
    const sidecar = parseSidecar(text, `${path}${SIDECAR_SUFFIX}`);
    return await matchingEntryOrNull(sidecar, size, () => hashHandle(handle, path, size));
  } finally {
    await handle.close();
  }
}

/** The metadata of an open object of `sizeBytes` beside a sidecar of this text. */
export async function readFileMetadata(
  handle: FileHandle,
  path: string,
  sizeBytes: number,
  sidecarText: string | null,
): Promise<ObjectMetadata> {
  if (sidecarText === null) return {};
  const sidecar = parseSidecar(sidecarText, `${path}${SIDECAR_SUFFIX}`);
  const entry = await matchingEntryOrNull(sidecar, sizeBytes, () => hashHandle(handle, path, sizeBytes));
  return entry?.metadata ?? {};
}

/** The text of an object's sidecar, or null when it has none. */
export async function readSidecarTextOrNull(path: string): Promise<string | null> {
  let handle: FileHandle;
  try {
    handle = await openFile(`${path}${SIDECAR_SUFFIX}`);
  } catch (error) {
    if (isAbsent(error)) return null;
    throw error;
  }
  try {
    const bytes = new Uint8Array(SIDECAR_SIZE_MAX);
    const { bytesRead } = await handle.read(bytes, 0, bytes.byteLength, 0);
    return new TextDecoder().decode(bytes.subarray(0, bytesRead));
  } finally {
    await handle.close();
  }
}

async function hashHandle(handle: FileHandle, path: string, sizeBytes: number): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  for await (const chunk of handleChunks(handle, path, 0, sizeBytes)) hasher.update(chunk);
  return hasher.digest("hex");
}

/** Whether an object is there. @throws WalrustError "storage" when something else has its name */
async function exists(path: string): Promise<boolean> {
  const stranger = await strangerOrNull(path);
  if (stranger !== null) {
    throw new WalrustError("storage", `Cannot write ${path}: ${stranger} has that name`, {
      hint: "Remove it: nothing but walrust and Litestream may write into a destination",
      context: { path },
    });
  }
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (isAbsent(error)) return false;
    throw error;
  }
}

/**
 * Writes an object of a file:// destination.
 *
 * Data and sidecar go to temporary files in the object's folder, each with an fsync. Then, under the folder's
 * lock: sidecar in place, fsync of the folder, object in place (by `link` if it must not replace anything),
 * fsync of the folder. So an object is complete and has its metadata as soon as it has its name, and is
 * durable, with every folder above it, when the put resolves. A crash leaves temporary files, which a later
 * deletion in the folder removes, or a sidecar without an object, which the next put of the key replaces.
 */
import { type FileHandle, link, lstat, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Env } from "../../env.ts";
import { systemCode, WalrustError } from "../../errors.ts";
import { putBodyChunks, putBodySize } from "../contract/object-body.ts";
import type { PutBody, PutOptions } from "../contract/store.ts";
import { withDirectoryLock } from "./directory-lock.ts";
import { isAbsent, removeFile, writeFully, writeNewFile } from "./file-calls.ts";
import { specialFileOrNull } from "./file-inside.ts";
import {
  currentEntryOrNull,
  encodeSidecar,
  SIDECAR_SUFFIX,
  type Sidecar,
  type SidecarEntry,
} from "./file-sidecar.ts";
import { TEMPORARY_SUFFIX } from "./file-walk.ts";

/** The errors of `link` on a file system without hard links. */
const NO_LINKS: ReadonlySet<string> = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"]);

/** Whether a file of this name is a temporary file of walrust. */
export function isTemporaryName(name: string): boolean {
  return /^\.[0-9a-f]{16}\.tmp$/.test(name);
}

function temporaryPath(folder: string, env: Env): string {
  return join(folder, `.${Buffer.from(env.randomBytes(8)).toString("hex")}${TEMPORARY_SUFFIX}`);
}

/**
 * Writes an object and its sidecar durably.
 *
 * @param makeFolder makes the folder of the object if it is missing; null: it held objects before
 * @returns "exists" when the object exists and `createOnly` is set; "no-folder" when its folder is missing
 * and may not be made
 * @throws errors of the system and of reading the body
 */
export async function putFile(
  path: string,
  body: PutBody,
  options: PutOptions,
  env: Env,
  makeFolder: (() => Promise<void>) | null,
): Promise<"written" | "exists" | "no-folder"> {
  if (options.createOnly && (await exists(path))) return "exists";
  const folder = dirname(path);
  const dataPath = temporaryPath(folder, env);
  const sidecarPath = temporaryPath(folder, env);
  try {
    const sha256 = await writeDataOrNull(dataPath, body, options, makeFolder);
    if (sha256 === null) return "no-folder";
    if (options.sha256 !== undefined && options.sha256 !== sha256) {
      throw new WalrustError(
        "integrity",
        `Cannot write ${path}: the bytes of the body are not those that were hashed`,
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

/**
 * Writes the data, and the folder if it is missing.
 * @returns the SHA-256 of the data; null when the folder is missing and may not be made
 */
async function writeDataOrNull(
  dataPath: string,
  body: PutBody,
  options: PutOptions,
  makeFolder: (() => Promise<void>) | null,
): Promise<string | null> {
  const hasher = new Bun.CryptoHasher("sha256");
  async function fill(handle: FileHandle): Promise<void> {
    for await (const chunk of putBodyChunks(body)) {
      options.signal?.throwIfAborted();
      hasher.update(chunk);
      await writeFully(handle, chunk);
      options.onSent?.(chunk.length);
    }
    if (options.modifiedMs === undefined) return;
    // A Date: as seconds, in floating point, nearly every time would be up to a microsecond too early.
    const modified = new Date(options.modifiedMs);
    await handle.utimes(modified, modified);
  }
  try {
    await writeNewFile(dataPath, fill);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
    if (makeFolder === null) return null;
    await makeFolder();
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
      // A program that takes no lock, such as Litestream, was faster: its object has no sidecar.
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
  // Not synced: if this step is lost, the sidecar with both contents describes the object too.
  if (isThere) await rename(sidecarPath, `${path}${SIDECAR_SUFFIX}`);
}

/** Whether an object exists. @throws WalrustError "storage" when a special file has its name */
async function exists(path: string): Promise<boolean> {
  const special = await specialFileOrNull(path);
  if (special !== null) {
    throw new WalrustError("storage", `Cannot write ${path}: ${special} has that name`, {
      hint: "Remove it: only walrust and Litestream may write into a destination",
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

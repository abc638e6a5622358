/**
 * An ObjectStore in a local directory (`file:///dir`), in the layout of Litestream's file replica. This file
 * reads, lists and deletes objects; `putFile` writes them.
 *
 * A missing root is the error "missing-bucket" for a reader; the first put makes a new root (`FileRoot`). A
 * folder that this store has put objects into, and that is gone, is the same error once: its objects are
 * gone, too.
 */
import { type FileHandle, lstat, readdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type Env, SILENT_LOG, systemEnv } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import { probeConditionalPut } from "../contract/create-only-check.ts";
import { CHUNK_SIZE_BYTES, handleChunks, objectBody, objectBodyOfBytes } from "../contract/object-body.ts";
import {
  assertFolderPrefix,
  assertObjectKey,
  assertObjectMetadata,
  assertObjectPrefix,
  clampRange,
} from "../contract/object-rules.ts";
import type {
  CallOptions,
  GetOptions,
  KeptKey,
  Leftover,
  ListOptions,
  ObjectBody,
  ObjectHead,
  ObjectInfo,
  ObjectStore,
  PutBody,
  PutOptions,
  StoreCapabilities,
} from "../contract/store.ts";
import { withDirectoryLock } from "./directory-lock.ts";
import { fileError, isAbsent, isDirectory, makeDirectories, removeFile } from "./file-calls.ts";
import { assertInside, openFile } from "./file-inside.ts";
import { findLeftovers, removeLeftover } from "./file-leftovers.ts";
import { isTemporaryName, putFile } from "./file-put.ts";
import { FileRoot, type FindEarlierUse } from "./file-root.ts";
import { readFileMetadata, readSidecarTextOrNull, SIDECAR_SUFFIX } from "./file-sidecar.ts";
import { isObjectName, type Walk, walkFolders, walkObjects } from "./file-walk.ts";
import { FolderMemory } from "./folder-memory.ts";

/** A deletion removes temporary files of this age in its folder: a crash left them. */
const TEMPORARY_AGE_MAX_MS = 24 * 3600 * 1000;
/** The most attempts of head and get to read an object that is being replaced. */
const READ_ATTEMPTS_MAX = 20;

/** The most special files that a store logs. */
const SPECIAL_FILES_MAX = 100;

/** The place of a FileStore. */
export interface FileStoreOptions {
  /** The root folder, absolute. */
  readonly path: string;
  readonly env?: Env;
  /** Asked once, when the root is missing or empty. With an earlier use, no put makes the root. */
  readonly findEarlierUse?: FindEarlierUse;
}

/** An object opened for reading, with its metadata. */
interface OpenObject {
  readonly handle: FileHandle;
  readonly path: string;
  readonly inode: number;
  readonly head: ObjectHead;
}

/** Objects as files below a folder. */
export class FileStore implements ObjectStore {
  readonly url: string;
  readonly location: string;
  readonly layout = "file";
  readonly capabilities: StoreCapabilities = { conditionalPut: "yes" };
  readonly #root: string;
  readonly #rootState: FileRoot;
  readonly #env: Env;

  /** The folders that this store has put objects into. */
  readonly #folders = new FolderMemory();
  readonly #specialFiles = new Set<string>();

  constructor(options: FileStoreOptions) {
    this.#root = options.path;
    this.#rootState = new FileRoot(options.path, options.findEarlierUse);
    this.#env = options.env ?? systemEnv(SILENT_LOG);
    this.url = pathToFileURL(options.path).href;
    this.location = this.url;
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<void> {
    assertFileKey(key);
    assertObjectMetadata(options.metadata ?? {});
    options.signal?.throwIfAborted();
    const path = join(this.#root, key);
    const folder = dirname(key);
    const hasObjects = this.#folders.has(folder);
    const makeFolder = (): Promise<void> => makeDirectories(resolve(this.#root, folder), resolve(this.#root));
    const outcome = await this.#inside(key, async () => {
      await this.#rootState.checkOrMake();
      return await putFile(path, body, options, this.#env, hasObjects ? null : makeFolder);
    }).catch(async (error) => {
      options.signal?.throwIfAborted();
      // The root may have disappeared in the middle.
      if (isAbsent(error)) await this.#rootState.check();
      throw fileError("write", path, error);
    });
    if (outcome === "no-folder") {
      await this.#rootState.check();
      throw this.#folderIsGone(folder);
    }
    this.#folders.add(folder);
    if (outcome === "written") return;
    throw new WalrustError("precondition", `Cannot create ${key} in ${this.url}: it exists`, {
      context: { key },
    });
  }

  async get(key: string, options: GetOptions = {}): Promise<ObjectBody> {
    const object = await this.#open(key, options.signal);
    const { handle, path, head } = object;
    try {
      const { offset, length } = clampRange(options.range, head.sizeBytes);
      if (length > CHUNK_SIZE_BYTES) return objectBody(head, reopenedChunks(object, offset, length));
      const bytes = new Uint8Array(length);
      let position = 0;
      for await (const chunk of handleChunks(handle, path, offset, length)) {
        bytes.set(chunk, position);
        position += chunk.byteLength;
      }
      return objectBodyOfBytes(head, bytes);
    } catch (error) {
      throw fileError("read", path, error);
    } finally {
      await handle.close();
    }
  }

  async head(key: string, options: CallOptions = {}): Promise<ObjectHead> {
    const { handle, head } = await this.#open(key, options.signal);
    await handle.close();
    return head;
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    assertObjectPrefix(prefix);
    options.signal?.throwIfAborted();
    await this.#rootState.check();
    await this.#assertFolder(prefix.slice(0, prefix.lastIndexOf("/") + 1));
    for await (const info of walkObjects(this.#walk, prefix, options.startAfter)) {
      yield info;
      options.signal?.throwIfAborted();
    }
  }

  async listFolders(prefix: string, options: CallOptions = {}): Promise<string[]> {
    assertFolderPrefix(prefix);
    options.signal?.throwIfAborted();
    await this.#rootState.check();
    await this.#assertFolder(prefix);
    return await walkFolders(this.#walk, prefix);
  }

  async delete(keys: readonly string[], options: CallOptions = {}): Promise<KeptKey[]> {
    for (const key of keys) assertFileKey(key);
    options.signal?.throwIfAborted();
    if (keys.length === 0) return [];
    await this.#rootState.check();
    for (const [folder, keysThere] of Map.groupBy(keys, (key) => dirname(key))) {
      options.signal?.throwIfAborted();
      await this.#assertFolder(folder);
      const paths = keysThere.map((key) => join(this.#root, key));
      await this.#deleteInFolder(join(this.#root, folder), paths);
    }
    return [];
  }

  async probe(key: string): Promise<StoreCapabilities> {
    return { conditionalPut: await probeConditionalPut(this, key) };
  }

  async leftovers(folder: string): Promise<Leftover[]> {
    assertFolderPrefix(folder);
    await this.#assertFolder(folder);
    return await findLeftovers(this.#root, folder);
  }

  async removeLeftovers(keys: readonly string[]): Promise<string[]> {
    const removed: string[] = [];
    for (const key of keys) {
      assertObjectKey(key);
      const path = join(this.#root, key);
      await this.#assertFolder(dirname(key));
      const isRemoved = await withDirectoryLock(dirname(path), this.#env, () => removeLeftover(path)).catch(
        (error) => {
          throw fileError("delete", path, error);
        },
      );
      if (isRemoved) removed.push(key);
    }
    return removed;
  }

  async close(): Promise<void> {}

  /** Opens an object with the metadata of its sidecar. */
  async #open(key: string, signal: AbortSignal | undefined): Promise<OpenObject> {
    assertFileKey(key);
    signal?.throwIfAborted();
    const path = join(this.#root, key);
    await this.#rootState.find();
    try {
      await assertInside(this.#root, dirname(key));
      for (let attempt = 0; attempt < READ_ATTEMPTS_MAX; attempt++) {
        const object = await openObjectOrNull(key, path);
        if (object !== null) return object;
      }
    } catch (error) {
      if (!isAbsent(error)) throw fileError("read", path, error);
      await this.#rootState.check();
      throw new WalrustError("not-found", `Cannot read ${key} in ${this.url}: no such object`, {
        context: { key },
      });
    }
    throw new WalrustError("storage", `Cannot read ${path}: other writers keep replacing it`, {
      retryable: true,
    });
  }

  /** A walk below the root that logs each special file once. */
  get #walk(): Walk {
    const onSpecialFile = (key: string): void => {
      if (this.#specialFiles.has(key) || this.#specialFiles.size === SPECIAL_FILES_MAX) return;
      this.#specialFiles.add(key);
      const message = `${key} in ${this.url} is neither a file nor a folder: walrust ignores it`;
      this.#env.log.warn(message, { hint: "Only the destination itself may be a symbolic link" });
    };
    return { root: this.#root, onSpecialFile };
  }

  /** Runs `work` on an object after a check that no link leads out on the way to it. */
  async #inside<T>(key: string, work: () => Promise<T>): Promise<T> {
    await assertInside(this.#root, dirname(key));
    return await work();
  }

  async #assertFolder(folder: string): Promise<void> {
    await assertInside(this.#root, folder).catch((error) => {
      throw fileError("use", join(this.#root, folder), error);
    });
  }

  /** The error of a folder that has disappeared with its objects. The next put makes the folder anew. */
  #folderIsGone(folder: string): WalrustError {
    this.#folders.delete(folder);
    const message = `Cannot use ${join(this.#root, folder)}: the folder is gone, and the objects in it`;
    return new WalrustError("missing-bucket", message, {
      hint: "Check whether the disk is mounted. If they were deleted, a new snapshot follows",
      retryable: true,
      context: { folder },
    });
  }

  async #deleteInFolder(folder: string, paths: readonly string[]): Promise<void> {
    try {
      if (!(await isDirectory(folder))) return;
      await withDirectoryLock(folder, this.#env, async (handle) => {
        for (const path of paths) await deleteObject(path);
        await sweepTemporaryFiles(folder, this.#env.nowMs());
        await handle.sync();
      });
    } catch (error) {
      throw fileError("delete in", folder, error);
    }
  }
}

/** As `assertObjectKey`; names of temporary files and sidecars are no keys either. */
function assertFileKey(key: string): void {
  assertObjectKey(key);
  if (isObjectName(key)) return;
  throw new WalrustError("storage", `Cannot use object key ${JSON.stringify(key)}: its ending is reserved`);
}

/**
 * The object with its metadata, or null when its sidecar changed meanwhile. @throws errors of the system
 */
async function openObjectOrNull(key: string, path: string): Promise<OpenObject | null> {
  const textBefore = await readSidecarTextOrNull(path);
  const handle = await openFile(path);
  try {
    const stats = await handle.stat();
    const textAfter = await readSidecarTextOrNull(path);
    if (textBefore !== textAfter) {
      await handle.close();
      return null;
    }
    const metadata = await readFileMetadata(handle, path, stats.size, textAfter);
    const head = { key, sizeBytes: stats.size, modifiedMs: Math.round(stats.mtimeMs), metadata };
    return { handle, path, inode: stats.ino, head };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/**
 * Chunks of an object that is opened only when its body is read: an unread body holds no descriptor.
 */
async function* reopenedChunks(
  object: OpenObject,
  offset: number,
  length: number,
): AsyncGenerator<Uint8Array> {
  const { path, inode } = object;
  try {
    const handle = await openFile(path);
    try {
      if ((await handle.stat()).ino !== inode) {
        throw new WalrustError("storage", `Cannot read ${path}: it was replaced meanwhile`, {
          retryable: true,
        });
      }
      yield* handleChunks(handle, path, offset, length);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (!isAbsent(error)) throw fileError("read", path, error);
    throw new WalrustError("not-found", `Cannot read ${path}: it was deleted meanwhile`, {
      context: { key: object.head.key },
    });
  }
}

/**
 * Removes the object first: a sidecar without object has no meaning, an object without sidecar is
 * Litestream's.
 */
async function deleteObject(path: string): Promise<void> {
  const stats = await lstat(path).catch((error) => {
    if (isAbsent(error)) return null;
    throw error;
  });
  if (stats?.isDirectory()) return;
  await removeFile(path);
  await removeFile(`${path}${SIDECAR_SUFFIX}`);
}

async function sweepTemporaryFiles(folder: string, nowMs: number): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!isTemporaryName(name)) continue;
    const path = join(folder, name);
    const stats = await lstat(path).catch(() => null);
    // The change time: the modification time of a temporary file may be that of a capture.
    if (stats !== null && nowMs - stats.ctimeMs > TEMPORARY_AGE_MAX_MS) await removeFile(path);
  }
}

/**
 * Admits one writer at a time to a directory of a file:// destination: within this process by a queue, across
 * processes by `flock` on the directory itself. A crash leaves nothing behind, because the kernel drops the
 * lock.
 *
 * The lock keeps an object and its sidecar together. Create-only puts do not depend on it (`link` decides
 * them), so on a file system without flock only two simultaneous writers of one key can mix object and
 * sidecar.
 */
import { type Pointer, read } from "bun:ffi";
import { type FileHandle, open } from "node:fs/promises";
import { type Env, libcFunctionsOrNull } from "../../env.ts";
import { WalrustError } from "../../errors.ts";

const LOCK_EXCLUSIVE = 2;
const LOCK_NON_BLOCKING = 4;
/** EWOULDBLOCK: 11 on Linux, 35 on macOS. */
const WOULD_BLOCK: ReadonlySet<number> = new Set([11, 35]);
const ERRNO_FUNCTION = process.platform === "darwin" ? "__error" : "__errno_location";
const POLL_INTERVAL_MS = 5;
const WAIT_MAX_MS = 30_000;

/** The last writer in the queue of each directory; an entry is removed when no writer waits. */
const queues = new Map<string, Promise<void>>();

/**
 * Runs `action` while holding the lock of `directory`, with the directory open (for fsync).
 *
 * @throws WalrustError "storage", retryable, when another process holds the lock for 30 s; errors of opening
 * the directory and of `action`
 */
export async function withDirectoryLock<T>(
  directory: string,
  env: Env,
  action: (handle: FileHandle) => Promise<T>,
): Promise<T> {
  const previous = queues.get(directory) ?? Promise.resolve();
  const { promise: turn, resolve: release } = Promise.withResolvers<void>();
  const tail = previous.then(() => turn);
  queues.set(directory, tail);
  await previous;
  try {
    return await withFlock(directory, env, action);
  } finally {
    release();
    if (queues.get(directory) === tail) queues.delete(directory);
  }
}

async function withFlock<T>(
  directory: string,
  env: Env,
  action: (handle: FileHandle) => Promise<T>,
): Promise<T> {
  const handle = await open(directory, "r");
  try {
    await acquire(handle, directory, env);
    return await action(handle);
  } finally {
    await handle.close();
  }
}

async function acquire(handle: FileHandle, directory: string, env: Env): Promise<void> {
  let waitedMs = 0;
  while (tryFlock(handle.fd, env) === "busy") {
    if (waitedMs >= WAIT_MAX_MS) {
      throw new WalrustError("storage", `Cannot write to ${directory}: another process holds its lock`, {
        hint: "Another walrust process is writing there, or hangs: stop it.",
        retryable: true,
      });
    }
    await env.sleep(POLL_INTERVAL_MS);
    waitedMs += POLL_INTERVAL_MS;
  }
}

interface Flock {
  flock(fd: number, operation: number): number;
  errno(): number;
}

let loaded: Flock | null | undefined;

function tryFlock(fd: number, env: Env): "held" | "busy" | "unsupported" {
  if (loaded === undefined) loaded = loadFlockOrNull(env);
  if (loaded === null) return "unsupported";
  if (loaded.flock(fd, LOCK_EXCLUSIVE | LOCK_NON_BLOCKING) === 0) return "held";
  return WOULD_BLOCK.has(loaded.errno()) ? "busy" : "unsupported";
}

function loadFlockOrNull(env: Env): Flock | null {
  const functions = {
    flock: { args: ["int", "int"], returns: "int" },
    [ERRNO_FUNCTION]: { args: [], returns: "ptr" },
  } as const;
  const libc = libcFunctionsOrNull(functions) as Record<string, (...args: number[]) => unknown> | null;
  if (libc === null) {
    env.log.warn("this system has no flock: a folder destination is locked within this process only");
    return null;
  }
  return {
    flock: (fd, operation) => Number(libc["flock"]!(fd, operation)),
    errno: () => read.i32(libc[ERRNO_FUNCTION]!() as Pointer, 0),
  };
}

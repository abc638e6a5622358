/**
 * The origin of a local state: the folder and the machine it was written on. The origin distinguishes a state
 * that was copied, together with its database, from a state that never moved. Two processes that continue
 * copies of one state would write two histories under one writer id.
 *
 * A state is a copy if and only if
 *  1. its folder has another inode (a renamed folder keeps its inode), or
 *  2. the kernel has not been restarted since, and the folder lies on another device, or
 *  3. the kernel has been restarted since, and the machine id is another.
 * Device numbers may change with a reboot. A container has no machine id, or a new one each time, while its
 * volumes stay. So rules 2 and 3 apply only where they are conclusive. The host name plays no part: a
 * container has a random one. No rule recognises a disk that was cloned with its machine id; the uploader
 * detects such a clone.
 */
import { readFileSync, statSync } from "node:fs";

/** The place where a state is written; null for an id that the system does not provide. */
export interface StateOrigin {
  readonly machine: string | null;
  /** Id of the running kernel, new with each boot. */
  readonly boot: string | null;
  readonly device: string;
  readonly inode: string;
}

let kernel: Pick<StateOrigin, "machine" | "boot"> | null = null;

/** The origin of a state that is written to `folder` now. */
export function originOf(folder: string): StateOrigin {
  kernel ??= {
    machine: lineOrNull("/etc/machine-id"),
    boot: lineOrNull("/proc/sys/kernel/random/boot_id"),
  };
  const { dev, ino } = statSync(folder, { bigint: true });
  return { ...kernel, device: String(dev), inode: String(ino) };
}

/** Whether a state that was written at `origin` and is found at `now` is a copy. */
export function isCopied(origin: StateOrigin, now: StateOrigin): boolean {
  if (origin.inode !== now.inode) return true;
  if (origin.boot !== null && origin.boot === now.boot) return origin.device !== now.device;
  return origin.machine !== null && now.machine !== null && origin.machine !== now.machine;
}

/** Whether the kernel was certainly restarted between two origins. */
export function isOtherBoot(a: StateOrigin, b: StateOrigin): boolean {
  return a.boot !== null && b.boot !== null && a.boot !== b.boot;
}

/** Whether two origins are equal in all fields. */
export function isSameOrigin(a: StateOrigin, b: StateOrigin): boolean {
  return a.inode === b.inode && a.device === b.device && a.boot === b.boot && a.machine === b.machine;
}

/** Checks the shape of a parsed origin. @throws Error when the shape is another */
export function parseOrigin(value: unknown): StateOrigin {
  const { machine, boot, device, inode } = Object(value) as Record<string, unknown>;
  const isId = (id: unknown): id is string | null => id === null || typeof id === "string";
  const isPlace = typeof device === "string" && typeof inode === "string";
  if (!isPlace || !isId(machine) || !isId(boot)) throw new Error("home is malformed");
  return { machine, boot, device, inode };
}

function lineOrNull(path: string): string | null {
  try {
    const line = readFileSync(path, "utf8").trim();
    return line === "" || line === "uninitialized" ? null : line;
  } catch {
    // Another system than Linux, or a container without the file: the other rules decide.
    return null;
  }
}

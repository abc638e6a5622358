/**
 * Where a local state was written: tells a state that was copied, with its database, to another folder or
 * another machine from one that is where it always was. Two that continue one state would write two histories
 * under one writer id.
 *
 * A copy if and only if
 *   1. the state folder has another inode (a folder that is renamed keeps it), or
 *   2. this is the same run of the same kernel, and the folder lies on another device, or
 *   3. this is another run of a kernel, and the machine id is another.
 * Device numbers may change with a reboot, and a container has no machine id, or a new one each time, while
 * its volumes stay: so 2 and 3 count only where they are sure. The host name is never asked, for a
 * container's is random. What no rule sees, such as a disk cloned with its machine id, is found by the
 * uploader.
 */
import { readFileSync, statSync } from "node:fs";

/** What tells one place from another; null where the system does not say. */
export interface StateHome {
  readonly machine: string | null;
  /** Id of the kernel's run, new with each boot. */
  readonly boot: string | null;
  readonly device: string;
  readonly inode: string;
}

let kernel: Pick<StateHome, "machine" | "boot"> | null = null;

/** Where a folder lies. */
export function homeOf(folder: string): StateHome {
  kernel ??= {
    machine: lineOrNull("/etc/machine-id"),
    boot: lineOrNull("/proc/sys/kernel/random/boot_id"),
  };
  const { dev, ino } = statSync(folder, { bigint: true });
  return { ...kernel, device: String(dev), inode: String(ino) };
}

/** Whether what was written at `home` is, where it is found now, a copy of it. */
export function isCopied(home: StateHome, now: StateHome): boolean {
  if (home.inode !== now.inode) return true;
  if (home.boot !== null && home.boot === now.boot) return home.device !== now.device;
  return home.machine !== null && now.machine !== null && home.machine !== now.machine;
}

/** Checks the shape of a parsed home. @throws Error when it has another */
export function parseHome(value: unknown): StateHome {
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
    // Not a Linux, or a container without it: the other rules tell.
    return null;
  }
}

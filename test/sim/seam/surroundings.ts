/**
 * The parts of the world that the replaced modules need and that change with each run: the scheduler for
 * calls that a pool thread would do, the disk that knows what was synced, the id of the running kernel.
 */

/** The parts of the world that files depend on. */
export interface Surroundings {
  /** Runs a call of a pool thread later, unless the process has crashed by then. */
  defer(work: () => void): void;
  /** A file or folder was synced to the disk. */
  synced(path: string): void;
  /** The number of bytes that one write to a file takes, at most `length`. */
  shortened(path: string, length: number): number;
  /** Id of the running kernel. */
  readonly bootId: string;
}

let current: Surroundings | null = null;

/** Sets the surroundings; null: none. */
export function setSurroundings(next: Surroundings | null): void {
  current = next;
}

/** As `Surroundings.defer`; at once without surroundings. */
export function defer(work: () => void): void {
  if (current === null) work();
  else current.defer(work);
}

/** As `Surroundings.synced`. */
export function synced(path: string): void {
  current?.synced(path);
}

/** As `Surroundings.shortened`. */
export function shortened(path: string, length: number): number {
  return current?.shortened(path, length) ?? length;
}

/** The content of a file that describes the simulated machine, or null. */
export function simulatedTextOrNull(path: string): string | null {
  if (current === null) return null;
  if (path === "/proc/sys/kernel/random/boot_id") return `${current.bootId}\n`;
  if (path === "/etc/machine-id") return "00000000000000000000000000000001\n";
  return null;
}

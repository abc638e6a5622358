/**
 * A disk of a few megabytes in a mount namespace of its own, which a test fills and frees. Commands see the
 * disk if they run `by` it; the test sees the disk through /proc. Needs root.
 */
import { closeSync, existsSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { untilTestEnds } from "../processes/binary.ts";
import { waitUntil } from "../processes/sqlite-process.ts";
import { tempFolder } from "../temp.ts";

/** Whether this machine lets a test mount a disk. */
export const canMount =
  process.geteuid?.() === 0 &&
  [Bun.which("unshare"), Bun.which("nsenter")].every((found) => found !== null) &&
  Bun.spawnSync(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).success;

// The disk ends with the test process, whose end closes the pipe.
const HOLD = 'mount -t tmpfs -o size="$2" tmpfs "$1" && touch "$1/mounted" && exec cat';

const SQLITE = `
  const { Database } = require("bun:sqlite");
  const [path, statement] = process.argv.slice(-2);
  const database = new Database(path);
  database.run("PRAGMA busy_timeout = 5000");
  if (!path.includes("replica")) database.run("PRAGMA journal_mode = WAL");
  console.log(JSON.stringify(database.query(statement).values()));
`;

/** A mounted disk. The end of the test unmounts it. */
export class SmallDisk {
  /** The folder of the disk, for commands. */
  readonly folder = tempFolder("disk");
  readonly #pid: number;

  private constructor(sizeKb: number) {
    const words = ["unshare", "-m", "sh", "-c", HOLD, "sh", this.folder, `${sizeKb}k`];
    this.#pid = untilTestEnds(Bun.spawn(words, { stdio: ["pipe", "ignore", "ignore"] })).pid;
  }

  /** Mounts a disk. */
  static async mount(sizeKb: number): Promise<SmallDisk> {
    const disk = new SmallDisk(sizeKb);
    await waitUntil(() => existsSync(disk.path("mounted")));
    rmSync(disk.path("mounted"));
    return disk;
  }

  /** The command that runs another one beside the disk. */
  get by(): readonly string[] {
    return ["nsenter", "-t", String(this.#pid), "-m"];
  }

  /** The path of a file on the disk, for the test. */
  path(name: string): string {
    return join(`/proc/${this.#pid}/root`, this.folder, name);
  }

  /**
   * Runs a statement on a database of the disk, by a process of its own.
   * @returns the rows, or null if SQLite refused
   */
  sqlite(name: string, statement: string): unknown[][] | null {
    const words = [process.execPath, "-e", SQLITE, join(this.folder, name), statement];
    const run = Bun.spawnSync([...this.by, ...words]);
    return run.success ? JSON.parse(run.stdout.toString()) : null;
  }

  /** Fills the disk to the last byte, except for `leftBytes`. */
  fill(leftBytes = 0): void {
    const fd = openSync(this.path("ballast"), "a");
    try {
      for (let size = 1 << 16; size >= 1; size >>= 1) {
        try {
          for (;;) writeSync(fd, new Uint8Array(size));
        } catch (error) {
          if ((error as { code?: string }).code !== "ENOSPC") throw error;
        }
      }
    } finally {
      closeSync(fd);
    }
    if (leftBytes > 0) Bun.spawnSync(["truncate", "-s", `-${leftBytes}`, this.path("ballast")]);
  }

  /** Makes room again. */
  free(): void {
    rmSync(this.path("ballast"), { force: true });
  }
}

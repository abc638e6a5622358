/**
 * The parts of the machine that a chaos run disturbs, as far as this machine permits it.
 */
import { MemoryLimit } from "./memory-limit.ts";
import { ShiftedClock } from "./shifted-clock.ts";
import { SmallDisk } from "./small-disk.ts";
import { STORE_NAME, StoreName } from "./store-name.ts";

/** The parts; null for a part that this machine does not permit. */
export class Machine {
  /** Reasons why troubles are left out, by kind. */
  readonly missing: Readonly<Record<string, string>>;
  readonly clock: ShiftedClock | null;
  readonly memory: MemoryLimit | null;
  readonly storeName: StoreName | null;
  readonly hasDisk: boolean;

  private constructor(parts: {
    readonly clock: ShiftedClock | string;
    readonly memory: MemoryLimit | string;
    readonly dns: StoreName | string;
    readonly disk: SmallDisk | string;
  }) {
    const { clock, memory, dns, disk } = parts;
    this.clock = typeof clock === "string" ? null : clock;
    this.memory = typeof memory === "string" ? null : memory;
    this.storeName = typeof dns === "string" ? null : dns;
    this.hasDisk = typeof disk !== "string";
    this.missing = Object.fromEntries(
      Object.entries(parts).flatMap(([kind, part]) => (typeof part === "string" ? [[kind, part]] : [])),
    );
  }

  /** Tries every part. @param folder for files of the parts @param probeFolder an empty folder */
  static async probe(folder: string, probeFolder: string): Promise<Machine> {
    const disk = await SmallDisk.mount(probeFolder);
    if (typeof disk !== "string") await disk.unmount();
    const clock = await ShiftedClock.make(folder);
    const dns = await StoreName.take(folder);
    return new Machine({ clock, memory: MemoryLimit.make(), dns, disk });
  }

  /** URL of the storage on a port of this machine. */
  urlOf(port: number): string {
    return `http://${this.storeName === null ? "127.0.0.1" : STORE_NAME}:${port}`;
  }

  /** Environment of the watch. */
  get watchEnv(): Record<string, string> {
    // Bun remembers resolved names for half a minute otherwise, longer than the name is gone.
    return { BUN_CONFIG_DNS_TIME_TO_LIVE_SECONDS: "0", ...this.clock?.env };
  }
}

/**
 * A name for the storage that can stop resolving: in the namespace of the run, /etc/hosts and
 * /etc/resolv.conf are files of the run. Without its line in hosts, the name goes to a name server on this
 * machine where nothing listens.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { capture } from "../../toolchain.ts";
import { namespaceOrReason } from "./namespace.ts";

/** The host name. */
export const STORE_NAME = "store.walrust.test";

const LOOPBACK = "127.0.0.1 localhost\n";

/** The name while it is under control of the run. */
export class StoreName {
  readonly #hostsPath: string;

  private constructor(hostsPath: string) {
    this.#hostsPath = hostsPath;
    this.start();
  }

  /** Takes control of the names of this machine. @returns the name, or the reason why that is impossible */
  static async take(folder: string): Promise<StoreName | string> {
    const reason = namespaceOrReason();
    if (reason !== true) return reason;
    const hostsPath = join(folder, "hosts");
    const resolvPath = join(folder, "resolv.conf");
    writeFileSync(hostsPath, LOOPBACK);
    writeFileSync(resolvPath, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
    for (const [source, target] of [
      [hostsPath, "/etc/hosts"],
      [resolvPath, "/etc/resolv.conf"],
    ] as const) {
      const { exitCode, stderr } = await capture(["mount", "--bind", source, target]);
      if (exitCode !== 0) return `cannot replace ${target}: ${stderr.trim()}`;
    }
    return new StoreName(hostsPath);
  }

  /** The name resolves. */
  start(): void {
    writeFileSync(this.#hostsPath, `${LOOPBACK}127.0.0.1 ${STORE_NAME}\n`);
  }

  /** The name resolves no more. */
  stop(): void {
    writeFileSync(this.#hostsPath, LOOPBACK);
  }
}

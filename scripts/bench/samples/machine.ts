/**
 * Describes the machine and the versions of a benchmark, without which its numbers mean nothing.
 */
import { accessSync, constants } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";
import { join } from "node:path";
import { capture, ROOT } from "../../toolchain.ts";
import type { Measurement } from "../results/measurement.ts";

/** One machine at one time. */
export interface Machine {
  readonly startedAt: string;
  readonly cpu: string;
  readonly coreCount: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  /** Load average of the minute before the start; a high value shows that other programs were busy. */
  readonly loadAverage: number;
  /**
   * Whether the process may write to its executable; only then does the kernel page the executable out on
   * request.
   */
  readonly mayWriteBinary: boolean;
  readonly versions: Readonly<Record<string, string>>;
}

/** Paths of the measured executables. */
export interface Binaries {
  readonly walrust: string;
  readonly litestream: string;
}

/** Collects the facts from the kernel and the programs. */
export async function describeMachine(binaries: Binaries): Promise<Machine> {
  const cores = cpus();
  return {
    startedAt: new Date().toISOString(),
    cpu: cores[0]?.model ?? "unknown",
    coreCount: cores.length,
    memoryBytes: totalmem(),
    kernel: release(),
    loadAverage: loadavg()[0] ?? Number.NaN,
    mayWriteBinary: isWritable(binaries.walrust),
    versions: {
      walrust: await firstLine(binaries.walrust, "--version"),
      litestream: await firstLine(binaries.litestream, "version"),
      versitygw: await installedVersion("versitygw"),
    },
  };
}

/** The lines above the tables: the machine, and the load of other programs during the benchmark. */
export function formatMachine(machine: Machine, measurements: readonly Measurement[]): string {
  const { versions, coreCount, cpu, memoryBytes, kernel, loadAverage, startedAt } = machine;
  const others = measurements.map(({ values }) => values["otherProgramsShare"] ?? 0);
  const owns = machine.mayWriteBinary ? "may" : "may not";
  return [
    `${startedAt}: ${coreCount} × ${cpu}, ${Math.round(memoryBytes / 1e9)} GB, Linux ${kernel}`,
    `${versions["walrust"]}; Litestream ${versions["litestream"]}; versitygw ${versions["versitygw"]}`,
    `Load average before: ${loadAverage.toFixed(2)}. Other programs took up to ` +
      `${(Math.max(0, ...others) * 100).toFixed(0)} % of a core while memory was measured.`,
    `walrust ${owns} write to its executable. Ratio: walrust / Litestream.`,
  ].join("\n");
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Versions that `bun run peers` installed; a program built by `go install` may not know its version. */
async function installedVersion(name: string): Promise<string> {
  const packages: Record<string, string> = await Bun.file(join(ROOT, ".peers", "versions.json")).json();
  return packages[name]?.replace(/^.*@/, "") ?? "unknown";
}

async function firstLine(...command: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await capture(command);
  if (exitCode !== 0) throw new Error(`${command.join(" ")} ended with exit code ${exitCode}: ${stderr}`);
  return stdout.trim().split("\n")[0] ?? "";
}

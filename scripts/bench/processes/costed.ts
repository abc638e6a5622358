/** Runs a program to its end and measures its cost. */
import { watchPeak } from "../../measure/proc.ts";
import type { Command, Workspace } from "../../measure/workspace.ts";

/** Cost of one run of a program. */
export interface Cost {
  readonly wallMs: number;
  readonly cpuMs: number;
  readonly peakRssBytes: number;
}

const RUN_LIMIT_MS = 1_800_000;

/** Runs a program to its end. @returns the cost of the run. @throws Error when the program fails */
export async function runCosted(workspace: Workspace, label: string, command: Command): Promise<Cost> {
  const startMs = performance.now();
  const child = workspace.start(label, command);
  const watching = watchPeak(child.pid, child.process.exited);
  await workspace.finish(child, RUN_LIMIT_MS);
  const wallMs = performance.now() - startMs;
  const usage = child.process.resourceUsage();
  if (usage === undefined) throw new Error(`${label}: its CPU time is unknown`);
  return { wallMs, cpuMs: Number(usage.cpuTime.total) / 1000, peakRssBytes: await watching };
}

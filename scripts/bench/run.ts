/**
 * Carries out specs one after the other: makes the template databases, runs each case with each tool, and
 * reports each result at once. A failed run is a result with the reason, and the next run starts.
 */
import { statfsSync } from "node:fs";
import { join } from "node:path";
import { createDatabase } from "../measure/databases.ts";
import type { Workspace } from "../measure/workspace.ts";
import { measureCommit } from "./cases/commit.ts";
import { measureHistory } from "./cases/history.ts";
import { measureLag } from "./cases/lag.ts";
import { measureLarge } from "./cases/large.ts";
import { measureLoad } from "./cases/load.ts";
import type { Tool } from "./processes/tools.ts";
import { failedRun, type Measurement } from "./results/measurement.ts";
import { describeSpec, formatSize, type Spec } from "./spec.ts";

/** The surroundings of all runs. */
export interface Bench {
  readonly workspace: Workspace;
  /** The tools to measure. */
  readonly tools: readonly Tool[];
  /** Makes the history of the case `history`, measured or not. */
  readonly walrust: Tool;
  readonly take: (measurement: Measurement, spec: Spec) => Promise<void>;
  readonly report: (text: string) => void;
}

const SMALL_BYTES = 100_000;
/** Large enough for a transaction that writes thousands of pages. */
const COMMIT_CASE_BYTES = 20e6;
const TEMPLATE_SEED = 1;
/** Source, local copy, objects (Litestream's default writes two) and restored copy. */
const COPIES_PER_DATABASE = 5;

/** Runs all specs. Skips a spec for which the disk has no room. */
export async function runSpecs(bench: Bench, specs: readonly Spec[]): Promise<void> {
  for (const [index, spec] of specs.entries()) {
    const title = `${index + 1}/${specs.length} ${spec.case}: ${describeSpec(spec)}`;
    const neededBytes = neededSpace(spec);
    const { bavail, bsize } = statfsSync(bench.workspace.folder);
    if (neededBytes > bavail * bsize) {
      bench.report(`${title}: skipped, needs ${formatSize(neededBytes)} of free disk`);
      continue;
    }
    bench.report(title);
    await runSpec(bench, spec);
  }
}

/** Space that a case may take on the disk, besides the template. */
export function neededSpace(spec: Spec): number {
  const count = spec.case === "load" ? spec.databaseCount : 1;
  return (count * COPIES_PER_DATABASE + 1) * templateBytes(spec);
}

function templateBytes(spec: Spec): number {
  if (spec.case === "load" || spec.case === "large") return spec.sizeBytes;
  return spec.case === "commit" ? COMMIT_CASE_BYTES : SMALL_BYTES;
}

async function runSpec(bench: Bench, spec: Spec): Promise<void> {
  const { workspace, tools, walrust } = bench;
  await workspace.scope("case", async (folder) => {
    const template = join(folder, "template.db");
    createDatabase(template, templateBytes(spec), TEMPLATE_SEED);
    switch (spec.case) {
      case "load":
        for (const tool of tools) {
          await attempt(bench, spec, [tool], async () => [
            await measureLoad(workspace, tool, spec, template),
          ]);
        }
        return;
      case "large":
        for (let round = 0; round < spec.rounds; round++) {
          for (const tool of tools) {
            await attempt(bench, spec, [tool], async () => [
              await measureLarge(workspace, tool, spec, template),
            ]);
          }
        }
        return;
      case "lag":
        return await attempt(bench, spec, tools, () => measureLag(workspace, tools, spec, template));
      case "commit":
        return await attempt(bench, spec, tools, () => measureCommit(workspace, tools, spec, template));
      case "history":
        return await attempt(bench, spec, tools, () =>
          measureHistory(workspace, tools, walrust, spec, template),
        );
    }
  });
}

/** Reports the results of a run; a failure as a result without values for each of the tools. */
async function attempt(
  { take, report }: Bench,
  spec: Spec,
  tools: readonly Tool[],
  measure: () => Promise<readonly Measurement[]>,
): Promise<void> {
  let measurements: readonly Measurement[];
  try {
    measurements = await measure();
  } catch (error) {
    measurements = tools.map(({ name }) => failedRun(spec, name, error));
  }
  for (const one of measurements) {
    if (one.failure !== null) report(`${one.tool} FAILED: ${one.failure}`);
    await take(one, spec);
  }
}

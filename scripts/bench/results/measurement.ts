/** The result of one case with one tool. PURE. */
import type { ToolName } from "../processes/tools.ts";
import { type CaseName, describeSpec, type Spec } from "../spec.ts";

/** One run of one tool. The name of each value ends in its unit. */
export interface Measurement {
  readonly case: CaseName;
  readonly tool: ToolName;
  /** The case in words; equal settings are rounds of one case. */
  readonly setting: string;
  readonly values: Readonly<Record<string, number>>;
  /** Reason why the run gave no values, or why a restored database is wrong; null after a good run. */
  readonly failure: string | null;
}

/** The result of a run that failed: the reason, and no values. */
export function failedRun(spec: Spec, tool: ToolName, error: unknown): Measurement {
  const failure = error instanceof Error ? error.message : String(error);
  return { case: spec.case, tool, setting: describeSpec(spec), values: {}, failure };
}

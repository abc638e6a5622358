/**
 * The table of the goals: a line for each goal with the values of both tools, the limits, and whether each is
 * reached. PURE. A value counts as the table shows it. A writer that missed its rate is named in the line.
 */
import type { Goal, GoalColumn } from "../goals.ts";
import type { ToolName } from "../processes/tools.ts";
import { describeSpec } from "../spec.ts";
import type { Measurement } from "./measurement.ts";
import { valuesOf } from "./tables.ts";
import { formatValue, roundAsShown } from "./values.ts";

/** Share of the requested rate below which a load is another load. */
const MIN_REACHED_SHARE = 0.95;

/** The Markdown table; "not measured" where a goal's spec was not run. */
export function formatGoals(goals: readonly Goal[], measurements: readonly Measurement[]): string {
  const lines = goals.map(({ label, columns }) => {
    const ours = columns.map((column) => figureOf(column, measurements, "walrust"));
    const theirs = columns.map((column) => figureOf(column, measurements, "litestream"));
    const cells = [
      label,
      columns.map(({ key }, index) => formatValue(key, ours[index])).join(" / "),
      columns.map(({ key }, index) => formatValue(key, theirs[index])).join(" / "),
      `≤ ${columns.map(({ key, limit }) => formatValue(key, limit)).join(" / ")}`,
      columns.map((column, index) => judge(column, ours[index], measurements)).join(" / "),
    ];
    return `| ${cells.join(" | ")} |`;
  });
  return [
    "| goal | walrust | Litestream | goal | reached |",
    "| --- | --- | --- | --- | --- |",
    ...lines,
  ].join("\n");
}

function judge(column: GoalColumn, value: number | undefined, measurements: readonly Measurement[]): string {
  if (value === undefined) return "–";
  const { key, limit } = column;
  const verdict = roundAsShown(key, value) <= roundAsShown(key, limit) ? "yes" : "no";
  const reached = figureOf({ ...column, key: "reachedShare" }, measurements, "walrust") ?? 1;
  if (reached >= MIN_REACHED_SHARE) return verdict;
  return `${verdict}, at ${formatValue("reachedShare", reached)} of the rate`;
}

function figureOf(
  { spec, key }: GoalColumn,
  measurements: readonly Measurement[],
  tool: ToolName,
): number | undefined {
  const setting = describeSpec(spec);
  return valuesOf(
    measurements.filter((one) => one.case === spec.case && one.setting === setting),
    tool,
  )[key];
}

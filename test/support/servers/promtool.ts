/** promtool, the checker of Prometheus, as an oracle of metrics and rules. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempFolder } from "../temp.ts";
import { peerPath } from "./peers.ts";

/** A time for every sample, because promtool imports no sample without one. */
const SAMPLE_TIME_S = 1_700_000_000;

/** Runs promtool. @returns its output if it fails, and an empty text otherwise */
export async function promtool(words: readonly string[], input = ""): Promise<string> {
  const child = Bun.spawn([peerPath("promtool"), ...words], {
    stdin: new TextEncoder().encode(input),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return (await child.exited) === 0 ? "" : stdout + stderr || "promtool failed without a word";
}

/** The mistakes that promtool finds in a text of Prometheus' format: errors, and names against the rules. */
export function metricsMistakes(text: string): Promise<string> {
  return promtool(["check", "metrics"], text);
}

/** The mistakes for which promtool cannot import a text of OpenMetrics. */
export async function openMetricsMistakes(text: string): Promise<string> {
  const folder = tempFolder("openmetrics");
  const path = join(folder, "metrics.txt");
  const blocks = join(folder, "blocks");
  mkdirSync(blocks);
  writeFileSync(path, text.replace(/^([^#].*)$/gm, `$1 ${SAMPLE_TIME_S}`));
  return promtool(["tsdb", "create-blocks-from", "openmetrics", path, blocks]);
}

/**
 * The pin against hostile writers. WALRUST_STRESS_SECONDS sets the duration, WALRUST_STRESS_SEED repeats a
 * run.
 */
import { expect, test } from "bun:test";
import { COMMITS_MIN, runPinStress, type StressKind } from "../../support/processes/pin-stress.ts";
import { tempFolder } from "../../support/temp.ts";

const durationMs = Number(process.env["WALRUST_STRESS_SECONDS"] ?? 3) * 1000;
const seed = Number(process.env["WALRUST_STRESS_SEED"] ?? 1);

for (const kind of ["freeze", "hybrid"] satisfies StressKind[]) {
  test(
    `Pin loses no page under hostile writers and SIGKILL (${kind}, seed ${seed})`,
    async () => {
      const report = await runPinStress(tempFolder("stress"), kind, seed, durationMs);
      if (durationMs > 10_000) console.error(summary(report));
      expect(report.integrity).toBe("ok");
      expect(report.mismatchedPages).toEqual([]);
      expect(report.violations).toEqual([]);
      expect(report.released).toBe(0);
      expect(report.commits).toBeGreaterThan(COMMITS_MIN);
      expect(report.cycles["complete"] ?? 0).toBeGreaterThan(0);
      expect(report.generations).toBeGreaterThan(1);
    },
    durationMs + 50_000,
  );
}

function summary(report: Awaited<ReturnType<typeof runPinStress>>): string {
  const held = report.writeLockHeldMs.sort((a, b) => a - b);
  const at = (share: number): string => (held[Math.floor(held.length * share)] ?? 0).toFixed(2);
  const locks = `write lock ms p50 ${at(0.5)} p99 ${at(0.99)} max ${(held.at(-1) ?? 0).toFixed(2)}`;
  return `${JSON.stringify({ ...report, writeLockHeldMs: held.length })} ${locks}`;
}

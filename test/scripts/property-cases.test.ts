/** Every property test takes its number of cases from one place, so that one variable raises all of them. */
import { expect, test } from "bun:test";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
const SCRIPT = `
  import { cases } from "${join(ROOT, "test/support/property-cases.ts")}";
  console.log(JSON.stringify([cases(60, 5), cases(60), cases(20_000, 5)]));
`;

/** The parameters in a process with these variables. */
function casesWith(env: Record<string, string>): unknown {
  const { stdout } = Bun.spawnSync([process.execPath, "-e", SCRIPT], { env: { ...process.env, ...env } });
  return JSON.parse(stdout.toString() || "null");
}

test("cases: the variable raises every number of cases, and lowers none", () => {
  const raised = { WALRUST_PROPERTY_CASES: "10000", WALRUST_PROPERTY_SEED: "9" };
  const byDefault = { WALRUST_PROPERTY_CASES: "", WALRUST_PROPERTY_SEED: "" };
  expect(casesWith(byDefault)).toEqual([
    { numRuns: 60, seed: 5 },
    { numRuns: 60 },
    { numRuns: 20_000, seed: 5 },
  ]);
  expect(casesWith({ ...byDefault, WALRUST_PROPERTY_CASES: "10000" })).toEqual([
    { numRuns: 10_000 },
    { numRuns: 10_000 },
    { numRuns: 20_000, seed: 5 },
  ]);
  expect(casesWith(raised)).toEqual([
    { numRuns: 10_000, seed: 9 },
    { numRuns: 10_000, seed: 9 },
    { numRuns: 20_000, seed: 9 },
  ]);
  expect(casesWith({ ...byDefault, WALRUST_PROPERTY_CASES: "many" })).toBeNull();
});

test("every property test uses `cases`", async () => {
  const outside: string[] = [];
  for (const path of new Bun.Glob("test/**/*.ts").scanSync({ cwd: ROOT })) {
    const text = await Bun.file(join(ROOT, path)).text();
    const asserted = text.match(/\bfc\.assert\(/g)?.length ?? 0;
    const counted = text.match(/\bcases\(\d/g)?.length ?? 0;
    const isOwn = path.endsWith("property-cases.test.ts") || path.endsWith("property-cases.ts");
    if (!isOwn && (asserted !== counted || /\bnumRuns\b/.test(text))) outside.push(path);
  }
  expect(outside).toEqual([]);
});

/** The release workflow: the pinned Bun, a run on each platform, and files that exist. */
import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../../../package.json";
import { TARGETS } from "../../../scripts/package/targets.ts";

const ROOT = join(import.meta.dir, "../../..");
const workflow = Bun.YAML.parse(readFileSync(join(ROOT, ".github/workflows/release.yml"), "utf8")) as {
  readonly jobs: Readonly<Record<string, Job>>;
};

interface Job {
  readonly needs?: string;
  readonly environment?: string;
  readonly permissions?: Readonly<Record<string, string>>;
  readonly strategy?: { readonly matrix: { readonly include: readonly { readonly target: string }[] } };
  readonly steps: readonly { readonly run?: string; readonly with?: Readonly<Record<string, unknown>> }[];
}

const { package: packing, run, publish } = workflow.jobs;

/** The commands of a job. */
function commandsOf(job: Job | undefined): string {
  return (job?.steps ?? []).map((step) => step.run ?? "").join("\n");
}

test("the release runs the packages of each platform before it publishes them", () => {
  expect(run?.strategy?.matrix.include.map(({ target }) => target)).toEqual(TARGETS.map(({ name }) => name));
  expect([run?.needs, publish?.needs, publish?.environment]).toEqual(["package", "run", "release"]);
});

test("the release uses the Bun that package.json pins", () => {
  const versions = packing?.steps
    .map((step) => step.with?.["bun-version"])
    .filter((version) => version !== undefined);
  expect(versions).toEqual([packageJson.packageManager.replace("bun@", "")]);
});

test("the commands of the release name scripts that exist", () => {
  const commands = [packing, run, publish].map(commandsOf).join("\n");
  const scripts = [...commands.matchAll(/bun run (\w+)/g)].map((match) => match[1] ?? "");
  expect(scripts).toContain("package");
  for (const name of scripts) expect(Object.keys(packageJson.scripts)).toContain(name);
  const files = [...commands.matchAll(/sh (scripts\/\S+)/g)].map((match) => match[1] ?? "");
  expect(files.length).toBeGreaterThan(0);
  for (const path of files) expect(existsSync(join(ROOT, path))).toBe(true);
});

test("only the job that publishes may write, and both jobs with an identity may ask for it", () => {
  expect(publish?.permissions).toEqual({ contents: "write", "id-token": "write", packages: "write" });
  expect(packing?.permissions).toEqual({ contents: "read", "id-token": "write", attestations: "write" });
  expect(commandsOf(publish)).toContain("--provenance");
});

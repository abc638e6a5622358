/** `walrust completions`: a script for each shell, and one document with --json. */
import { expect, test } from "bun:test";
import packageJson from "../../../package.json";
import { documentOf, mustWalrust, runWalrust } from "../../support/processes/binary.ts";

test.each(["bash", "zsh", "fish"])("walrust completions %s prints a script", async (shell) => {
  const { stdout, stderr } = await mustWalrust(["completions", shell]);
  expect(stderr).toBe("");
  expect(stdout).toContain(`walrust ${packageJson.version} for ${shell}`);
  // No flag of the table is missing; no hidden one is offered.
  for (const flag of ["log-level", "point-in-time", "snapshot-interval"]) expect(stdout).toContain(flag);
  for (const hidden of ["independent-tasks", "enable-cache"]) expect(stdout).not.toContain(hidden);
  const document = documentOf(await mustWalrust(["completions", shell, "--json"]));
  expect(document).toEqual({ shell, script: stdout.trimEnd() });
});

test("walrust completions names the shells that it knows", async () => {
  for (const words of [["tcsh"], [""], []]) {
    const run = await runWalrust(["completions", ...words]);
    expect([words, run.exitCode, run.stdout]).toEqual([words, 2, ""]);
  }
  expect((await runWalrust(["completions", "tcsh"])).stderr).toContain("expected one of bash, zsh, fish");
});

/** The completions for fish, in fish itself. */
import { expect, setDefaultTimeout } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { testWith } from "../../support/servers/peers.ts";
import { startFish } from "../../support/shells/completing-shell.ts";
import {
  completedLines,
  completionFolder,
  HOSTILE_NAMES,
  makeBackup,
  OFFERED,
} from "../../support/shells/completion-cases.ts";

setDefaultTimeout(60_000);

testWith("fish")("fish completes verbs, flags, choices, paths and names", async () => {
  const cwd = completionFolder();
  const shell = startFish({ cwd, env: {} });
  for (const [typed, completed] of completedLines(cwd)) {
    expect([typed, await shell.completed(typed)]).toEqual([typed, completed]);
  }
  for (const [typed, offered] of OFFERED) {
    const words = (await shell.completions(typed)).slice(typed.lastIndexOf(" ") + 1);
    expect([typed, words.split(" ").sort()]).toEqual([typed, [...offered]]);
  }
});

testWith("fish")("fish offers names that a shell could run as they are", async () => {
  const cwd = completionFolder();
  for (const name of HOSTILE_NAMES) makeBackup(cwd, "hostile", name);
  const shell = startFish({ cwd, env: { WALRUST_S3_BUCKET: `file://${cwd}/hostile` } });
  for (const [typed, name] of [
    ["c", "c:d"],
    ["it", "it's"],
    ["\\$", "$(touch evil)"],
  ] as const) {
    expect(await shell.completed(`walrust restore ${typed}`)).toBe(`walrust restore ${name}`);
  }
  expect(existsSync(join(cwd, "evil"))).toBe(false);
});

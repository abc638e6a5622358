/** The completions for fish, in fish itself. */
import { expect, setDefaultTimeout } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { testWith } from "../../support/servers/peers.ts";
import { fishCandidates } from "../../support/shells/completing-shell.ts";
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
  const lines = completedLines(cwd);
  const typed = [...lines, ...OFFERED].map(([line]) => line);
  const found = await fishCandidates(typed, { cwd, env: {} });
  expect(found.length).toBe(typed.length);
  for (const [index, [line, completed]] of lines.entries()) {
    // A line that nothing completes has no candidates.
    const candidates = completed === line ? [] : [completed.slice(line.lastIndexOf(" ") + 1)];
    expect([line, found[index]]).toEqual([line, candidates]);
  }
  for (const [index, [line, offered]] of OFFERED.entries()) {
    expect([line, found[lines.length + index]!.toSorted()]).toEqual([line, [...offered]]);
  }
});

testWith("fish")("fish offers names that a shell could run as they are", async () => {
  const cwd = completionFolder();
  for (const name of HOSTILE_NAMES) makeBackup(cwd, "hostile", name);
  const env = { WALRUST_S3_BUCKET: `file://${cwd}/hostile` };
  const lines = ["c", "it", "\\$"].map((word) => `walrust restore ${word}`);
  expect(await fishCandidates(lines, { cwd, env })).toEqual([["c:d"], ["it's"], ["$(touch evil)"]]);
  expect(existsSync(join(cwd, "evil"))).toBe(false);
});

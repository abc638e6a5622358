/** The completions for bash, in bash itself, without the package bash-completion. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { mustWalrust, walrustBinary } from "../../support/processes/binary.ts";
import { startBash } from "../../support/shells/completing-shell.ts";
import {
  completedLines,
  completionFolder,
  HOSTILE_NAMES,
  makeBackup,
  OFFERED,
} from "../../support/shells/completion-cases.ts";

setDefaultTimeout(60_000);

const hasBash = Bun.which("bash") !== null;

test.skipIf(!hasBash)("bash completes verbs, flags, choices, paths and names", async () => {
  const cwd = completionFolder();
  const shell = await startBash({ cwd, env: {} });
  for (const [typed, completed] of completedLines(cwd)) {
    expect([typed, (await shell.completed(typed)).trimEnd()]).toEqual([typed, completed]);
  }
  for (const [typed, offered] of OFFERED) {
    const words = (await shell.completions(typed)).slice(typed.lastIndexOf(" ") + 1).trimEnd();
    expect([typed, words.split(" ").sort()]).toEqual([typed, [...offered]]);
  }
});

test.skipIf(!hasBash)("bash offers all verbs, and all flags of a verb", async () => {
  const cwd = completionFolder();
  const shell = await startBash({ cwd, env: {} });
  const { stdout } = await mustWalrust(["--help"]);
  const verbs = [...stdout.matchAll(/^ {2}([a-z]+) {2,}\S/gm)].map(([, verb]) => verb!);
  expect(verbs).toContain("completions");
  const offered = (await shell.completions("walrust ")).trimEnd().split(" ").slice(1);
  expect(offered.toSorted()).toEqual([...verbs, "help", "prune"].toSorted());
  for (const verb of ["watch", "restore", "verify"]) {
    const help = (await mustWalrust([verb, "--help"])).stdout;
    const flags = [...help.matchAll(/^ {2}(?:-\w, | {4})(--[a-z-]+)/gm)].map(([, flag]) => flag!);
    const words = (await shell.completions(`walrust ${verb} --`)).trimEnd().split(" ").slice(2);
    expect([verb, words.toSorted()]).toEqual([verb, flags.toSorted()]);
  }
});

test.skipIf(!hasBash)("bash quotes paths and names, and runs nothing of them", async () => {
  const cwd = completionFolder();
  for (const name of [...HOSTILE_NAMES, "a b", "x!y"]) makeBackup(cwd, "hostile", name);
  const shell = await startBash({ cwd, env: { WALRUST_S3_BUCKET: `file://${cwd}/hostile` } });
  expect(await shell.completed("walrust snapshot my")).toBe("walrust snapshot my\\ file.db ");
  expect(await shell.completed('walrust snapshot "my')).toBe('walrust snapshot "my file.db" ');
  // The shell itself is the judge: the words of the completed line are the names.
  await shell.run("shown() { printf '%s\\n' \"$@\" >words; }");
  for (const [typed, name] of [
    ["$", "$(touch evil)"],
    ["\\$\\(", "$(touch evil)"],
    ["\\`", "`touch evil`"],
    ["a\\;", "a;touch evil"],
    ["it", "it's"],
    ["c", "c:d"],
    ["c:", "c:d"],
    ["e", "e=f"],
    ["e=", "e=f"],
    ['"$', "$(touch evil)"],
    ['"\\`', "`touch evil`"],
    ['"a\\"', 'a"b'],
    ["'$", "$(touch evil)"],
    ["'c:", "c:d"],
    ["a\\ ", "a b"],
  ] as const) {
    const line = await shell.completed(`walrust restore ${typed}`);
    await shell.run(line.replace("walrust restore", "shown"));
    expect([typed, await Bun.file(join(cwd, "words")).text()]).toEqual([typed, `${name}\n`]);
  }
  // Nothing within double quotes keeps bash from taking the exclamation mark for its history.
  expect(await shell.completed('walrust restore "x')).toBe('walrust restore "x');
  expect(existsSync(join(cwd, "evil"))).toBe(false);
});

test.skipIf(!hasBash)("bash completes with other characters that split words, and by a path", async () => {
  const cwd = completionFolder();
  const path = await walrustBinary();
  const shell = await startBash({ cwd, env: {} }, "COMP_WORDBREAKS=$' \\t\\n'");
  for (const [typed, completed] of completedLines(cwd)) {
    expect([typed, (await shell.completed(typed)).trimEnd()]).toEqual([typed, completed]);
  }
  expect(await shell.completed(`${path} restore sh`)).toBe(`${path} restore shop `);
  expect(await shell.completed("walrust completions bash > my")).toBe(
    "walrust completions bash > my\\ file.db ",
  );
  expect(await shell.completed("X=1 walrust restore sh")).toBe("X=1 walrust restore shop ");
});

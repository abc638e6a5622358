/** The completions for zsh, in zsh itself. */
import { expect, setDefaultTimeout } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { testWith } from "../../support/servers/peers.ts";
import { startZsh } from "../../support/shells/completing-shell.ts";
import {
  completedLines,
  completionFolder,
  HOSTILE_NAMES,
  makeBackup,
  OFFERED,
} from "../../support/shells/completion-cases.ts";

setDefaultTimeout(60_000);

testWith("zsh")("zsh completes verbs, flags, choices, paths and names", async () => {
  const cwd = completionFolder();
  const shell = await startZsh({ cwd, env: {} });
  for (const [typed, completed] of completedLines(cwd)) {
    // zsh removes the = behind a flag when a blank is typed.
    const line = (await shell.completed(typed)).trimEnd().replace(/=$/, "");
    expect([typed, line]).toEqual([typed, completed]);
  }
  for (const [typed, offered] of OFFERED) {
    const words = (await shell.completions(typed)).slice(typed.lastIndexOf(" ") + 1).trimEnd();
    const found = words.split(" ").map((word) => word.replace(/=$/, ""));
    expect([typed, found.sort()]).toEqual([typed, [...offered]]);
  }
});

testWith("zsh")("zsh completes with a script that it reads after compinit", async () => {
  const cwd = completionFolder();
  const shell = await startZsh({ cwd, env: {} }, true);
  expect(await shell.completed("walrust rest")).toBe("walrust restore ");
  expect(await shell.completed("walrust restore sh")).toBe("walrust restore shop ");
});

testWith("zsh")("zsh quotes names, and runs nothing of them", async () => {
  const cwd = completionFolder();
  for (const name of [...HOSTILE_NAMES, "a b"]) makeBackup(cwd, "hostile", name);
  const shell = await startZsh({ cwd, env: { WALRUST_S3_BUCKET: `file://${cwd}/hostile` } });
  expect(await shell.completed("walrust snapshot my")).toBe("walrust snapshot my\\ file.db ");
  await shell.run("shown() { printf '%s\\n' \"$@\" >words }");
  for (const [typed, name] of [
    ["\\$", "$(touch evil)"],
    ["\\`", "`touch evil`"],
    ["a\\;", "a;touch evil"],
    ["it", "it's"],
    ["c", "c:d"],
    ["e", "e=f"],
    ["'$", "$(touch evil)"],
    ["a\\ ", "a b"],
  ] as const) {
    const line = await shell.completed(`walrust restore ${typed}`);
    await shell.run(line.replace("walrust restore", "shown"));
    expect([typed, await Bun.file(join(cwd, "words")).text()]).toEqual([typed, `${name}\n`]);
  }
  expect(existsSync(join(cwd, "evil"))).toBe(false);
});

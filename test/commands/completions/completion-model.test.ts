/** The model of completions: every verb and flag of the table, with the kind of its value. */
import { describe, expect, test } from "bun:test";
import { VERBS } from "../../../scripts/reference.ts";
import { bashScript } from "../../../src/commands/completions/bash-script.ts";
import {
  type CompletedFlag,
  completedProgram,
  flagCases,
} from "../../../src/commands/completions/completion-model.ts";
import { fishScript } from "../../../src/commands/completions/fish-script.ts";
import { zshScript } from "../../../src/commands/completions/zsh-script.ts";
import { optionsOf } from "../../../src/commands/shared/verb.ts";

const PROGRAM = completedProgram(VERBS);

function flagOf(verb: string, name: string): CompletedFlag {
  const { flags } = PROGRAM.verbs.find(({ names }) => names.includes(verb))!;
  return flags.find(({ names }) => names.includes(name))!;
}

describe("completedProgram", () => {
  test("has every verb with its other names, and every shown flag", () => {
    expect(PROGRAM.verbs.map(({ names }) => names[0]!)).toEqual(VERBS.map(({ name }) => name));
    expect(PROGRAM.verbs.find(({ names }) => names[0] === "compact")!.names).toEqual(["compact", "prune"]);
    for (const [index, verb] of VERBS.entries()) {
      const shown = optionsOf(verb).filter(({ flag, isHidden }) => flag !== undefined && !isHidden);
      const names = PROGRAM.verbs[index]!.flags.map((flag) => flag.names[0]!);
      expect([verb.name, names]).toEqual([verb.name, shown.map(({ flag }) => `--${flag}`)]);
    }
  });

  test.each([
    ["restore", "--output", "value", "file"],
    ["restore", "-o", "value", "file"],
    ["restore", "--into", "value", "folder"],
    ["restore", "--state-dir", "value", "folder"],
    ["restore", "--prefix", "value", "name"],
    ["restore", "--jobs", "value", "free"],
    ["restore", "--integrity-check", "value", "choice"],
    ["restore", "--force", "none", "free"],
    ["list", "-b", "value", "destination"],
    ["list", "--endpoint", "value", "free"],
    ["list", "--config", "value", "file"],
    ["list", "--local", "none", "free"],
    ["replicate", "--local", "value", "file"],
    ["verify", "--read-data", "attached", "free"],
    ["watch", "--on-startup", "optional", "choice"],
    ["watch", "--no-cache", "none", "free"],
  ] as const)("%s %s takes %s and completes %s", (verb, name, takes, kind) => {
    expect(flagOf(verb, name)).toMatchObject({ takes, kind });
  });

  test("completes every argument", () => {
    const kinds = PROGRAM.verbs.flatMap(({ names, operand }) =>
      operand === null ? [] : [[names[0]!, operand.kind] as const],
    );
    expect(kinds.filter(([, kind]) => kind === "free")).toEqual([]);
    expect(Object.fromEntries(kinds)).toMatchObject({
      watch: "file",
      restore: "name",
      replicate: "name",
      undo: "file",
      completions: "choice",
    });
  });

  test("knows the placeholder of every value that is no number", () => {
    const free = PROGRAM.verbs.flatMap(({ flags }) =>
      flags.filter(({ takes, kind }) => takes === "value" && kind === "free").map(({ label }) => label),
    );
    // A new placeholder is either a kind of completion, or free text that belongs here.
    const numbers = ["BYTES", "DURATION", "MS", "N", "PORT", "RATE", "SECONDS"];
    const texts = ["ADDRESS", "COMMAND", "POINT", "URL"];
    expect([...new Set(free)].filter((label) => ![...numbers, ...texts].includes(label))).toEqual([]);
  });
});

test("a flag that can be given more than once is offered again", () => {
  const again = { flag: "again", kind: "texts", value: "URL", meaning: "Text" } as const;
  const once = { flag: "once", kind: "text", value: "URL", meaning: "Text" } as const;
  const verb = { ...VERBS[0]!, name: "verb", options: [{ again, once }] };
  const program = completedProgram([verb]);
  expect(program.verbs[0]!.flags.slice(0, 2).map(({ isRepeated }) => isRepeated)).toEqual([true, false]);
  expect(bashScript(program, "1")).toContain("flags='+--again --once ");
  expect(zshScript(program, "1")).toContain("'*--again=[Text]");
  expect(fishScript(program, "1")).toContain("-n '__walrust_lacks \\'verb\\'' -l again");
});

describe("flagCases", () => {
  test("names a flag once, or once for each verb that has it", () => {
    const cases = flagCases(PROGRAM);
    const shared = cases.filter(({ verbs }) => verbs === null).flatMap(({ names }) => names);
    expect(new Set(shared).size).toBe(shared.length);
    const local = cases.filter(({ names }) => names.includes("--local"));
    expect(local.map(({ verbs, takes }) => [verbs?.[0] ?? "", takes]).toSorted()).toEqual([
      ["list", "none"],
      ["replicate", "value"],
    ]);
    const own = cases.flatMap(({ verbs, names }) => (verbs === null ? [] : names));
    expect(own.filter((name) => shared.includes(name))).toEqual([]);
  });

  test("puts the cases of one verb before those of all", () => {
    const kinds = flagCases(PROGRAM).map(({ verbs }) => verbs === null);
    expect(kinds).toEqual(kinds.toSorted((a, b) => Number(a) - Number(b)));
  });
});

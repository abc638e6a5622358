/** Help: every verb tells every option, default, example and exit code that it has. */
import { describe, expect, test } from "bun:test";
import { programHelp, verbHelp } from "../../src/commands/help.ts";
import { listVerb } from "../../src/commands/list.ts";
import { restoreVerb } from "../../src/commands/restore.ts";
import { snapshotVerb } from "../../src/commands/snapshot.ts";
import { assertPositionals, optionsOf } from "../../src/commands/verb.ts";
import { watchVerb } from "../../src/commands/watch.ts";
import { optionValues, parseWords } from "../../src/config/parse-options.ts";
import { EXIT_CODES, WalrustError } from "../../src/errors.ts";

const VERBS = [watchVerb, snapshotVerb, restoreVerb, listVerb];

describe("verbHelp", () => {
  test.each(VERBS.map((verb) => [verb.name, verb] as const))("verbHelp of %s is complete", (name, verb) => {
    const help = verbHelp(verb);
    expect(help).toContain(`Usage: walrust ${name} ${verb.usage}`);
    for (const { flag, alias, isHidden, meaning, default: value, kind } of optionsOf(verb)) {
      const line = help.split("\n").find((text) => new RegExp(`--${flag}( |$)`).test(text));
      if (isHidden) expect([flag, line]).toEqual([flag, undefined]);
      else expect([flag, line?.includes(meaning)]).toEqual([flag, true]);
      if (alias !== undefined) expect(line).toContain(`-${alias}, --${flag}`);
      if (!isHidden && kind !== "switch" && value !== undefined) expect(line).toContain(`[${value}]`);
    }
    for (const [code, meaning] of verb.exitCodes) {
      expect(help.split("\n").map((line) => line.trim())).toContain(`${code}  ${meaning}`);
    }
    expect(help.lastIndexOf("Exit codes:")).toBeGreaterThan(help.lastIndexOf("Examples:"));
    for (const [command] of verb.examples) expect(help).toContain(command);
  });

  test.each(VERBS.map((verb) => [verb.name, verb] as const))(
    "every example of %s is understood",
    (name, verb) => {
      for (const [command] of verb.examples) {
        const [program, first, ...words] = command.split(" ");
        expect([program, first]).toEqual(["walrust", name]);
        const parsed = parseWords(words, optionsOf(verb));
        assertPositionals(verb, parsed);
        for (const group of verb.options) optionValues(parsed, group);
      }
    },
  );

  test("exit codes of verbs are those of errors, or of signals", () => {
    const known = new Set<number>([0, 130, 143, ...Object.values(EXIT_CODES)]);
    for (const verb of VERBS) {
      for (const [code] of verb.exitCodes)
        expect([verb.name, code, known.has(code)]).toEqual([verb.name, code, true]);
    }
  });

  test("no option of a verb has two meanings", () => {
    for (const verb of VERBS) {
      const flags = optionsOf(verb).map(({ flag }) => flag);
      expect([verb.name, flags.length]).toEqual([verb.name, new Set(flags).size]);
      const aliases = optionsOf(verb).flatMap(({ alias }) => alias ?? []);
      expect(aliases.length).toBe(new Set(aliases).size);
    }
  });
});

describe("programHelp", () => {
  test("programHelp has a line for each verb", () => {
    for (const { name, summary } of VERBS)
      expect(programHelp(VERBS)).toMatch(new RegExp(`^  ${name} +${summary}$`, "m"));
  });
});

describe("assertPositionals", () => {
  function refusal(verb: (typeof VERBS)[number], ...words: string[]): string {
    try {
      assertPositionals(verb, { positionals: words, given: new Map() });
    } catch (error) {
      if (error instanceof WalrustError && error.code === "usage") return error.message;
      throw error;
    }
    return "accepted";
  }

  test("assertPositionals counts the words", () => {
    expect(refusal(restoreVerb, "app")).toBe("accepted");
    expect(refusal(restoreVerb)).toBe("walrust restore takes 1 NAME, got none");
    expect(refusal(restoreVerb, "a", "b")).toBe("walrust restore takes 1 NAME, got a b");
    expect(refusal(watchVerb)).toStartWith("walrust watch takes");
    expect(refusal(watchVerb, "a", "b", "c")).toBe("accepted");
    expect([refusal(listVerb), refusal(listVerb, "a")]).toEqual(["accepted", "accepted"]);
  });

  test("assertPositionals says how many there may be at most", () => {
    expect(refusal(listVerb, "a", "b")).toBe("walrust list takes at most 1 NAME, got a b");
  });
});

/**
 * The help of every verb describes every option, default, example and exit code of the verb, and nothing
 * else.
 */
import { describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { VERBS } from "../../../scripts/reference.ts";
import { listVerb } from "../../../src/commands/list.ts";
import { pragmaVerb } from "../../../src/commands/pragma.ts";
import { replicateVerb } from "../../../src/commands/replicate.ts";
import { restoreVerb } from "../../../src/commands/restore.ts";
import { programHelp, verbHelp } from "../../../src/commands/shared/help.ts";
import { assertPositionals, optionsOf, type Verb } from "../../../src/commands/shared/verb.ts";
import { snapshotVerb } from "../../../src/commands/snapshot.ts";
import { undoVerb } from "../../../src/commands/undo.ts";
import { commandWords } from "../../../src/commands/watch/command-words.ts";
import { watchVerb } from "../../../src/commands/watch.ts";
import { resolveOptions } from "../../../src/config/resolve.ts";
import type { OptionSpec } from "../../../src/config/settings/option-spec.ts";
import { defaultText } from "../../../src/config/settings/option-text.ts";
import { parseWords } from "../../../src/config/settings/parse-options.ts";
import { EXIT_CODES, WalrustError } from "../../../src/errors.ts";
import { parseReplicaSource } from "../../../src/recovery/replica/replica-source.ts";
import { parseDestination } from "../../../src/storage/parse-destination.ts";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { tempFolder } from "../../support/temp.ts";

const BY_NAME = VERBS.map((verb) => [verb.name, verb] as const);
const MAIN = join(import.meta.dir, "../../../src/main.ts");

/** The lines of a help by the flag they are about. */
function linesByFlag(help: string): Map<string, string> {
  const options = help.slice(help.indexOf("\nOptions:\n"), help.indexOf("\nExamples:\n"));
  const found = options.split("\n").flatMap((line) => {
    const flag = /^ {2}(?:-\w, | {4})--([a-z-]+)/.exec(line)?.[1];
    return flag === undefined ? [] : [[flag, line] as const];
  });
  expect(new Set(found.map(([flag]) => flag)).size).toBe(found.length);
  return new Map(found);
}

function isShown({ flag, isHidden }: OptionSpec): boolean {
  return flag !== undefined && isHidden !== true;
}

describe("verbHelp", () => {
  test.each(BY_NAME)("verbHelp of %s has a line for each option with a flag, and no other", (_name, verb) => {
    const lines = linesByFlag(verbHelp(verb));
    const shown = optionsOf(verb).filter(isShown);
    expect([...lines.keys()].sort()).toEqual(shown.map(({ flag }) => flag!).sort());
    for (const spec of shown) {
      const line = lines.get(spec.flag!)!;
      const meaning = spec.flagMeaning ?? spec.meaning;
      expect([spec.flag, line.includes(meaning)]).toEqual([spec.flag, true]);
      expect([spec.flag, spec.flagMeaning !== undefined]).toEqual([spec.flag, spec.isNegative === true]);
      if (spec.alias !== undefined) expect(line).toContain(`-${spec.alias}, --${spec.flag}`);
      if (spec.value !== undefined) {
        expect(line).toContain(
          `--${spec.flag}${spec.bare === undefined ? ` ${spec.value}` : `[=${spec.value}]`}`,
        );
      }
      for (const choice of spec.choices ?? []) expect(line).toContain(choice);
      const text = defaultText(spec);
      const takesValue = spec.kind !== "switch" || spec.value !== undefined;
      if (takesValue && text !== null) expect(line).toEndWith(`[${text}]`);
    }
  });

  test.each(BY_NAME)("verbHelp of %s explains the argument that the usage names", (_name, verb) => {
    const { name, max, meaning } = verb.positionals;
    const help = verbHelp(verb);
    expect(help.includes("\nArguments:\n")).toBe(max > 0);
    if (max > 0) {
      expect(meaning).not.toBe("");
      expect(help).toContain(`\n  ${name}  ${meaning}\n`);
      expect(verb.usage).toContain(name);
    }
  });

  test("defaults are shown in the unit that the flag takes", () => {
    const lines = linesByFlag(verbHelp(watchVerb));
    expect(lines.get("snapshot-interval")).toEndWith("[3600]");
    expect(lines.get("wal-sync-interval")).toEndWith("[1]");
    expect(lines.get("cache-retention")).toEndWith("[1d]");
    expect(lines.get("cache-max-size")).toEndWith("[5GB]");
    expect(lines.get("base-delay-ms")).toEndWith("[100]");
    expect(lines.get("log-level")).toEndWith("(debug, info, warn, error) [info]");
    expect(linesByFlag(verbHelp(replicateVerb)).get("interval")).toEndWith("[5s]");
  });

  test.each(BY_NAME)("verbHelp of %s has usage, examples and, at its end, exit codes", (name, verb) => {
    const help = verbHelp(verb);
    expect(help).toContain(`Usage: walrust ${name} ${verb.usage}`.trimEnd());
    const lines = help.split("\n").map((line) => line.trim());
    for (const [code, meaning] of verb.exitCodes) expect(lines).toContain(`${code}  ${meaning}`);
    for (const [command, meaning] of verb.examples) {
      expect(lines[lines.indexOf(command) - 1]).toBe(`# ${meaning}`);
    }
    expect(help.lastIndexOf("Exit codes:")).toBeGreaterThan(help.lastIndexOf("Examples:"));
    expect(help).not.toMatch(/undefined|null|\[object/);
  });

  test("exit codes of verbs are those of errors, or of signals, in order", () => {
    const known = new Set<number>([0, 130, 143, ...Object.values(EXIT_CODES)]);
    for (const verb of VERBS) {
      const codes = verb.exitCodes.map(([code]) => code);
      expect([verb.name, codes.filter((code) => !known.has(code))]).toEqual([verb.name, []]);
      expect([verb.name, codes]).toEqual([verb.name, [...new Set(codes)].sort((a, b) => a - b)]);
    }
  });

  test("no option of a verb has two meanings", () => {
    for (const verb of VERBS) {
      const flags = optionsOf(verb).flatMap(({ flag }) => flag ?? []);
      expect([verb.name, flags.length]).toEqual([verb.name, new Set(flags).size]);
      const aliases = optionsOf(verb).flatMap(({ alias }) => alias ?? []);
      expect(aliases.length).toBe(new Set(aliases).size);
    }
  });
});

/** The words of an example after its verb. */
function wordsOf(verb: Verb, command: string): string[] {
  const [program, name, ...words] = commandWords(command.split(" | ")[0]!);
  expect([program, name]).toEqual(["walrust", verb.name]);
  return words;
}

describe("examples", () => {
  test.each(BY_NAME)("every example of %s parses", (_name, verb) => {
    expect(verb.examples.length).toBeGreaterThan(1);
    for (const [command] of verb.examples) {
      const words = parseWords(wordsOf(verb, command), optionsOf(verb));
      assertPositionals(verb, words);
      const sources = { words, environment: {}, file: null };
      for (const group of verb.options) resolveOptions(sources, group);
      const bucket = words.given.get("bucket");
      if (bucket !== undefined) expect(() => parseDestination(String(bucket))).not.toThrow();
      if (verb === replicateVerb && bucket === undefined)
        expect(() => parseReplicaSource(words.positionals[0]!)).not.toThrow();
    }
  });

  /** Runs words in a folder. A verb that keeps running is stopped once it reports its start. */
  async function run(words: readonly string[], cwd: string): Promise<string> {
    const child = Bun.spawn([process.execPath, MAIN, ...words], { cwd, stdio: ["ignore", "pipe", "pipe"] });
    let stderr = "";
    for await (const chunk of child.stderr.pipeThrough(new TextDecoderStream())) {
      stderr += chunk;
      if (/uploaded: TXID 1|is at TXID 1/.test(stderr)) child.kill("SIGTERM");
    }
    return `${await child.exited} ${stderr}`;
  }

  test("every example with a folder as destination has the promised effect", async () => {
    const folder = tempFolder("examples");
    const backup = join(folder, "backup");
    createAppDatabase(join(folder, "app.db"));
    mkdirSync(backup);
    let count = 0;
    for (const verb of [
      watchVerb,
      snapshotVerb,
      ...VERBS.filter((one) => one !== watchVerb && one !== snapshotVerb),
    ]) {
      for (const [command] of verb.examples) {
        if (!command.includes("file:///backup")) continue;
        const example = wordsOf(verb, command).map((word) =>
          word.replace("file:///backup", `file://${backup}`),
        );
        const words =
          verb === restoreVerb ? example.map((word) => word.replace("app.db", "new.db")) : example;
        const quiet = verb === watchVerb ? ["--no-metrics"] : [];
        const outcome = await run([verb.name, ...words, ...quiet], folder);
        expect([command, outcome]).toEqual([command, expect.stringMatching(/^0 /)]);
        count++;
      }
    }
    expect(count).toBeGreaterThanOrEqual(7);
  });
});

describe("programHelp", () => {
  test("the program has exactly the documented verbs", async () => {
    const { stdout } = Bun.spawn([process.execPath, MAIN, "--help"], { stdout: "pipe" });
    const help = await stdout.text();
    const list = help.slice(help.indexOf("\nVerbs:\n"), help.indexOf("\nOptions:\n"));
    expect([...list.matchAll(/^ {2}(\w+)/gm)].map(([, name]) => name!)).toEqual(
      VERBS.map(({ name }) => name),
    );
  });

  test("programHelp has a line for each verb", () => {
    const lines = programHelp(VERBS).split("\n");
    for (const { name, summary } of VERBS) expect(lines).toContain(`  ${name.padEnd(11)}  ${summary}`);
  });
});

describe("assertPositionals", () => {
  function refusal(verb: Verb, ...words: string[]): string {
    try {
      assertPositionals(verb, { positionals: words, given: new Map() });
    } catch (error) {
      if (error instanceof WalrustError && error.code === "usage") return error.message;
      throw error;
    }
    return "accepted";
  }

  test("assertPositionals counts the words", () => {
    expect(refusal(undoVerb, "app.db")).toBe("accepted");
    expect(refusal(undoVerb)).toBe("walrust undo takes 1 PATH, got none");
    expect(refusal(undoVerb, "a", "b")).toBe("walrust undo takes 1 PATH, got a b");
    expect([refusal(watchVerb), refusal(watchVerb, "a", "b", "c")]).toEqual(["accepted", "accepted"]);
    expect(refusal(pragmaVerb, "a")).toBe("walrust pragma takes no arguments, got a");
    expect([refusal(listVerb), refusal(listVerb, "a")]).toEqual(["accepted", "accepted"]);
  });

  test("assertPositionals reports the greatest number of words", () => {
    expect(refusal(listVerb, "a", "b")).toBe("walrust list takes at most 1 NAME, got a b");
  });

  test("assertPositionals refuses impossible counts", () => {
    expect(refusal(watchVerb, "a", "")).toBe('Cannot use the DATABASE "": it is empty');
    expect(refusal(restoreVerb, "a/b")).toBe("accepted");
    expect(refusal(restoreVerb, "../b")).toBe('Cannot use the NAME "../b": it has the segment ".."');
    expect(refusal(listVerb, "a\nb")).toBe('Cannot use the NAME "a\\nb": it contains a control character');
  });
});

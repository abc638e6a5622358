/** The words of `--exec`, with a shell as the oracle. */
import { expect, test } from "bun:test";
import { commandWords } from "../../../src/commands/watch/command-words.ts";
import { WalrustError } from "../../../src/errors.ts";

/** The words that a shell makes of a command. */
function shellWords(command: string): string[] {
  const script = `set -f; printf '%s\\0' ${command}`;
  return Bun.spawnSync(["sh", "-c", script]).stdout.toString().split("\0").slice(0, -1);
}

test.each([
  "app",
  "  app   --port\t8080\n",
  `app 'a b' "c d" e\\ f`,
  `app '' ""`,
  `app it"'"s 'say "hi"'`,
  `app "a \\"b\\" \\\\ \\c" \\'`,
  `app 'a|b;c&d$e\`f' "|;&<>()" \\$HOME`,
  `app a'b'"c"d\\e`,
  "app --flag='x y' # no",
])("commandWords splits %j as a shell does", (command) => {
  // A shell drops comments, which a command has no use for.
  const expected = command.includes("#") ? ["app", "--flag=x y", "#", "no"] : shellWords(command);
  expect(commandWords(command)).toEqual(expected);
});

test.each([
  ["", "is empty"],
  [" \t", "is empty"],
  ["app 'a", "not closed"],
  ['app "a', "not closed"],
  ["app \\", "ends with a backslash"],
  ["app | cat", "carry out"],
  ["app && b", "carry out"],
  ["app > log", "carry out"],
  ["(app)", "carry out"],
  ["app $HOME", "expand"],
  ['app "$HOME"', "expand"],
  ["app `date`", "expand"],
])("commandWords refuses %j", (command, reason) => {
  expect(() => commandWords(command)).toThrow(WalrustError);
  expect(() => commandWords(command)).toThrow(reason);
});

/**
 * Splits the command of `--exec` into words, as a shell does, without running a shell: signals reach the
 * application itself and not a shell around it.
 *
 * - Spaces, tabs and line ends separate words.
 * - Text in single quotes is literal. In double quotes a backslash makes `"`, `\`, `$` and a backtick
 *   literal.
 * - Outside quotes a backslash makes the next character literal.
 * - Wildcards and `~` are plain text.
 *
 * Text that only a shell could carry out (`|`, `&`, `;`, `<`, `>`, parentheses, `$`, a backtick) is refused
 * unless it is quoted: an application that is started with such words does not what was meant.
 */
import { WalrustError } from "../../errors.ts";

const SPACE = /[ \t\n\r]/;
const OPERATOR = /[|&;<>()]/;
/** Characters that a backslash makes literal in double quotes. */
const ESCAPED_IN_QUOTES = /["\\$`]/;

/**
 * Splits a command into words.
 * @throws WalrustError code "usage" when a quote is not closed, a shell would be needed, or there is no word
 */
export function commandWords(command: string): string[] {
  const words: string[] = [];
  /** The word so far; null between words, because `''` is a word. */
  let word: string | null = null;
  let quote: "'" | '"' | null = null;
  for (let at = 0; at < command.length; at++) {
    const character = command[at]!;
    if (quote === "'") {
      if (character === "'") quote = null;
      else word = (word ?? "") + character;
    } else if (character === "\\") {
      const next = command[++at];
      if (next === undefined) throw refused("ends with a backslash");
      const isLiteral = quote === null || ESCAPED_IN_QUOTES.test(next);
      word = `${word ?? ""}${isLiteral ? "" : "\\"}${next}`;
    } else if (character === "$" || character === "`") {
      throw refused(`has ${character}, which only a shell can expand`);
    } else if (quote === '"') {
      if (character === '"') quote = null;
      else word = (word ?? "") + character;
    } else if (character === "'" || character === '"') {
      quote = character;
      word ??= "";
    } else if (SPACE.test(character)) {
      if (word !== null) words.push(word);
      word = null;
    } else if (OPERATOR.test(character)) {
      throw refused(`has ${character}, which only a shell can carry out`);
    } else {
      word = (word ?? "") + character;
    }
  }
  if (quote !== null) throw refused(`has a ${quote} that is not closed`);
  if (word !== null) words.push(word);
  if (words.length === 0) throw refused("is empty");
  return words;
}

function refused(reason: string): WalrustError {
  return new WalrustError("usage", `The command of --exec ${reason}`, {
    hint: "walrust runs no shell: quote such text, or run one: --exec \"sh -c 'exec app > log'\"",
  });
}

/** A child process in the place of walrust, whose program a test writes. */
import type { LogDocument } from "../../../src/commands/shared/documents.ts";
import { type ChildStart, WalrustProcess } from "../../../src/library/walrust-process.ts";

/**
 * Functions that the program can use: `say` prints a value as a line, `log` a line on stderr, `configuration`
 * is the first line of the input, and `end` resolves when the input ends.
 */
const PRELUDE = `
const say = (value) => process.stdout.write(JSON.stringify(value) + "\\n");
const log = (text) => process.stderr.write(text + "\\n");
let input = "";
let heard = Promise.withResolvers();
const end = (async () => {
  for await (const chunk of Bun.stdin.stream()) {
    input += new TextDecoder().decode(chunk);
    if (input.includes("\\n")) heard.resolve(input.split("\\n")[0]);
  }
})();
const configuration = JSON.parse(await heard.promise);
`;

/** Starts a child that runs a program. */
export function fakeWalrust(
  program: string,
  {
    words = ["watch"],
    configuration = "",
    environment = {},
    onLog = () => {},
    onProgress,
  }: Partial<ChildStart> = {},
): WalrustProcess {
  const executable = [process.execPath, "-e", PRELUDE + program];
  return new WalrustProcess({ executable, words, configuration, environment, onLog, onProgress });
}

/** Gathers the log of a child. */
export function gatheredLog(): {
  readonly entries: LogDocument[];
  readonly onLog: (entry: LogDocument) => void;
} {
  const entries: LogDocument[] = [];
  return { entries, onLog: (entry) => void entries.push(entry) };
}

/** The output of the executable on a terminal: a pseudo-terminal is its stdout and stderr. */
import { cleanEnvironment, untilTestEnds, walrustBinary } from "./processes/binary.ts";

/** Runs the executable on a terminal. @returns the output and the exit code */
export async function runOnTerminal(words: readonly string[]): Promise<{ exitCode: number; output: string }> {
  const decoder = new TextDecoder();
  let output = "";
  const child = untilTestEnds(
    Bun.spawn([await walrustBinary(), ...words], {
      env: cleanEnvironment(),
      terminal: {
        cols: 120,
        rows: 30,
        data: (_terminal, bytes) => {
          output += decoder.decode(bytes, { stream: true });
        },
      },
    }),
  );
  const exitCode = await child.exited;
  child.terminal?.close();
  return { exitCode, output };
}

/** Runs one of the project's scripts, as a user does with `bun run`. */
import { cleanEnvironment, type Run, untilTestEnds } from "../../support/processes/binary.ts";

/** Runs a script to its end. The end of the test kills the script. */
export async function runScript(path: string, words: readonly string[]): Promise<Run> {
  const child = untilTestEnds(
    Bun.spawn([process.execPath, path, ...words], {
      env: cleanEnvironment(),
      stdio: ["ignore", "pipe", "pipe"],
    }),
  );
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, stdout, stderr };
}

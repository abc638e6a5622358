/** Rules for the output of every run of the executable. */
import { documentOf, type Run } from "../processes/binary.ts";

/** The JSON document of a failure. */
export interface FailureDocument {
  readonly error: {
    readonly code: string;
    readonly exit: number;
    readonly message: string;
    readonly hint: string | null;
    readonly context: Readonly<Record<string, unknown>>;
  };
}

/** Traces of programming mistakes that must never reach a user. */
const SLIPS = /\bundefined\b|\[object |\bNaN\b|\$bunfs|^\s+at .*[:(]|\bInfinity\b/m;

/** @throws Error if the output contains traces of a mistake or characters that move the cursor */
export function assertNoSlip({ stdout, stderr }: Run): void {
  for (const text of [stdout, stderr]) {
    const slip = SLIPS.exec(text);
    if (slip !== null) throw new Error(`the output has ${JSON.stringify(slip[0])}:\n${text}`);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the test searches for control characters
    if (/[\0-\x09\x0b-\x1f\x7f-\x9f]/.test(text))
      throw new Error(`a control character in ${JSON.stringify(text)}`);
  }
}

/** The last line `walrust: …` of stderr, and the hint below it. @throws Error if stderr ends differently */
export function toldFailure({ stderr }: Run): { message: string; hint: string | null; before: string } {
  const match = /^((?:\d{4}-.*\n)*)walrust: (.+)\n(?: {2}(.+)\n)?$/.exec(stderr);
  if (match === null) throw new Error(`stderr does not end with one failure:\n${stderr}`);
  return { message: match[2]!, hint: match[3] ?? null, before: match[1]! };
}

/** The JSON document of a failed run. @param isStream whether events precede the document */
export function failureDocument(run: Run, isStream = false): FailureDocument["error"] {
  const last = isStream ? { ...run, stdout: run.stdout.trimEnd().split("\n").at(-1)! } : run;
  const { error, ...others } = documentOf<FailureDocument>(last);
  const keys = Object.keys(error).join();
  if (Object.keys(others).length > 0 || keys !== "code,exit,message,hint,context") {
    throw new Error(`not the document of a failure: ${last.stdout}`);
  }
  return error;
}

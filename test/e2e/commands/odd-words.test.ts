/** Odd words on the command line: each one ends in one clear line and the right exit code. */
import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { assertNoSlip, failureDocument, toldFailure } from "../../support/oracles/run-checks.ts";
import { mustWalrust, runWalrust } from "../../support/processes/binary.ts";
import { tempFolder } from "../../support/temp.ts";

const VERBS = [
  ...["watch", "snapshot", "restore", "undo", "list", "verify"],
  ...["compact", "prune", "replicate", "serve", "status", "sync", "reload", "doctor", "explain", "pragma"],
  ...["completions", "man"],
];

/** Verbs without a destination. */
const WITHOUT_BUCKET = ["replicate", "pragma", "undo", "completions", "man"];
/** Verbs that take \`--\` as no word. */
const WITHOUT_WORDS = ["pragma", "man"];
const REPORTS = ["doctor", "explain", "status"];

const ODD_WORDS = [
  "",
  "-",
  "--",
  "x".repeat(10_000),
  "ä/ö\u{1f600}",
  "a\nb",
  "\u001b[31mred",
  "../..",
  "\u202eevil",
  "%s%n",
  "/",
];

test("every verb answers each odd word with one clear line", async () => {
  const folder = tempFolder("odd");
  const extras: Record<string, readonly string[]> = {
    restore: ["-o", join(folder, "out.db")],
    replicate: ["--local", join(folder, "replica.db"), "--once"],
  };
  for (const verb of VERBS) {
    const bucket = WITHOUT_BUCKET.includes(verb) ? [] : ["-b", `file://${folder}/none`];
    await Promise.all(
      ODD_WORDS.map(async (word) => {
        const words = [verb, ...(extras[verb] ?? []), ...bucket, "--json", word];
        const run = await runWalrust(words, { cwd: folder });
        assertNoSlip(run);
        // A report is the result, whatever it says, and takes the place of an error.
        const isReport = REPORTS.includes(verb) && !run.stdout.startsWith('{"error"');
        if (!isReport && (!WITHOUT_WORDS.includes(verb) || run.exitCode !== 0)) {
          expect([verb, word, failureDocument(run).exit]).toEqual([verb, word, run.exitCode]);
          expect(toldFailure(run).message.length).toBeGreaterThan(10);
        }
        expect([verb, word, [0, 2, 3, 4, 6].includes(run.exitCode)]).toEqual([verb, word, true]);
      }),
    );
  }
  expect(readdirSync(folder)).toEqual([]);
});

/** Words before or instead of a verb, and the expected message. */
const NO_VERB: readonly (readonly [words: readonly string[], message: string, hint: string])[] = [
  [["--json", "list"], "--json stands before the verb", "Options follow the verb"],
  [["-b", "s3://b", "watch"], "-b stands before the verb", "Options follow the verb"],
  [["--bucket=s3://key:hunter2@b"], "--bucket stands before the verb", "Options follow the verb"],
  [[""], 'Unknown verb ""', "See walrust --help"],
  [["lst"], 'Unknown verb "lst"', "Did you mean walrust list?"],
  [["help", "lst"], 'Unknown verb "lst"', "Did you mean walrust list?"],
  [["constructor"], 'Unknown verb "constructor"', "See walrust --help"],
];

test.each(NO_VERB)("walrust %j ends with 2", async (words, message, hint) => {
  const run = await runWalrust([...words]);
  expect(run.exitCode).toBe(2);
  expect(toldFailure(run).message).toBe(message);
  expect(toldFailure(run).hint).toContain(hint);
  expect(run.stdout === "" || failureDocument(run).exit === 2).toBe(true);
});

test("--json is valid at any place among the options, and not after --", async () => {
  const bucket = ["-b", "nope"];
  for (const words of [
    ["--json", ...bucket],
    [...bucket, "--json"],
    [...bucket, "--json=true", "x"],
  ]) {
    expect(failureDocument(await runWalrust(["list", ...words]))).toMatchObject({ code: "usage", exit: 2 });
  }
  for (const words of [[...bucket, "--", "--json"], [...bucket, "--json=false"], bucket]) {
    expect((await runWalrust(["list", ...words])).stdout).toBe("");
  }
});

test("walrust help VERB, VERB --help and VERB --version work for every verb", async () => {
  const version = await mustWalrust(["--version"]);
  for (const verb of VERBS) {
    const [help, byName, versions] = await Promise.all([
      mustWalrust([verb, "--help", "no", "matter", "what"]),
      mustWalrust(["help", verb]),
      mustWalrust([verb, "--version"]),
    ]);
    expect(help.stdout).toBe(byName.stdout);
    expect(help.stdout).toContain(`Usage: walrust ${verb === "prune" ? "compact" : verb} `);
    expect(versions.stdout).toBe(version.stdout);
    for (const run of [help, byName, versions]) assertNoSlip(run);
  }
});

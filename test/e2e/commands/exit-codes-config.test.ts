/**
 * Mistakes in a walrust.toml from the working directory or from --config. Every verb ends with 2 before it
 * does anything; the error names file, line, column and the probable intention.
 */
import { expect, test } from "bun:test";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { assertNoSlip, failureDocument, toldFailure } from "../../support/oracles/run-checks.ts";
import { runWalrust } from "../../support/processes/binary.ts";
import { tempFolder } from "../../support/temp.ts";

const BUCKET = ["-b", "file:///nowhere/at/all"];

/** Each verb with valid words. */
const CALLS: readonly (readonly string[])[] = [
  ["watch", "app.db", ...BUCKET],
  ["snapshot", "app.db", ...BUCKET],
  ["restore", "app", "-o", "restored.db", ...BUCKET],
  ["undo", "app.db"],
  ["list", ...BUCKET],
  ["verify", "--all", ...BUCKET],
  ["compact", "--all", ...BUCKET],
  ["prune", "app", ...BUCKET],
  ["replicate", "file:///nowhere/at/all/app", "--local", "replica.db", "--once"],
  ["status", ...BUCKET],
  ["sync", "--all", ...BUCKET],
  ["reload"],
  ["doctor", "app.db", ...BUCKET],
  ["explain", "app.db", ...BUCKET],
  ["pragma"],
];

/** A text, the place of its mistake, the expected message, and the expected hint. */
const MISTAKES: readonly (readonly [text: string, at: string, said: string, hint: string])[] = [
  ["[sync]\n  max_change = 1\n", "2:3", 'Unknown key "max_change" in [sync]', "Did you mean max_changes?"],
  ["\n[synch]\nmax_changes = 1\n", "2:2", 'Unknown section "synch"', "Did you mean [sync]?"],
  ["[sync]\nbucket = 's3://b'\n", "2:1", 'Unknown key "bucket" in [sync]', "bucket belongs to [s3]"],
  ["[sync]\nmax_changes = 'many'\n", "2:1", "sync.max_changes", ""],
  ["[sync]\nwal_sync_interval = 0\n", "2:1", "from 0.01 to 3600", ""],
  [`[s3]\nbucket = "$\{NO_SUCH_VARIABLE}"\n`, "2:1", "NO_SUCH_VARIABLE, which is not set", ""],
  ["[s3]\nsecret_access_key_file = '/no/such/file'\n", "2:1", "ENOENT", ""],
  ["[sync]\nmax_changes = = 1\n", "2:15", "", ""],
  ["[[databases]]\npath = 'a.db'\nmax_changes = 1\nmax_chnages = 2\n", "4:1", "max_chnages", "max_changes"],
  ["[[webhooks]]\nurl = 'ftp://x/S3CRET'\n", "2:1", "https://", ""],
];

function folderWith(text: string, name = "walrust.toml"): string {
  const folder = tempFolder("mistake");
  createAppDatabase(join(folder, "app.db"));
  writeFileSync(join(folder, name), text);
  return folder;
}

test.each(MISTAKES)("%j ends every verb with 2 at %s", async (text, at, said, hint) => {
  const found = folderWith(text);
  const named = folderWith(text, "other.toml");
  const [line, column] = at.split(":").map(Number);
  const before = readdirSync(found);
  await Promise.all(
    CALLS.map(async (words) => {
      for (const [folder, file, flags] of [
        [found, "walrust.toml", []],
        [named, join(named, "other.toml"), ["--config", join(named, "other.toml")]],
      ] as const) {
        const run = await runWalrust([...words, ...flags, "--json"], { cwd: folder });
        assertNoSlip(run);
        const { message } = toldFailure(run);
        expect([words[0], run.exitCode, message.slice(0, file.length + at.length + 1)]).toEqual([
          words[0],
          2,
          `${file}:${at}`,
        ]);
        expect(message).toContain(said);
        expect(toldFailure(run).hint ?? "").toContain(hint);
        expect(run.stderr + run.stdout).not.toContain("S3CRET");
        const error = failureDocument(run);
        expect(error).toMatchObject({ code: "config", exit: 2, message, context: { file, line, column } });
      }
    }),
  );
  expect(readdirSync(found)).toEqual(before);
});

/** Configuration files that cannot be read. */
const UNREADABLE: readonly (readonly [what: string, make: (path: string) => void, said: string])[] = [
  ["missing", () => {}, "ENOENT"],
  ["a folder", (path) => mkdirSync(path), "EISDIR"],
  ["not UTF-8", (path) => writeFileSync(path, new Uint8Array([0x5b, 0xff, 0xfe, 0x5d])), "UTF-8"],
  ["larger than 4 MB", (path) => writeFileSync(path, "#".repeat(4 * 1024 * 1024 + 1)), "larger than"],
];

test.each(UNREADABLE)("a configuration file that is %s ends every verb with 2", async (what, make, said) => {
  const folder = tempFolder("unreadable");
  const path = join(folder, "walrust.toml");
  make(path);
  await Promise.all(
    CALLS.map(async (words) => {
      const run = await runWalrust([...words, "--config", path, "--json"], { cwd: folder });
      assertNoSlip(run);
      expect([words[0], run.exitCode, toldFailure(run).message]).toEqual([
        words[0],
        2,
        expect.stringContaining(said),
      ]);
      expect(toldFailure(run).message).toContain(path);
      expect(failureDocument(run)).toMatchObject({ code: "config", exit: 2 });
      // The verb finds the file in the working directory.
      if (what === "missing") return;
      const byItself = await runWalrust(words, { cwd: folder });
      expect([words[0], byItself.exitCode]).toEqual([words[0], 2]);
    }),
  );
});

test("a mistake in walrust.toml does not prevent the help", async () => {
  const folder = folderWith("[[[");
  for (const words of [["--help"], ["watch", "--help"], ["help", "restore"], ["list", "--version"]]) {
    expect((await runWalrust(words, { cwd: folder })).exitCode).toBe(0);
  }
});

/** Drafts of killed restores: the next restore of the target removes them, and only them. */
import { afterEach, expect, test } from "bun:test";
import { closeSync, mkdirSync, openSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DraftFile } from "../../../src/recovery/restore/draft-file.ts";
import { holdDraft } from "../../../src/recovery/restore/leftover-drafts.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { tempFolder } from "../../support/temp.ts";

const DRAFT = ".app.db.restore-0123456789ab";
const { env } = recordingEnv({});
const drafts: DraftFile[] = [];

afterEach(() => {
  for (const draft of drafts.splice(0)) draft.close();
});

/** Begins a restore of app.db. */
function begin(folder: string): DraftFile {
  const draft = DraftFile.create(join(folder, "app.db"), env);
  drafts.push(draft);
  return draft;
}

test("a restore removes the draft of a killed one, whatever it holds", () => {
  const folder = tempFolder("drafts");
  writeFileSync(join(folder, DRAFT), "half a database");
  const { path } = begin(folder);
  expect(readdirSync(folder).map((name) => join(folder, name))).toEqual([path]);
});

test("a restore leaves the draft of a restore at work", () => {
  const folder = tempFolder("drafts");
  const first = begin(folder);
  const second = begin(folder);
  expect(
    readdirSync(folder)
      .map((name) => join(folder, name))
      .sort(),
  ).toEqual([first.path, second.path].sort());
  drafts.shift()!.close();
  begin(folder);
  expect(readdirSync(folder)).toHaveLength(2);
});

test("a restore leaves other names, links and folders", () => {
  const folder = tempFolder("drafts");
  const others = [".app.db.restore-0123", ".other.db.restore-0123456789ab", "app.db.restore-0123456789ab"];
  for (const name of others) writeFileSync(join(folder, name), "");
  mkdirSync(join(folder, ".app.db.restore-aaaaaaaaaaaa"));
  symlinkSync(others[0]!, join(folder, ".app.db.restore-bbbbbbbbbbbb"));
  begin(folder);
  expect(readdirSync(folder)).toHaveLength(others.length + 3);
});

test("holdDraft notices that the draft was removed before its lock", () => {
  const folder = tempFolder("drafts");
  const path = join(folder, DRAFT);
  const fd = openSync(path, "wx+");
  try {
    rmSync(path);
    expect(holdDraft(fd)).toBe(false);
  } finally {
    closeSync(fd);
  }
});

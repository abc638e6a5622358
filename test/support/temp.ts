/** Temporary folders for tests, removed at the end of the test file. */
import { afterAll } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folders: string[] = [];

/** Makes an empty folder on the file system of $TMPDIR. */
export function tempFolder(label = "t"): string {
  const folder = mkdtempSync(join(tmpdir(), `walrust-${label}-`));
  folders.push(folder);
  return folder;
}

afterAll(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** The edits of the seam: complete, and loud when a source changes under them. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { applyEdit, editedSource, resetStatements, TIMELESS } from "./seam-edits.ts";

const ROOT = join(import.meta.dir, "../../..");
/** Rooms that the simulator runs. */
const ROOMS =
  /^src\/(replication|local|database|recovery\/object|storage\/(bucket|guard)|discovery|format)\//;
/** State of a module: a variable, or a collection that is not declared as read-only. */
const COLLECTION = "(?:new (?:Map|Set|WeakMap|Semaphore|Scratch)\\b|\\[\\];)";
const STATE = new RegExp(`^(?:export )?const (\\w+)(?:: (?![Rr]ead[Oo]nly)[^=]*)? = ${COLLECTION}`);
const VARIABLE = /^(?:export )?let (\w+)/;

async function statesOf(file: string): Promise<string[]> {
  const text = await Bun.file(join(ROOT, file)).text();
  return text.split("\n").flatMap((line) => VARIABLE.exec(line)?.[1] ?? STATE.exec(line)?.[1] ?? []);
}

test("every state of a module is emptied for a new process, or stays true", async () => {
  const resets = resetStatements().map(([file, statement]) => `${file} ${/^\w+/.exec(statement)?.[0]}`);
  const known = new Set([...resets, ...TIMELESS]);
  const found: string[] = [];
  for (const path of new Bun.Glob("src/**/*.ts").scanSync({ cwd: ROOT })) {
    if (!ROOMS.test(path)) continue;
    for (const name of await statesOf(path)) found.push(`${path} ${name}`);
  }
  const files = new Set(found.map((one) => one.split(" ")[0]));
  expect(files.size).toBeGreaterThan(5);
  expect(found.filter((one) => !known.has(one)).sort()).toEqual([]);
});

test("editedSource edits every file of the simulator's seams", async () => {
  const files = ["src/database/files/ofd-lock.ts", ...resetStatements().map(([file]) => file)];
  for (const file of files) {
    const text = await Bun.file(join(ROOT, file)).text();
    expect(editedSource(file, text, "/seam")).toContain('from "/seam/gate.ts"');
  }
  const source = 'import { openSync } from "node:fs";\n';
  expect(editedSource("src/a.ts", source, "/seam")).toBe('import { openSync } from "/seam/sim-fs.ts";\n');
});

test("applyEdit refuses a text that is missing or there twice", () => {
  const edit = { file: "src/a.ts", from: "a();", to: "b();" };
  expect(applyEdit("x; a();", edit)).toBe("x; b();");
  expect(() => applyEdit("x;", edit)).toThrow("0 times");
  expect(() => applyEdit("a(); a();", edit)).toThrow("2 times");
});

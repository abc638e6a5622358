/** The replacement of the process: the new program gets words, environment and inherited descriptors. */
import { describe, expect, test } from "bun:test";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { replaceProcess } from "../../../src/commands/memory/replace-process.ts";
import { tempFolder } from "../../support/temp.ts";

const MODULE = join(import.meta.dir, "../../../src/commands/memory/replace-process.ts");
const PROGRAM = `import { replaceProcess } from ${JSON.stringify(MODULE)};
const script = 'echo "$0|$1|$2|$WORD|$EMPTY|$HOME"; readlink /proc/self/fd/4';
replaceProcess("/bin/sh", ["sh", "-c", script, "name", "ä b", ""], { WORD: "ö=1", EMPTY: "" });`;

describe.skipIf(process.platform !== "linux")("replaceProcess", () => {
  test("keeps the words, the environment and a descriptor that the parent passed on", async () => {
    const path = join(tempFolder("inherited"), "lock");
    const fd = openSync(path, "w");
    const stdio = ["ignore", "pipe", "inherit", "ignore", fd] as [
      "ignore",
      "pipe",
      "inherit",
      "ignore",
      number,
    ];
    const child = Bun.spawn([process.execPath, "-e", PROGRAM], { stdio });
    closeSync(fd);
    expect(await new Response(child.stdout).text()).toBe(`name|ä b||ö=1||\n${path}\n`);
    expect(await child.exited).toBe(0);
  });

  test("returns when there is no such program", () => {
    expect(() => replaceProcess("/nonexistent/program", ["program"], {})).not.toThrow();
  });
});

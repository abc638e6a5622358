/** The restart of a long-lived verb with a small engine: once, by its own path, and never a failure. */
import { describe, expect, test } from "bun:test";
import { copyFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import {
  ENGINE_OPTIONS,
  ensureSmallEngine,
  type Restartable,
} from "../../../src/commands/memory/small-engine.ts";
import { tempFolder } from "../../support/temp.ts";

const COMPILED = "/$bunfs/root/walrust";

type Start = { file: string; words: readonly string[]; environment: Readonly<Record<string, string>> };

/** A process of this executable that notes its restarts. */
function processWith(parts: Partial<Restartable> = {}): { self: Restartable; starts: Start[] } {
  const starts: Start[] = [];
  const self: Restartable = {
    platform: "linux",
    execPath: process.execPath,
    argv0: "walrust",
    argv: ["bun", COMPILED, "watch", "app.db"],
    env: { PATH: "/bin", GONE: undefined },
    execve: (file, words, environment) => void starts.push({ file, words, environment }),
    ...parts,
  };
  return { self, starts };
}

describe.skipIf(process.platform !== "linux")("ensureSmallEngine", () => {
  test("starts the same program with the same words, and the options in the environment", () => {
    const { self, starts } = processWith();
    ensureSmallEngine(self, COMPILED);
    const environment = {
      ...{ PATH: "/bin", BUN_JSC_forceRAMSize: "100663296" },
      BUN_JSC_thresholdForJITAfterWarmUp: "50000",
    };
    expect(starts).toEqual([{ file: process.execPath, words: ["walrust", "watch", "app.db"], environment }]);
  });

  test("does not start again", () => {
    const { self, starts } = processWith({ env: ENGINE_OPTIONS });
    ensureSmallEngine(self, COMPILED);
    expect(starts).toEqual([]);
  });

  test("leaves an option that the user has set", () => {
    const { self, starts } = processWith({ env: { BUN_JSC_forceRAMSize: "1000000" } });
    ensureSmallEngine(self, COMPILED);
    expect(starts[0]?.environment).toEqual({ ...ENGINE_OPTIONS, BUN_JSC_forceRAMSize: "1000000" });
  });

  test.each([
    ["another system", { platform: "darwin" }, COMPILED],
    ["from source", {}, "/work/src/main.ts"],
    ["an executable that is gone", { execPath: "/nonexistent/walrust" }, COMPILED],
  ] as const)("goes on as it is: %s", (_, parts, main) => {
    const { self, starts } = processWith(parts as Partial<Restartable>);
    ensureSmallEngine(self, main);
    expect(starts).toEqual([]);
  });

  test("goes on after an upgrade that replaced the executable", () => {
    const execPath = join(tempFolder("upgrade"), "walrust");
    copyFileSync("/bin/true", execPath);
    const { self, starts } = processWith({ execPath });
    ensureSmallEngine(self, COMPILED);
    expect(starts).toEqual([]);
  });

  test("goes on where the path of the executable cannot be followed", () => {
    const execPath = join(tempFolder("loop"), "walrust");
    symlinkSync(execPath, execPath);
    const { self, starts } = processWith({ execPath });
    expect(() => ensureSmallEngine(self, COMPILED)).not.toThrow();
    expect(starts).toEqual([]);
  });

  test("goes on where a sandbox forbids it", () => {
    const execve = () => {
      throw new Error("EPERM");
    };
    expect(() => ensureSmallEngine(processWith({ execve }).self, COMPILED)).not.toThrow();
  });
});

/** The restart of a verb with a small engine: once, by its own path, and never a failure. */
import { describe, expect, test } from "bun:test";
import { copyFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { compactVerb } from "../../../src/commands/compact.ts";
import { listVerb } from "../../../src/commands/list.ts";
import {
  ENGINE_OPTIONS,
  ensureSmallEngine,
  type Restartable,
} from "../../../src/commands/memory/small-engine.ts";
import { replicateVerb } from "../../../src/commands/replicate.ts";
import { restoreVerb } from "../../../src/commands/restore.ts";
import { serveVerb } from "../../../src/commands/serve.ts";
import { snapshotVerb } from "../../../src/commands/snapshot.ts";
import { statusVerb } from "../../../src/commands/status.ts";
import { syncVerb } from "../../../src/commands/sync.ts";
import { verifyVerb } from "../../../src/commands/verify.ts";
import { watchVerb } from "../../../src/commands/watch.ts";
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

test("verbs that run for months and verbs that copy whole databases save memory", () => {
  for (const verb of [watchVerb, replicateVerb, serveVerb, snapshotVerb, restoreVerb])
    expect([verb.name, verb.savesMemory]).toEqual([verb.name, true]);
});

test("verbs of a moment start once", () => {
  for (const verb of [statusVerb, syncVerb, listVerb, verifyVerb, compactVerb])
    expect([verb.name, verb.savesMemory]).toEqual([verb.name, undefined]);
});

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

  test("does not start again, and hands its options to no child", () => {
    const { self, starts } = processWith({ env: { PATH: "/bin", ...ENGINE_OPTIONS } });
    ensureSmallEngine(self, COMPILED);
    expect(starts).toEqual([]);
    expect(self.env).toEqual({ PATH: "/bin" });
  });

  test("leaves an option that the user has set", () => {
    const { self, starts } = processWith({ env: { BUN_JSC_forceRAMSize: "1000000" } });
    ensureSmallEngine(self, COMPILED);
    const environment = { ...ENGINE_OPTIONS, BUN_JSC_forceRAMSize: "1000000" };
    expect(starts[0]?.environment).toEqual(environment);
    const next = processWith({ env: environment });
    ensureSmallEngine(next.self, COMPILED);
    expect(next.starts).toEqual([]);
    expect(next.self.env).toEqual({ BUN_JSC_forceRAMSize: "1000000" });
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

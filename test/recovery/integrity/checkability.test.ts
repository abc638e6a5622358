/**
 * Finds the databases that SQLite could not check, by compiling its check: within a time limit, and without
 * leaving a file.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { findUncheckable, uncheckableOrNull } from "../../../src/recovery/integrity/checkability.ts";
import {
  APPLICATION_DATABASES,
  CHECKABLE_DATABASES,
  databaseWith,
  databaseWithExpression,
  encryptedDatabase,
  inWalMode,
  SLOW_EXPRESSION,
} from "./integrity-databases.ts";

setDefaultTimeout(60_000);

const ENV = systemEnv(SILENT_LOG);
const COMMAND = [
  process.execPath,
  join(import.meta.dir, "../../../src/main.ts"),
  "__check-database",
  String(process.pid),
];

describe("uncheckableOrNull", () => {
  test.each(Object.keys(APPLICATION_DATABASES))(
    "%s is uncheckable with a reason, and no file appears",
    (kind) => {
      const path = inWalMode(APPLICATION_DATABASES[kind]!());
      expect([kind, uncheckableOrNull(path)]).toEqual([
        kind,
        expect.stringMatching(/icu_de|slugs|own|f: |jieba/),
      ]);
      expect(readdirSync(dirname(path))).toEqual(["app.db"]);
    },
  );

  test.each(Object.keys(CHECKABLE_DATABASES))("%s is checkable", (kind) => {
    expect(uncheckableOrNull(CHECKABLE_DATABASES[kind]!())).toBeNull();
  });

  test("an encrypted file is uncheckable; an unreadable file gives no verdict", () => {
    expect(uncheckableOrNull(encryptedDatabase(32))).toContain("encrypted");
    expect(uncheckableOrNull("/nowhere/app.db")).toBeNull();
  });

  test("nothing of the schema is executed", () => {
    const startedMs = performance.now();
    expect(uncheckableOrNull(databaseWithExpression(SLOW_EXPRESSION))).toBeNull();
    expect(performance.now() - startedMs).toBeLessThan(15_000);
  });
});

describe("findUncheckable", () => {
  test("checks more databases than one child process takes, in order", async () => {
    const sound = databaseWith(["CREATE TABLE t(code)"]);
    const unsound = APPLICATION_DATABASES["an index with a collation"]!();
    const paths = Array.from({ length: 120 }, (_, index) => (index % 60 === 7 ? unsound : sound));
    const found = await findUncheckable(COMMAND, paths, { env: ENV });
    expect(found.map(({ path }) => path)).toEqual([unsound, unsound]);
  });

  test("continues after a database that makes the child hang", async () => {
    const hanging = [
      "sh",
      "-c",
      'shift; for p; do [ "$p" = hang ] && while :; do :; done; echo "{\\"reason\\":null}"; done',
      "sh",
    ];
    const limits = { timeMs: 300, memoryBytes: 2 ** 30 };
    const found = await findUncheckable(hanging, ["a", "hang", "b", "c"], { env: ENV }, limits);
    expect(found).toEqual([{ path: "hang", reason: "it took longer than 0 s" }]);
  });
});

/** A restore never leaves its state in a folder that took the target's place meanwhile. */
import { expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { LocalPlaces, NO_PATH } from "../../../src/local/places.ts";
import { SKIPPED } from "../../../src/recovery/integrity/integrity-verdict.ts";
import { restore } from "../../../src/recovery/restore/restore-database.ts";
import { SourceDatabase, SourceHistory } from "../../support/histories/replica-history.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

test("a folder that became a link to another's database keeps the state of that database", async () => {
  const env = systemEnv(SILENT_LOG);
  const store = new MemoryStore();
  await new SourceHistory(store, "app").publish(
    new SourceDatabase(tempFolder("source"), 4096).after("CREATE TABLE t (x)"),
  );
  const top = realpathSync(tempFolder("state"));
  const [own, other] = [join(top, "own"), join(top, "other")];
  mkdirSync(own, { mode: 0o700 });
  mkdirSync(join(other, ".app.db-walrust"), { recursive: true, mode: 0o700 });
  writeFileSync(join(other, ".app.db-walrust", "state.json"), "of another database");
  const variables = { STATE_DIRECTORY: realpathSync(tempFolder("home")) };
  const places = new LocalPlaces({ state: NO_PATH, cache: NO_PATH, variables });
  const outputPath = join(own, "app.db");
  const request = {
    name: "app",
    outputPath,
    point: { kind: "latest" },
    force: false,
    dryRun: false,
  } as const;
  await restore(request, {
    store,
    env,
    places,
    // The last call before the state is written.
    checker: async () => {
      renameSync(own, `${own}.kept`);
      symlinkSync(other, own);
      return SKIPPED;
    },
  });
  expect(readdirSync(other)).toEqual([".app.db-walrust"]);
  expect(readFileSync(join(other, ".app.db-walrust", "state.json"), "utf8")).toBe("of another database");
  expect(existsSync(join(`${own}.kept`, "app.db"))).toBe(true);
});

/** The simulator's disk: a cut changes walrust's own files only. */
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempFolder } from "../../support/temp.ts";
import { Chance } from "./chance.ts";
import { Disk } from "./disk.ts";

test("a cut brings back a synced file of walrust, and never a database that walrust synced", () => {
  const folder = tempFolder("sim-disk");
  const state = join(folder, ".app.db-walrust");
  mkdirSync(state);
  const own = join(state, "state.json");
  const database = join(folder, "app.db");
  let restored = 0;
  for (let seed = 1; seed <= 20; seed++) {
    const disk = new Disk([state]);
    for (const path of [own, database]) {
      writeFileSync(path, "synced");
      disk.synced(path);
    }
    rmSync(own);
    writeFileSync(database, "newer");
    if (disk.cut(new Chance(seed)).length > 0) restored++;
    expect(readFileSync(database, "utf8")).toBe("newer");
  }
  expect(restored).toBeGreaterThan(0);
});

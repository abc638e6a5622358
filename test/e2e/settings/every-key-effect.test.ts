/**
 * Names for every key of walrust.toml the test that shows its effect in the running program. A key without an
 * effect fails, and so does a key that the tables below omit.
 *
 * Most tests run the executable with the key in its walrust.toml. Where the effect takes hours, one test
 * shows it in its module with a fake clock, and a test here shows that the key reaches the module.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { resolveDatabaseConfig } from "../../../src/config/config.ts";
import { parseConfigFile } from "../../../src/config/config-file.ts";
import { SECTIONS } from "../../../src/config/settings/options.ts";
import { allKeys } from "../../support/readme/setting-samples.ts";
import { closeApplications, configured, folderSettings } from "../../support/runs/configured-watch.ts";

/** For each section, the file whose tests are named after its keys. */
const SHOWN_IN: Readonly<Record<string, string>> = {
  s3: "e2e/settings/every-key-s3.test.ts",
  databases: "e2e/settings/every-key-s3.test.ts",
  state: "e2e/settings/every-key-upkeep.test.ts",
  sync: "e2e/settings/every-key-sync.test.ts",
  cache: "e2e/settings/every-key-upkeep.test.ts",
  compaction: "e2e/settings/every-key-upkeep.test.ts",
  retention: "e2e/settings/every-key-upkeep.test.ts",
  retry: "e2e/settings/every-key-failure.test.ts",
  metrics: "e2e/settings/every-key-failure.test.ts",
  heartbeat: "e2e/settings/every-key-failure.test.ts",
  webhooks: "e2e/settings/every-key-failure.test.ts",
};

/** Keys whose effect comes after an hour: the file and the name of the test that shows it. */
const SHOWN_BY_MODULE: Readonly<Record<string, readonly [file: string, name: string]>> = {
  "compaction.preserve_recent": [
    "replication/upkeep/compaction-plan.test.ts",
    "planExpiry keeps the recent increments, and the last of each level",
  ],
};

function textOf(file: string): string {
  return readFileSync(join(import.meta.dir, "../..", file), "utf8");
}

describe("the effect of", () => {
  test.each(allKeys().map(({ section, key }) => [key, section] as const))("%s is shown", (key, section) => {
    const byModule = SHOWN_BY_MODULE[key];
    if (byModule !== undefined) return expect(textOf(byModule[0])).toContain(`test("${byModule[1]}"`);
    // The key stands in the name of a test, or is the first word of a row.
    const escaped = key.replace(".", "\\.");
    const named = new RegExp(
      `(test\\("[^"]*\\b${escaped}\\b)|(^ +\\["${escaped}", )|(\\)\\("${escaped} )|(^ +"${escaped} )`,
      "m",
    );
    expect([key, named.test(textOf(SHOWN_IN[section] ?? ""))]).toEqual([key, true]);
  });

  test("every section has its file", () => {
    expect(Object.keys(SHOWN_IN).toSorted()).toEqual(SECTIONS.map(({ name }) => name).toSorted());
    for (const key of Object.keys(SHOWN_BY_MODULE)) expect(allKeys().map((one) => one.key)).toContain(key);
  });

  test("compaction.preserve_recent reaches the plan", () => {
    const text = "compaction.preserve_recent = 25\n[[databases]]\npath = 'a'\npreserve_recent = 3\n";
    const file = parseConfigFile(text, "/etc/walrust/walrust.toml", "walrust.toml", {});
    const sources = { words: { given: new Map(), positionals: [] }, environment: {}, file };
    const reached = [null, file.databases[0]!].map(
      (entry) => resolveDatabaseConfig(sources, entry).compaction.preserveRecent,
    );
    expect(reached).toEqual([25, 3]);
  });
});

test("a database's own keys apply to it alone, beside its path and in a table", async () => {
  const { settings, bucket } = folderSettings();
  const entries = `
[[databases]]
path = "often.db"
max_changes = 1
[[databases]]
path = "merged.db"
[databases.compaction]
threshold = 2
[[databases]]
path = "plain.db"
`;
  const stems = ["often", "merged", "plain"];
  const keys = { "sync.wal_sync_interval": "0.02", "compaction.levels": '["30d"]' };
  const { watch, commit } = await configured({ ...settings, ...keys }, { stems, entries });
  const running = await watch();
  for (let txid = 2; txid <= 5; txid++) {
    for (const stem of stems) await commit("row", stem);
    for (const stem of stems) await running.waitForTxid(txid, stem);
  }
  const snapshots = (): number => running.uploads("often").filter(({ kind }) => kind === "snapshot").length;
  await running.waitFor("snapshots", () => snapshots() >= 3);
  await running.waitFor("a merge", () => running.eventsOf("compacted").length > 0);
  expect(await running.stop()).toBe(0);
  const levels = async (name: string): Promise<number[]> => [
    ...new Set((await bucket.objects(name)).map(({ level }) => level)),
  ];
  expect(new Set(running.eventsOf("compacted").map(({ database }) => database))).toEqual(new Set(["merged"]));
  expect([await levels("merged"), await levels("plain")]).toEqual([
    [0, 1, 9],
    [0, 9],
  ]);
  expect((await bucket.objects("plain")).filter(({ level }) => level === 9).length).toBe(1);
  await closeApplications();
}, 30_000);

/**
 * For every key of walrust.toml the test that shows its effect in the running program: a key that has none
 * does nothing, and one that is forgotten here fails.
 *
 * Most are shown by the built executable with that key in its walrust.toml. Where that would take hours, the
 * module that does the work is shown with a clock of its own, and here that the key reaches it.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { resolveDatabaseConfig } from "../../../src/config/config.ts";
import { parseConfigFile } from "../../../src/config/config-file.ts";
import { SECTIONS } from "../../../src/config/settings/options.ts";
import { allKeys } from "../../support/readme/setting-samples.ts";
import { closeApplications, configured, folderSettings } from "../../support/runs/configured-watch.ts";

/** By section, the file whose tests are named after its keys. */
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

/** Those whose effect comes after an hour: the test that shows it, by file and name. */
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
    // In the name of a test, or the first word of a row of one.
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

test("a database's own keys hold for it alone, beside its path and in a table", async () => {
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

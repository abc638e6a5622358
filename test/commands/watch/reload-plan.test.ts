/** The effect of a configuration that is read again. */
import { expect, test } from "bun:test";
import { planReload } from "../../../src/commands/watch/reload-plan.ts";
import { type Config, resolveConfig } from "../../../src/config/config.ts";
import { parseConfigFile } from "../../../src/config/config-file.ts";
import type { OptionSpec } from "../../../src/config/settings/option-spec.ts";
import { SECTIONS, WATCH_GROUPS } from "../../../src/config/settings/options.ts";
import { parseWords } from "../../../src/config/settings/parse-options.ts";
import { allKeys, sampleOf } from "../../support/readme/setting-samples.ts";

/** The settings of a watch with this walrust.toml. */
function configOf(text: string): Config {
  const specs = WATCH_GROUPS.flatMap((group): OptionSpec[] => Object.values(group));
  const file = parseConfigFile(text, "/etc/walrust.toml", "walrust.toml", {});
  return resolveConfig({ words: parseWords([], specs), environment: {}, file });
}

test("planReload takes live settings at once, and keeps the others until a restart", () => {
  const before = configOf('[s3]\nbucket = "s3://a"\n[cache]\nretention = "1h"\n');
  const after = configOf(
    '[s3]\nbucket = "s3://b"\n[cache]\nretention = "2h"\nmax_size = "1GB"\n' +
      '[sync]\nsnapshot_interval = 60\n[heartbeat]\nurl = "http://h/"\n[[webhooks]]\nurl = "http://w/"\n',
  );
  const { config, changed, restart } = planReload(before, after);
  expect(changed).toEqual(["sync.snapshot_interval", "cache.max_size", "heartbeat.url", "webhooks"]);
  expect(restart).toEqual(["s3.bucket", "cache.retention"]);
  const { s3, cache, sync, webhooks } = config;
  expect([s3.bucket, cache.retentionMs, cache.maxSizeBytes]).toEqual(["s3://a", 3_600_000, 1 << 30]);
  expect([sync.snapshotIntervalMs, webhooks.length]).toEqual([60_000, 1]);
});

test.each([
  ["other keys of the same store", 'secret_access_key = "T"', ["s3.secret_access_key"], []],
  [
    "other keys of another store",
    'secret_access_key = "T"\nendpoint = "http://e"',
    [],
    ["s3.endpoint", "s3.secret_access_key"],
  ],
] as const)("planReload of %s", (_, lines, changed, restart) => {
  const text = '[s3]\nbucket = "s3://a"\naccess_key_id = "A"\n';
  const before = configOf(`${text}secret_access_key = "S"\n`);
  const plan = planReload(before, configOf(`${text}${lines}\n`));
  expect([plan.changed, plan.restart.toSorted()]).toEqual([[...changed], [...restart]]);
  expect(plan.config.s3.secretAccessKey).toBe(changed.length === 0 ? "S" : "T");
});

test("planReload keeps the keys where the chain finds them after a restart, or before", () => {
  const chain = configOf('[s3]\nbucket = "s3://a"\n');
  const keys = configOf('[s3]\nbucket = "s3://a"\naccess_key_id = "A"\nsecret_access_key = "S"\n');
  for (const [before, after] of [
    [chain, keys],
    [keys, chain],
  ] as const) {
    const { changed, restart } = planReload(before, after);
    expect([changed, restart.toSorted()]).toEqual([[], ["s3.access_key_id", "s3.secret_access_key"]]);
  }
});

test("planReload finds nothing to do for the same settings", () => {
  const text = '[s3]\nbucket = "s3://a"\n[sync]\nmax_changes = 7\n';
  expect(planReload(configOf(text), configOf(text))).toMatchObject({ changed: [], restart: [] });
});

/** Lines that a key needs beside it. */
const COMPANIONS: Readonly<Record<string, string>> = {
  "s3.session_token": 'access_key_id = "A"\nsecret_access_key = "S"',
  heartbeat: 'url = "https://hc.example/x"',
  webhooks: 'url = "https://hooks.example/x"',
};

// Half of a pair of keys is an error.
const PAIR = ["s3.access_key_id", "s3.secret_access_key"];
const KEYS = allKeys().filter(({ section, key }) => section !== "databases" && !PAIR.includes(key));

test.each(KEYS.map(({ key, section }) => [key, section] as const))(
  "planReload tells whether %s takes effect at once",
  (key, section) => {
    const isList = SECTIONS.some(({ name, isList }) => name === section && isList);
    const header = isList ? `[[${section}]]` : `[${section}]`;
    const beside = COMPANIONS[key] ?? (key.endsWith(".url") ? "" : (COMPANIONS[section] ?? ""));
    const name = key.slice(key.indexOf(".") + 1);
    const before = configOf(isList && beside === "" ? "" : `${header}\n${beside}\n`);
    const { config, changed, restart } = planReload(
      before,
      configOf(`${header}\n${beside}\n${name} = ${sampleOf(key)}\n`),
    );
    const found = isList ? section : key;
    expect([...changed, ...restart]).toContain(found);
    expect(Bun.deepEquals(config, before)).toBe(changed.length === 0);
  },
);

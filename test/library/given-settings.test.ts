/**
 * Every setting of the table is an option of the library, reaches the child with its value, and wins over the
 * environment.
 */
import { describe, expect, test } from "bun:test";
import { type ConfigFile, parseConfigFile } from "../../src/config/config-file.ts";
import { SECTIONS } from "../../src/config/settings/options.ts";
import { configurationText, environmentOf, type Settings } from "../../src/library/given-settings.ts";
import { failureOf } from "../support/failure-of.ts";
import { allKeys, sampleOf } from "../support/readme/setting-samples.ts";

const SINGLE = allKeys().filter(({ section }) => !SECTIONS.find(({ name }) => name === section)!.isList);

function fileOf(text: string): ConfigFile {
  return parseConfigFile(text, "/work/settings", "settings", {});
}

function received(settings: Settings): ConfigFile {
  return fileOf(configurationText(settings));
}

/** The settings with one option, as an application without types gives it. */
function optionOf(section: string, key: string, value: unknown): Settings {
  const { options } = SECTIONS.find(({ name }) => name === section)!;
  const [name] = Object.entries(options).find(([, spec]) => spec.key === key)!;
  return (section === "s3" ? { [name]: value } : { [section]: { [name]: value } }) as Settings;
}

const failure = (settings: object) => failureOf((async () => configurationText(settings as Settings))());

test.each(SINGLE.map(({ section, key }) => [section, key]))("an option of [%s]: %s", (section, key) => {
  const file = fileOf(`[${section}]\n${key.slice(section.length + 1)} = ${sampleOf(key)}\n`);
  const { value } = file.values.get(key)!;
  const { values } = received(optionOf(section, key, value));
  expect([...values].map(([name, found]) => [name, found.value])).toEqual([[key, value]]);
});

test("configurationText hands over databases with settings of their own, and webhooks", () => {
  const file = received({
    bucket: "file:///backup",
    databases: [
      "data/app.db",
      { path: "/srv/*/app.db", prefix: "tenants", allowEmpty: true, compaction: { enabled: false } },
      { path: "b.db", name: "b", sync: { walSyncIntervalMs: 250 }, retention: { hourly: 3 } },
    ],
    webhooks: [{ url: "https://hooks.example/x", events: ["auth_failure"], secret: "s" }],
  });
  const overrides = file.databases.map(({ overrides }) =>
    [...overrides].map(([key, { value }]) => [key, value]),
  );
  expect(file.databases).toMatchObject([
    { path: "/work/data/app.db", isGlob: false, name: null },
    { path: "/srv/*/app.db", isGlob: true, prefix: "tenants", allowEmpty: true },
    { path: "/work/b.db", name: "b" },
  ]);
  expect(overrides).toEqual([
    [],
    [["compaction.enabled", false]],
    [
      ["sync.wal_sync_interval", 250],
      ["retention.hourly", 3],
    ],
  ]);
  const [webhook] = file.webhooks;
  expect([...webhook!.values.values()].map(({ value }) => value)).toEqual([
    "https://hooks.example/x",
    ["auth_failure"],
    "s",
  ]);
});

test("configurationText hands over any text as it is", () => {
  const dollar = "$";
  const text = `a"b\\c${dollar}{HOME}$${dollar}{X}'é`;
  const name = `a${dollar}{b}`;
  const file = received({ secretAccessKey: text, databases: [{ path: "/x.db", name }] });
  expect(file.values.get("s3.secret_access_key")!.value).toBe(text);
  expect(file.databases[0]!.name).toBe(name);
});

test("configurationText leaves out what is undefined, and nothing becomes an empty file", () => {
  const file = received({ bucket: undefined, sync: undefined, cache: { path: undefined }, databases: [] });
  expect([file.values.size, file.databases.length]).toEqual([0, 0]);
  expect(received({}).values.size).toBe(0);
});

describe("configurationText names what it refuses", () => {
  const REFUSED: readonly (readonly [object, string, string?])[] = [
    [{ bukket: "x" }, "Unknown option bukket", "Did you mean bucket?"],
    [
      { s3: {} },
      "Unknown option s3",
      "The settings of [s3] stand at the top: bucket, endpoint, region and so on",
    ],
    [
      { sync: { walSyncInterval: 1 } },
      "Unknown option sync.walSyncInterval",
      "Did you mean sync.walSyncIntervalMs?",
    ],
    [
      { databases: [{ path: "a" }, { pat: "b" }] },
      "Unknown option databases[1].pat",
      "Did you mean databases[1].path?",
    ],
    [{ databases: [{ path: "a", sync: { x: 1 } }] }, "Unknown option databases[0].sync.x"],
    [{ databases: "a.db" }, "databases is no list"],
    [{ databases: [7] }, "databases[0] is no object"],
    [{ sync: [] }, "sync is no object"],
    [
      { sync: { walSyncIntervalMs: 1 } },
      "sync.walSyncIntervalMs, in seconds, is 0.001, expected seconds from 0.01 to 3600",
    ],
    [{ cache: { maxSizeBytes: "5GB" } }, 'cache.maxSizeBytes is "5GB", expected a number'],
    [{ cache: { retentionMs: "24h" } }, 'cache.retentionMs is "24h", expected a number'],
    [{ sse: "DES" }, 'sse is "DES", expected one of AES256, aws:kms, aws:kms:dsse'],
    [{ sync: { onStartup: "yes" } }, 'sync.onStartup is "yes", expected true or false'],
    [{ secretAccessKey: 5 }, "secretAccessKey is not usable, expected a text"],
  ];
  test.each(REFUSED.map((row) => [row] as const))("%j", async ([settings, message, hint]) => {
    const error = await failure(settings);
    expect([error.code, error.message, error.hint]).toEqual(["usage", message, hint]);
  });
});

test.each(SINGLE.map(({ section, key, spec }) => [key, section, spec] as const))(
  "environmentOf hides the variables of a given %s, and no other",
  (key, section, { env = [] }) => {
    const own = `WALRUST_${key.replace(".", "_").toUpperCase()}`;
    const names = new Set([...env, own, `${own}_FILE`]);
    const variables = Object.fromEntries([...names].map((name) => [name, "from outside"]));
    const other = { PATH: "/bin", WALRUST_TRACE: "1" };
    const given = optionOf(section, key, "anything");
    expect(environmentOf(given, { ...variables, ...other, ABSENT: undefined })).toEqual(other);
    expect(environmentOf({}, { ...variables, ...other })).toEqual({ ...variables, ...other });
  },
);

test("environmentOf hides the webhook of the environment when webhooks are given", () => {
  const environment = { WALRUST_WEBHOOKS_URL: "https://x", WALRUST_WEBHOOKS_SECRET_FILE: "/s", PATH: "/bin" };
  expect(environmentOf({ webhooks: [{ url: "https://y" }] }, environment)).toEqual({ PATH: "/bin" });
  expect(environmentOf({ databases: ["a.db"] }, environment)).toEqual(environment);
});

test("environmentOf takes credentials from one place: a given key hides a token and a profile", () => {
  const environment = { AWS_SESSION_TOKEN: "t", AWS_PROFILE: "p", AWS_ACCESS_KEY_ID: "k", AWS_REGION: "r" };
  expect(environmentOf({ secretAccessKey: "s" }, environment)).toEqual({ AWS_REGION: "r" });
  expect(environmentOf({ region: "r2" }, environment)).toEqual({
    AWS_SESSION_TOKEN: "t",
    AWS_PROFILE: "p",
    AWS_ACCESS_KEY_ID: "k",
  });
});

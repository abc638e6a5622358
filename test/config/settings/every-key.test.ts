/**
 * Every key of walrust.toml changes its setting in the Config, and `explain` prints the setting with its
 * origin. Flags, environment and entries override a key as documented.
 */
import { describe, expect, test } from "bun:test";
import { explainDatabase } from "../../../src/commands/explain/explained-database.ts";
import { type ShownSetting, shownSettings } from "../../../src/commands/explain/shown-settings.ts";
import { resolveConfig, resolveDatabaseConfig } from "../../../src/config/config.ts";
import { type ConfigFile, parseConfigFile } from "../../../src/config/config-file.ts";
import type { Sources } from "../../../src/config/resolve.ts";
import type { OptionSpec } from "../../../src/config/settings/option-spec.ts";
import { rangeText, valueText } from "../../../src/config/settings/option-text.ts";
import { keyName, SECTIONS, WATCH_GROUPS } from "../../../src/config/settings/options.ts";
import { parseWords } from "../../../src/config/settings/parse-options.ts";
import { ownVariableOrNull } from "../../../src/config/settings/variables.ts";
import { allKeys, SECRET_SAMPLES, sampleOf, variableSampleOf } from "../../support/readme/setting-samples.ts";
import { tempFolder } from "../../support/temp.ts";

/** The other keys that a key needs to be valid. */
const COMPANIONS: Readonly<Record<string, string>> = {
  "s3.access_key_id": 'secret_access_key = "SECRETSAMPLE"',
  "s3.secret_access_key": 'access_key_id = "AKIDSAMPLE"',
  "s3.session_token": 'access_key_id = "AKIDSAMPLE"\nsecret_access_key = "SECRETSAMPLE"',
  "heartbeat.interval": 'url = "https://hc.example/x"',
  "heartbeat.max_lag": 'url = "https://hc.example/x"',
  "webhooks.events": 'url = "https://hooks.example/x"',
  "webhooks.secret": 'url = "https://hooks.example/x"',
};

function fileOf(text: string, environment: Record<string, string> = {}): ConfigFile {
  return parseConfigFile(text, "/etc/walrust/walrust.toml", "walrust.toml", environment);
}

function sourcesOf(text: string, words: string[] = [], environment: Record<string, string> = {}): Sources {
  const specs: OptionSpec[] = WATCH_GROUPS.flatMap((group): OptionSpec[] => Object.values(group));
  return { words: parseWords(words, specs), environment, file: fileOf(text, environment) };
}

function sectionText(key: string): string {
  const [section, name] = key.split(".") as [string, string];
  const header = SECTIONS.find((one) => one.name === section)?.isList ? `[[${section}]]` : `[${section}]`;
  return `${header}\n${name} = ${sampleOf(key)}\n${COMPANIONS[key] ?? ""}\n`;
}

function shownOf(sources: Sources, key: string): ShownSetting | undefined {
  return shownSettings(sources).find((one) => `${one.section.replace(/\.\d+$/, "")}.${one.key}` === key);
}

/** The Config, and the databases that the file lists. */
function effectOf(sources: Sources): unknown {
  return Bun.inspect(
    [
      resolveConfig(sources),
      sources.file?.databases.map(({ path, name, prefix, allowEmpty }) => [path, name, prefix, allowEmpty]),
    ],
    { depth: 10 },
  );
}

const SETTINGS = allKeys().filter(({ section }) => section !== "databases");

describe("every key", () => {
  test.each(SETTINGS.map(({ key, spec }) => [key, spec] as const))("%s changes what explain shows", (key) => {
    const companion = companionAlone(key);
    const [section] = key.split(".") as [string];
    const header = SECTIONS.find((one) => one.name === section)?.isList ? `[[${section}]]` : `[${section}]`;
    const without = shownOf(sourcesOf(companion === "" ? "" : `${header}\n${companion}\n`), key);
    const shown = shownOf(sourcesOf(sectionText(key)), key);
    expect(shown?.text).toBeTruthy();
    expect(shown?.text).not.toBe(without?.text ?? null);
    expect([shown?.origin, shown?.from]).toEqual(["file", "walrust.toml:2:1"]);
  });

  test.each(allKeys().map(({ key }) => key))("%s changes the Config", (key) => {
    const isDatabase = key.startsWith("databases.");
    const path = key === "databases.allow_empty" ? "/x/*.db" : "/x";
    const base = isDatabase ? `[[databases]]\npath = "${path}"\n` : "";
    const [section] = key.split(".") as [string];
    const header = SECTIONS.find((one) => one.name === section)?.isList ? `[[${section}]]` : `[${section}]`;
    const companion = companionAlone(key);
    const before = companion === "" ? base : `${header}\n${companion}\n`;
    const after =
      key === "databases.path" ? sectionText(key) : base === "" ? sectionText(key) : `${base}${keyLine(key)}`;
    expect(effectOf(sourcesOf(after))).not.toBe(effectOf(sourcesOf(before)));
  });

  test.each(allKeys().map(({ key, spec }) => [key, spec] as const))(
    "the range of %s has a text, unless the key takes any text",
    (key, spec) => {
      if (["text", "texts"].includes(spec.kind) && spec.choices === undefined) return;
      expect([key, rangeText(spec)]).toEqual([key, expect.any(String)]);
    },
  );

  test("explain shows no secret, with every key set", () => {
    const sections = new Map<string, string[]>();
    for (const { section, key } of allKeys()) {
      if (key === "s3.profile" || key === "databases.allow_empty") continue;
      sections.set(section, [...(sections.get(section) ?? []), keyLine(key)]);
    }
    const text = [...sections]
      .map(
        ([name, lines]) =>
          `${["webhooks", "databases"].includes(name) ? `[[${name}]]` : `[${name}]`}\n${lines.join("")}`,
      )
      .join("\n");
    const shown = JSON.stringify(shownSettings(sourcesOf(text)));
    for (const secret of SECRET_SAMPLES) expect(shown).not.toContain(secret);
    expect(shown).toContain("(set, not shown)");
    expect(shown).toContain("https://hooks.example/…");
  });
});

const OVERRIDABLE = allKeys().filter(({ section }) =>
  SECTIONS.some(({ name, isPerDatabase }) => name === section && isPerDatabase),
);

describe("every key of a database", () => {
  const path = `${tempFolder("every-key")}/app.db`;
  const found = (sources: Sources) => {
    const [entry] = sources.file!.databases;
    return { path, name: "app", paths: {} as never, entry: entry!, isDiscovered: false, place: {} as never };
  };

  test.each(OVERRIDABLE.map(({ key, spec, section }) => [key, spec, section] as const))(
    "%s can be set for one database, beside path and in a table",
    (key, spec, section) => {
      const head = `[[databases]]\npath = ${JSON.stringify(path)}\n`;
      const flat = `${head}${keyLine(key)}`;
      const nested = `${head}[databases.${section}]\n${keyLine(key)}`;
      // Beside a path, "enabled" would become the database's own key.
      const texts = keyName(spec) === "enabled" ? [nested] : [flat, nested];
      for (const text of texts) {
        const sources = sourcesOf(text);
        const explained = explainDatabase(sources, resolveConfig(sources), found(sources));
        expect(explained.overrides.map(({ section, key }) => `${section}.${key}`)).toEqual([key]);
        const { sync, compaction, retention } = explained.config;
        expect({ sync, compaction, retention }).toEqual(
          resolveDatabaseConfig(sourcesOf(sectionText(key)), null),
        );
        expect(resolveDatabaseConfig(sources, null)).toEqual(resolveDatabaseConfig(sourcesOf(""), null));
      }
    },
  );

  test("enabled beside path is refused with the right spelling", () => {
    expect(() => fileOf('[[databases]]\npath = "/a"\nenabled = false\n')).toThrow("cannot be switched off");
  });
});

describe("precedence", () => {
  const both = allKeys().filter(({ spec }) => spec.flag !== undefined);

  test.each(both.map(({ key, spec }) => [key, spec] as const))("a flag goes before %s", (key, spec) => {
    const words = flagWords(spec);
    const shown = shownOf(sourcesOf(sectionText(key), words), key);
    expect([shown?.origin, shown?.from]).toEqual(["flag", `--${spec.flag}`]);
    const byDefault = shownOf(sourcesOf(sectionText(key)), key);
    // A flag that is not given has a default, and the default never overrides the file.
    expect(byDefault?.origin).toBe("file");
  });

  const others = allKeys().filter(({ spec }) => spec.env !== undefined);

  test.each(others.map(({ key, spec }) => [key, spec] as const))(
    "the variable of other tools overrides %s, a flag overrides both",
    (key, spec) => {
      const environment: Record<string, string> = { [spec.env![0]!]: "from-environment" };
      if (key === "s3.access_key_id") environment["AWS_SECRET_ACCESS_KEY"] = "x";
      if (key === "s3.secret_access_key") environment["AWS_ACCESS_KEY_ID"] = "x";
      if (key === "s3.session_token") {
        Object.assign(environment, { AWS_ACCESS_KEY_ID: "x", AWS_SECRET_ACCESS_KEY: "x" });
      }
      const shown = shownOf(sourcesOf(sectionText(key), [], environment), key);
      expect([shown?.origin, shown?.from]).toEqual(["environment", spec.env![0]!]);
      if (spec.flag === undefined) return;
      const byFlag = shownOf(sourcesOf(sectionText(key), flagWords(spec), environment), key);
      expect(byFlag?.origin).toBe("flag");
    },
  );

  test.each(SETTINGS.map(({ key, spec }) => [key, spec] as const))(
    "the own variable gives what %s in the file gives, and a flag overrides the variable",
    (key, spec) => {
      const environment = variablesOf(key);
      const inFile = sourcesOf(sectionText(key));
      const alone = sourcesOf("", [], environment);
      expect(resolveConfig(alone)).toEqual(resolveConfig(inFile));
      const shown = shownOf(alone, key);
      expect(shown).toEqual({
        ...shownOf(inFile, key)!,
        origin: "environment",
        from: ownVariableOrNull(spec)!,
      });
      if (spec.flag === undefined) return;
      expect(shownOf(sourcesOf("", flagWords(spec), environment), key)?.origin).toBe("flag");
    },
  );

  test.each(
    SETTINGS.filter(({ section }) => section !== "webhooks").map(({ key, spec }) => [key, spec] as const),
  )("the own variable overrides %s in the file, and the variable of other tools", (key, spec) => {
    const environment = variablesOf(key);
    for (const other of spec.env ?? []) environment[other] = "of-another-tool";
    const shown = shownOf(sourcesOf(sectionText(key), [], environment), key);
    expect([shown?.from, shown?.text]).toEqual([
      ownVariableOrNull(spec)!,
      shownOf(sourcesOf("", [], environment), key)!.text,
    ]);
  });

  test.each(OVERRIDABLE.map(({ key }) => key))("the own variable overrides %s of a database", (key) => {
    const [section] = key.split(".") as [string];
    const spec = OVERRIDABLE.find((one) => one.key === key)!.spec;
    const other = spec.kind === "durations" ? '["20s"]' : otherSample(spec);
    const text = `[[databases]]\npath = "/a"\n[databases.${section}]\n${keyLine(key, other)}`;
    const sources = sourcesOf(text, [], variablesOf(key));
    expect(resolveDatabaseConfig(sources, sources.file!.databases[0]!)).toEqual(
      resolveDatabaseConfig(sourcesOf(sectionText(key)), null),
    );
  });

  test.each(
    OVERRIDABLE.filter(({ spec }) => spec.flag !== undefined).map(({ key, spec }) => [key, spec] as const),
  )("%s of a database goes before the section, a flag before both", (key, spec) => {
    const text = `${sectionText(key)}[[databases]]\npath = "/a"\n${keyLine(key, otherSample(spec))}`;
    const sources = sourcesOf(text);
    const [entry] = sources.file!.databases;
    const own = resolveDatabaseConfig(sources, entry!);
    const section = resolveDatabaseConfig(sources, null);
    expect(own).not.toEqual(section);
    const byFlag = sourcesOf(text, flagWords(spec));
    expect(resolveDatabaseConfig(byFlag, byFlag.file!.databases[0]!)).toEqual(
      resolveDatabaseConfig(byFlag, null),
    );
  });
});

/** The other keys that a key needs, if they are valid without it. */
function companionAlone(key: string): string {
  return key === "s3.access_key_id" || key === "s3.secret_access_key" ? "" : (COMPANIONS[key] ?? "");
}

function keyLine(key: string, sample = sampleOf(key)): string {
  return `${key.split(".")[1]} = ${sample}\n`;
}

/** The sample of a key, and the other keys that the key needs, as variables. */
function variablesOf(key: string): Record<string, string> {
  const companions = (COMPANIONS[key] ?? "").split("\n").filter((line) => line !== "");
  const [section] = key.split(".") as [string];
  const named = (name: string): string => `WALRUST_${section}_${name}`.toUpperCase();
  return Object.fromEntries([
    ...companions
      .map((line) => line.split(" = ") as [string, string])
      .map(([name, text]) => [named(name), text.replaceAll('"', "")]),
    [named(key.split(".")[1]!), variableSampleOf(key)],
  ]);
}

/** A value that is neither the sample nor the default. */
function otherSample(spec: OptionSpec): string {
  if (spec.kind === "switch") return String(spec.default);
  return String((spec.min ?? 0) + 7);
}

/** The flag with a value that is neither the sample nor the default. */
function flagWords(spec: OptionSpec): string[] {
  const flag = `--${spec.flag}`;
  if (spec.kind === "switch") return spec.value === undefined ? [flag] : [flag, String(spec.default)];
  const value =
    spec.kind === "text" ? "other" : (valueText({ ...spec, kind: "count" }, (spec.min ?? 0) + 5) ?? "");
  return [flag, value];
}

/**
 * The documented flags of each verb. Each flag is parsed with its value, and refused without a value or if
 * given twice; `--push-to` is a list. No other flag exists. A flag changes only its own setting of the file.
 */
import { describe, expect, test } from "bun:test";
import { compactVerb } from "../../../src/commands/compact.ts";
import { doctorVerb } from "../../../src/commands/doctor.ts";
import { shownSettings } from "../../../src/commands/explain/shown-settings.ts";
import { explainVerb } from "../../../src/commands/explain.ts";
import { listVerb } from "../../../src/commands/list.ts";
import { pragmaVerb } from "../../../src/commands/pragma.ts";
import { reloadVerb } from "../../../src/commands/reload.ts";
import { replicateVerb } from "../../../src/commands/replicate.ts";
import { restoreVerb } from "../../../src/commands/restore.ts";
import { serveVerb } from "../../../src/commands/serve.ts";
import { verbHelp } from "../../../src/commands/shared/help.ts";
import { optionsOf, type Verb } from "../../../src/commands/shared/verb.ts";
import { snapshotVerb } from "../../../src/commands/snapshot.ts";
import { statusVerb } from "../../../src/commands/status.ts";
import { syncVerb } from "../../../src/commands/sync.ts";
import { undoVerb } from "../../../src/commands/undo.ts";
import { verifyVerb } from "../../../src/commands/verify.ts";
import { watchVerb } from "../../../src/commands/watch.ts";
import { parseConfigFile } from "../../../src/config/config-file.ts";
import { keyName, SECTIONS } from "../../../src/config/settings/options.ts";
import { optionValues, parseWords } from "../../../src/config/settings/parse-options.ts";
import { WalrustError } from "../../../src/errors.ts";
import { allKeys, sampleOf } from "../../support/readme/setting-samples.ts";

const GLOBAL = ["--config x.toml", "--json", "--log-level debug", "--log-format json", "--help", "--version"];
const STORE = ["--bucket s3://bucket/x", "--endpoint http://127.0.0.1:9000"];
const STATE_DIR = "--state-dir /var/lib/walrust";
const TIMEOUT = "--timeout 60";
const WATCH = [
  ...STORE,
  "--snapshot-interval 3600",
  "--wal-sync-interval 0.5",
  "--checkpoint-interval 60",
  "--min-checkpoint-pages 1000",
  "--wal-truncate-threshold 121359",
  "--validation-interval 0",
  "--max-changes 0",
  "--max-interval 0",
  "--on-idle 0",
  "--on-startup false",
  "--compact-after-snapshot",
  "--compact-interval 0",
  "--compact-threshold 50",
  "--compact-size 16MB",
  "--compact-age 24h",
  "--retain-hourly 24",
  "--retain-daily 7",
  "--retain-weekly 12",
  "--retain-monthly 12",
  "--metrics-port 16767",
  "--no-metrics",
  STATE_DIR,
  "--cache-dir /var/cache",
  "--cache-retention 24h",
  "--cache-max-size 5GB",
  "--no-cache",
  "--uploader-concurrency 128",
  "--max-retries 5",
  "--base-delay-ms 100",
  "--max-delay-ms 30000",
  "--no-circuit-breaker",
  "--circuit-breaker-threshold 10",
];
const PROGRESS = "--progress";
const PUSH = ["--push-to http://127.0.0.1:8080", "--push-token-file token", "--push-ca-file ca.pem", "--ack"];
const HIDDEN = ["--independent-tasks", "--enable-cache"];

/** By verb, every flag with a value as on a command line; a switch has no value. */
const PROMISED: readonly (readonly [verb: Verb, flags: readonly string[]])[] = [
  [watchVerb, [...WATCH, ...HIDDEN, "--once", "--restore-if-missing", "--exec app", ...PUSH, PROGRESS]],
  [snapshotVerb, [...STORE, STATE_DIR, TIMEOUT, PROGRESS]],
  [
    restoreVerb,
    [
      ...STORE,
      "--output restored.db",
      "--all",
      "--into data",
      "--jobs 8",
      "--prefix tenants",
      "--point-in-time 2026-03-01T12:00:00Z",
      "--force",
      "--if-db-not-exists",
      "--if-replica-exists",
      "--dry-run",
      "--integrity-check quick",
      "--strict",
      "--cache-dir /var/cache",
      STATE_DIR,
      TIMEOUT,
      PROGRESS,
    ],
  ],
  [listVerb, [...STORE, "--local", STATE_DIR, TIMEOUT]],
  [verifyVerb, [...STORE, "--all", "--fix", "--read-data=25%", "--restore", STATE_DIR, TIMEOUT, PROGRESS]],
  [undoVerb, [STATE_DIR]],
  [
    compactVerb,
    [
      ...STORE,
      "--all",
      "--hourly 24",
      "--daily 7",
      "--weekly 12",
      "--monthly 12",
      "--force",
      STATE_DIR,
      TIMEOUT,
      PROGRESS,
    ],
  ],
  [
    replicateVerb,
    [
      "--bucket s3://bucket/x",
      "--endpoint http://127.0.0.1:9000",
      "--local replica.db",
      "--interval 5s",
      "--once",
      PROGRESS,
    ],
  ],
  [
    serveVerb,
    [
      ...STORE,
      "--db replica.db",
      "--dir replicas",
      "--port 8080",
      "--address 127.0.0.1",
      "--token-file token",
      "--tls-cert cert.pem",
      "--tls-key key.pem",
    ],
  ],
  [statusVerb, [...STORE, "--all", STATE_DIR]],
  [syncVerb, [...STORE, "--all", STATE_DIR, TIMEOUT]],
  [reloadVerb, [...STORE, STATE_DIR]],
  [doctorVerb, [...STORE, "--all", STATE_DIR]],
  [explainVerb, [...WATCH, ...HIDDEN, "--commits-per-second 5", "--pages-per-commit 4"]],
  [pragmaVerb, ["--output pragmas.sql", "--comments false"]],
];

/** Reads all options of a verb from words. */
function valuesOf(verb: Verb, words: readonly string[]): Map<string, unknown> {
  const specs = optionsOf(verb);
  const parsed = parseWords(words, specs);
  const values = optionValues(parsed, Object.fromEntries(specs.map((spec) => [spec.flag ?? spec.key, spec])));
  return new Map(Object.entries(values));
}

/** The message for refused words, which must end with exit code 2. */
function refusalOf(verb: Verb, words: readonly string[]): string {
  try {
    valuesOf(verb, words);
  } catch (error) {
    if (!(error instanceof WalrustError)) throw error;
    expect([error.code, error.exitCode]).toEqual(["usage", 2]);
    return error.message;
  }
  throw new Error(`${words.join(" ")} was understood`);
}

const VERBS = PROMISED.map(([verb, flags]) => [verb.name, verb, flags] as const);
const FLAGS = PROMISED.flatMap(([verb, flags]) =>
  [...flags, ...GLOBAL].map((text) => [verb.name, text, verb] as const),
);

describe("walrust", () => {
  test.each(FLAGS)("%s %s", (_, text, verb) => {
    const [flag, ...rest] = text.split(/[ =]/) as [string, ...string[]];
    const value = rest[0];
    const before = valuesOf(verb, []).get(flag.slice(2));
    const words = text.split(" ");
    const given = parseWords(words, optionsOf(verb)).given.get(flag.slice(2));
    expect([given, valuesOf(verb, words).has(flag.slice(2))]).toEqual([switchOrText(value), true]);
    if (value !== undefined) {
      const joined = valuesOf(verb, [`${flag}=${value}`]).get(flag.slice(2));
      expect(joined).toEqual(valuesOf(verb, words).get(flag.slice(2)));
      expect(refusalOf(verb, [`${flag}=`])).toStartWith(`${flag} is `);
    } else expect(valuesOf(verb, words).get(flag.slice(2))).not.toBe(before);
    if (flag === "--push-to") expect(valuesOf(verb, [...words, ...words]).get("push-to")).toEqual([value]);
    else expect(refusalOf(verb, [...words, ...words])).toBe(`${flag} is given twice`);
    const takesWord = text.includes(" ") && value !== "false";
    if (takesWord) expect(refusalOf(verb, [flag])).toStartWith(`${flag} needs a value`);
    if (takesWord) expect(refusalOf(verb, [flag, "--json"])).toStartWith(`${flag} needs a value`);
  });

  test.each(VERBS)("%s has no other flags", (_, verb, flags) => {
    const promised = [...flags, ...GLOBAL].map((text) => text.split(/[ =]/)[0]!);
    const real = optionsOf(verb).flatMap(({ flag }) => (flag === undefined ? [] : [`--${flag}`]));
    expect(real.toSorted()).toEqual(promised.toSorted());
    expect(refusalOf(verb, ["--no-such-flag"])).toBe("Unknown option --no-such-flag");
    expect(refusalOf(verb, ["-z"])).toBe("Unknown option -z");
    expect(refusalOf(verb, ["--secret-access-key=hunter2"])).toBe("Unknown option --secret-access-key");
  });

  test.each(PROMISED)(
    "the help of %p shows its flags, without the spellings of the Rust version",
    (verb, flags) => {
      const help = verbHelp(verb);
      for (const text of [...flags, ...GLOBAL]) {
        const flag = text.split(/[ =]/)[0]!;
        const pattern = new RegExp(`^ +(-\\w, )? *${flag}[ [\\n]`, "m");
        expect([flag, pattern.test(help)]).toEqual([flag, !HIDDEN.includes(flag)]);
      }
      expect(help).not.toContain("undefined");
    },
  );

  test("hidden spellings are never suggested and change nothing", () => {
    expect(refusalOf(watchVerb, ["--independent-task"])).toBe("Unknown option --independent-task");
    const plain = shownSettings({ words: parseWords([], optionsOf(watchVerb)), environment: {}, file: null });
    const words = parseWords(HIDDEN, optionsOf(watchVerb));
    expect(shownSettings({ words, environment: {}, file: null })).toEqual(plain);
  });

  test("short flags are those of every verb that has the long one", () => {
    for (const [verb] of PROMISED) {
      const specs = optionsOf(verb);
      const alias = (flag: string): string | undefined => specs.find((spec) => spec.flag === flag)?.alias;
      for (const [flag, letter] of [
        ["bucket", "b"],
        ["output", "o"],
        ["help", "h"],
      ] as const) {
        expect([verb.name, flag, alias(flag) ?? letter]).toEqual([verb.name, flag, letter]);
      }
    }
  });
});

/** The text of each option; switches without a value are true. */
function switchOrText(value: string | undefined): string | boolean {
  if (value === undefined) return true;
  return value === "true" || value === "false" ? value === "true" : value;
}

/** A file with every key that can stand beside the others. */
function fullFile() {
  const skipped = ["s3.profile"];
  const text = SECTIONS.filter(({ name }) => name !== "databases")
    .map(({ name, isList, options }) => {
      const specs = Object.values(options).filter(({ key }) => !skipped.includes(key ?? ""));
      const lines = specs.map((spec) => `${keyName(spec)} = ${sampleOf(spec.key ?? "")}`);
      return `${isList ? `[[${name}]]` : `[${name}]`}\n${lines.join("\n")}\n`;
    })
    .join("\n");
  return parseConfigFile(text, "/etc/walrust/walrust.toml", "walrust.toml", {});
}

describe("with every key in the file", () => {
  const file = fullFile();
  const originsOf = (words: readonly string[]): Map<string, string> => {
    const parsed = parseWords(words, optionsOf(watchVerb));
    const shown = shownSettings({ words: parsed, environment: {}, file });
    return new Map(shown.map(({ section, key, origin }) => [`${section}.${key}`, origin]));
  };

  test("no setting keeps its default", () => {
    const origins = originsOf([]);
    origins.delete("s3.profile");
    expect(new Set(origins.values())).toEqual(new Set(["file"]));
    expect(origins.size).toBe(allKeys().filter(({ section }) => section !== "databases").length - 1);
  });

  test.each(WATCH)("%s overrides its own key and no other", (text) => {
    const spec = optionsOf(watchVerb).find(({ flag }) => `--${flag}` === text.split(" ")[0])!;
    const expected = new Map(originsOf([])).set(spec.key ?? "", "flag");
    expect(originsOf(text.split(" "))).toEqual(expected);
  });
});

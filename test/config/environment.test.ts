/** Settings from environment variables: one value of each kind, the files of secrets, and the check. */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { resolveConfig } from "../../src/config/config.ts";
import { parseConfigFile } from "../../src/config/config-file.ts";
import { checkEnvironment, splitEnvironment, variableValueOrNull } from "../../src/config/environment.ts";
import type { OptionSpec } from "../../src/config/settings/option-spec.ts";
import { SECTIONS } from "../../src/config/settings/options.ts";
import { WalrustError } from "../../src/errors.ts";
import { tempFolder } from "../support/temp.ts";

const folder = tempFolder("environment");

function specOf(key: string): OptionSpec {
  const specs = SECTIONS.flatMap(({ options }): OptionSpec[] => Object.values(options));
  return specs.find((spec) => spec.key === key)!;
}

/** The value of a variable, or the message and hint of its error. */
function readingOf(key: string, environment: Record<string, string>): unknown {
  try {
    return variableValueOrNull(specOf(key), environment)?.value;
  } catch (error) {
    if (!(error instanceof WalrustError)) throw error;
    expect([error.code, error.exitCode]).toEqual(["config", 2]);
    return error.hint === undefined ? error.message : `${error.message} | ${error.hint}`;
  }
}

describe("variableValueOrNull", () => {
  test.each([
    ["sync.wal_sync_interval", "WALRUST_SYNC_WAL_SYNC_INTERVAL", "0.25", 250],
    ["sync.max_changes", "WALRUST_SYNC_MAX_CHANGES", "1000", 1000],
    ["sync.on_startup", "WALRUST_SYNC_ON_STARTUP", "false", false],
    ["cache.retention", "WALRUST_CACHE_RETENTION", "90m", 5_400_000],
    ["cache.max_size", "WALRUST_CACHE_MAX_SIZE", "500MB", 500 * 1024 ** 2],
    ["retry.base_delay_ms", "WALRUST_RETRY_BASE_DELAY_MS", "50", 50],
    ["compaction.levels", "WALRUST_COMPACTION_LEVELS", "10s, 1m,2h", [10_000, 60_000, 7_200_000]],
    ["webhooks.events", "WALRUST_WEBHOOKS_EVENTS", "auth_failure", ["auth_failure"]],
    ["s3.endpoint", "AWS_ENDPOINT_URL", "http://e", "http://e"],
    ["sync.max_changes", "WALRUST_SYNC_MAX_CHANGES", "", undefined],
    ["metrics.port", "WALRUST_METRICS_PORT", "tcp://10.0.0.7:16767", undefined],
    ["metrics.port", "WALRUST_METRICS_PORT", "9100", 9100],
  ])("%s from %s=%s", (key, variable, text, value) => {
    expect(readingOf(key, { [variable]: text })).toEqual(value);
  });

  test.each([
    ["sync.max_changes", "WALRUST_SYNC_MAX_CHANGES", "many", 'is "many", expected a whole number from 0'],
    ["sync.on_startup", "WALRUST_SYNC_ON_STARTUP", "yes", 'is "yes", expected true or false'],
    ["compaction.levels", "WALRUST_COMPACTION_LEVELS", "1h,5m", "expected durations that grow"],
    ["compaction.levels", "WALRUST_COMPACTION_LEVELS", "1s,", 'is "", expected a duration'],
    ["webhooks.events", "WALRUST_WEBHOOKS_EVENTS", "all", 'is "all", expected one of sync_failed'],
    ["heartbeat.url", "WALRUST_HEARTBEAT_URL", "hc.example/SECRET", "is not usable, expected a URL"],
  ])("names the variable of a wrong value: %s", (key, variable, text, message) => {
    const reading = readingOf(key, { [variable]: text });
    expect(reading).toStartWith(variable);
    expect(reading).toContain(message);
    expect(reading).not.toContain("SECRET");
  });

  test("reads a secret from the file that the second variable names", () => {
    const path = join(folder, "secret");
    writeFileSync(path, "hunter2\r\n");
    const variable = "WALRUST_S3_SECRET_ACCESS_KEY_FILE";
    const found = variableValueOrNull(specOf("s3.secret_access_key"), { [variable]: path });
    expect(found).toEqual({ value: "hunter2", variable });
    writeFileSync(path, "two\nlines\n");
    const reading = (text: string) => readingOf("s3.secret_access_key", { [variable]: text });
    expect(reading(path)).toBe(`the file of ${variable} has a line break or another control character`);
    expect(reading("hunter2")).toBe(
      `Cannot use the file that ${variable} names: ENOENT | Give the path of a file that holds the secret`,
    );
    const both = { [variable]: path, WALRUST_S3_SECRET_ACCESS_KEY: "x" };
    expect(readingOf("s3.secret_access_key", both)).toBe(
      `WALRUST_S3_SECRET_ACCESS_KEY and ${variable} are both set | Unset one of them`,
    );
    // Only a secret has a second variable.
    expect(readingOf("s3.region", { WALRUST_S3_REGION_FILE: path })).toBeUndefined();
  });
});

describe("checkEnvironment", () => {
  test("refuses a wrong value of any setting", () => {
    expect(() => checkEnvironment({ WALRUST_RETENTION_DAILY: "-1" })).toThrow(
      'WALRUST_RETENTION_DAILY is "-1", expected a whole number from 0 to 10000',
    );
    expect(checkEnvironment({ WALRUST_RETENTION_DAILY: "1", AWS_REGION: "a\nb" })).toEqual([]);
  });

  test("warns about a variable that resembles a setting, without its value", () => {
    expect(checkEnvironment({ WALRUST_S3_SECRET_ACCES_KEY: "hunter2", WALRUST_PEERS: "required" })).toEqual([
      {
        message:
          "the environment variable WALRUST_S3_SECRET_ACCES_KEY is no setting of walrust, and has no effect",
        hint: "Did you mean WALRUST_S3_SECRET_ACCESS_KEY?",
      },
    ]);
  });
});

test("splitEnvironment separates the variables of walrust", () => {
  const { own, others } = splitEnvironment({ WALRUST_S3_REGION: "w", AWS_REGION: "a" });
  expect([own, others]).toEqual([{ WALRUST_S3_REGION: "w" }, { AWS_REGION: "a" }]);
});

describe("the webhook of the environment", () => {
  const words = { given: new Map(), positionals: [] };
  const urlsOf = (environment: Record<string, string>) => {
    const text = '[[webhooks]]\nurl = "https://one.example/x"\n';
    const file = parseConfigFile(text, "/etc/walrust.toml", "walrust.toml", environment);
    return resolveConfig({ words, environment, file }).webhooks.map(({ url, events }) => [
      url,
      events.length,
    ]);
  };

  test("is one more than those of the file", () => {
    expect(urlsOf({})).toEqual([["https://one.example/x", 4]]);
    const variables = {
      WALRUST_WEBHOOKS_URL: "https://two.example/x",
      WALRUST_WEBHOOKS_EVENTS: "auth_failure,sync_failed",
    };
    expect(urlsOf(variables)).toEqual([
      ["https://one.example/x", 4],
      ["https://two.example/x", 2],
    ]);
  });

  test("needs a URL", () => {
    expect(() => urlsOf({ WALRUST_WEBHOOKS_SECRET: "x" })).toThrow(
      "WALRUST_WEBHOOKS_SECRET is set without a URL",
    );
  });
});

/** The names of environment variables, and the variables that resemble one. */
import { describe, expect, test } from "bun:test";
import {
  isServiceLink,
  OWN_VARIABLES,
  ownVariableOrNull,
  unusedVariables,
} from "../../../src/config/settings/variables.ts";
import { allKeys } from "../../support/readme/setting-samples.ts";

describe("OWN_VARIABLES", () => {
  test("is WALRUST_<SECTION>_<KEY> for every key outside of [[databases]], each once", () => {
    const keys = allKeys().filter(({ section }) => section !== "databases");
    const names = keys.map(({ section, key }) =>
      `WALRUST_${section}_${key.slice(section.length + 1)}`.toUpperCase(),
    );
    expect(OWN_VARIABLES.map(({ name }) => name)).toEqual(names);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toContain("WALRUST_SYNC_SNAPSHOT_INTERVAL");
  });

  test("no variable is another variable with _FILE", () => {
    const names = new Set(OWN_VARIABLES.map(({ name }) => name));
    for (const { name } of OWN_VARIABLES) expect(names.has(`${name}_FILE`)).toBe(false);
  });
});

test("ownVariableOrNull gives null for a row without a key", () => {
  expect(ownVariableOrNull({ kind: "switch", flag: "json", meaning: "" })).toBeNull();
});

describe("unusedVariables", () => {
  const hintOf = (name: string, text = "1"): string | null =>
    unusedVariables({ [name]: text })[0]?.hint ?? null;

  test.each([
    ["WALRUST_SYNC_SNAPSHOT_INTERVALL", "WALRUST_SYNC_SNAPSHOT_INTERVAL"],
    ["WALRUST_SNYC_ON_IDLE", "WALRUST_SYNC_ON_IDLE"],
    ["WALRUST_S3_SECRET_ACCES_KEY_FILE", "WALRUST_S3_SECRET_ACCESS_KEY_FILE"],
    // The key or the flag without its section.
    ["WALRUST_BUCKET", "WALRUST_S3_BUCKET"],
    ["WALRUST_SNAPSHOT_INTERVAL", "WALRUST_SYNC_SNAPSHOT_INTERVAL"],
    ["WALRUST_MIN_CHECKPOINT_PAGES", "WALRUST_SYNC_MIN_CHECKPOINT_PAGE_COUNT"],
    ["WALRUST_NO_METRICS", "WALRUST_METRICS_ENABLED"],
    ["WALRUST_RETAIN_HOURLY", "WALRUST_RETENTION_HOURLY"],
  ])("%s resembles %s", (name, meant) => {
    expect(hintOf(name)).toBe(`Did you mean ${meant}?`);
  });

  test("a variable of a section without a similar key gets the keys of the section", () => {
    expect(hintOf("WALRUST_STATE_DIRECTORY")).toBe("Keys of [state] are path");
    expect(hintOf("WALRUST_S3_SECRET_KEY")).toStartWith("Keys of [s3] are bucket, endpoint, ");
  });

  test("a variable named after a flag without a key, or after [[databases]], gets the other way", () => {
    expect(hintOf("WALRUST_LOG_LEVEL")).toBe("Give the flag --log-level");
    expect(hintOf("WALRUST_DATABASES_PATH")).toStartWith("Name databases as arguments");
  });

  test.each([
    // Variables of walrust that are no settings, and those of this project's own tools and tests.
    "WALRUST_TRACE",
    "WALRUST_PEERS",
    "WALRUST_BINARY",
    "WALRUST_VERSION",
    "WALRUST_PROPERTY_CASES",
    "WALRUST_PROPERTY_SEED",
    "WALRUST_CHAOS_NAMESPACE",
    "WALRUST_CLOCK_OFFSET",
    "WALRUST_SIM_MUTANT",
    "WALRUST_STRESS_SECONDS",
    "WALRUST_STRESS_SEED",
    "WALRUST_TEST_MEASURES_IDLE",
    "WALRUST_OLD_LTX",
    "WALRUST_GATE_ROUNDS",
    "WALRUST_GATE_SEED",
    "WALRUST_REPLICA_KILLS",
    "WALRUST_REPLICA_READS",
    // Variables that Kubernetes makes for services.
    "WALRUST_SERVICE_HOST",
    "WALRUST_SERVICE_PORT",
    "WALRUST_PORT_16767_TCP_ADDR",
    "WALRUST_METRICS_SERVICE_HOST",
    "WALRUST_METRICS_SERVICE_PORT",
    "WALRUST_METRICS_SERVICE_PORT_HTTP",
    "WALRUST_METRICS_PORT_16767_TCP",
    "WALRUST_METRICS_PORT_80_TCP",
    "WALRUST_METRICS_PORT_80_TCP_PORT",
    "WALRUST_METRICS_PORT_16767_TCP_PROTO",
    // Another program's, an empty one, and a setting.
    "HOME",
    "walrust_bucket",
    "WALRUST_SYNC_ON_IDLE",
    "WALRUST_S3_SECRET_ACCESS_KEY_FILE",
  ])("%s is no mistake", (name) => {
    expect(hintOf(name)).toBeNull();
  });

  test("an empty variable, and a link of Kubernetes, are no mistake", () => {
    expect(hintOf("WALRUST_BUCKET", "")).toBeNull();
    expect(hintOf("WALRUST_PORT", "16767")).toBe("Did you mean WALRUST_METRICS_PORT?");
    expect(hintOf("WALRUST_PORT", "tcp://10.0.0.7:16767")).toBeNull();
    expect(isServiceLink("WALRUST_METRICS_PORT", "tcp://10.0.0.7:16767")).toBe(true);
    expect(isServiceLink("WALRUST_METRICS_PORT", "16767")).toBe(false);
    expect(isServiceLink("AWS_ENDPOINT_URL", "tcp://10.0.0.7:16767")).toBe(false);
  });
});

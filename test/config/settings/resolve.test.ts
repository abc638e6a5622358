/**
 * The precedence of the sources of a setting. The credentials of S3 come from one source as a whole. A server
 * that checks signatures verifies that walrust signs with these credentials.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { openDestination } from "../../../src/commands/shared/open-destination.ts";
import { resolveRetry, resolveStore } from "../../../src/config/config.ts";
import { parseConfigFile } from "../../../src/config/config-file.ts";
import { givenOf, resolveOptions, type Sources } from "../../../src/config/resolve.ts";
import { WATCH_GROUPS } from "../../../src/config/settings/options.ts";
import { parseWords } from "../../../src/config/settings/parse-options.ts";
import { SYNC_OPTIONS } from "../../../src/config/settings/settings.ts";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { WalrustError } from "../../../src/errors.ts";
import { S3Server } from "../../support/servers/s3-server.ts";

type Variables = Readonly<Record<string, string>>;

function sourcesOf(text: string, environment: Variables = {}, words: readonly string[] = []): Sources {
  const specs = WATCH_GROUPS.flatMap((group) => Object.values(group));
  const file = parseConfigFile(text, "/etc/walrust/walrust.toml", "walrust.toml", environment);
  return { words: parseWords(words, specs), environment, file };
}

/** The chosen credentials: "id/secret/token", a profile, or the chain of AWS. */
function choiceOf(file: string, environment: Variables): string {
  try {
    const chosen = resolveStore(sourcesOf(`[s3]\nbucket = "s3://bucket"\n${file}`, environment));
    const { accessKeyId, secretAccessKey, sessionToken, profile } = chosen;
    const keys = [accessKeyId, secretAccessKey, sessionToken].map(({ value }) => value ?? "");
    if (profile.value !== undefined) return `profile ${profile.value}${keys.join("")}`;
    return keys.join("") === "" ? "the chain" : keys.join("/");
  } catch (error) {
    if (!(error instanceof WalrustError) || error.code !== "config") throw error;
    return `${error.message} | ${error.hint}`;
  }
}

const FILE_KEYS = 'access_key_id = "F-ID"\nsecret_access_key = "F-SECRET"\n';
const FILE_TOKEN = 'session_token = "F-TOKEN"\n';
const FILE_PROFILE = 'profile = "f-profile"\n';
const KEYS = { AWS_ACCESS_KEY_ID: "E-ID", AWS_SECRET_ACCESS_KEY: "E-SECRET" };
const TOKEN = { AWS_SESSION_TOKEN: "E-TOKEN" };
const PROFILE = { AWS_PROFILE: "e-profile" };
const NONE = { AWS_ACCESS_KEY_ID: "", AWS_SECRET_ACCESS_KEY: "", AWS_SESSION_TOKEN: "", AWS_PROFILE: "" };

/** [file, environment, chosen credentials] */
const CHOICES: (readonly [string, Variables, string])[] = [
  ["", {}, "the chain"],
  ["", NONE, "the chain"],
  ["", KEYS, "E-ID/E-SECRET/"],
  ["", { ...KEYS, ...TOKEN }, "E-ID/E-SECRET/E-TOKEN"],
  ["", TOKEN, "the chain"],
  ["", PROFILE, "profile e-profile"],
  ["", { ...PROFILE, ...TOKEN }, "profile e-profile"],
  ["", { ...PROFILE, ...KEYS }, "E-ID/E-SECRET/"],
  ["", { WALRUST_S3_PROFILE: "w-profile", ...KEYS }, "profile w-profile"],
  [FILE_KEYS, {}, "F-ID/F-SECRET/"],
  [FILE_KEYS, NONE, "F-ID/F-SECRET/"],
  [FILE_KEYS + FILE_TOKEN, {}, "F-ID/F-SECRET/F-TOKEN"],
  // A stale token from the environment would invalidate the file's good keys.
  [FILE_KEYS, TOKEN, "F-ID/F-SECRET/"],
  [FILE_KEYS + FILE_TOKEN, TOKEN, "F-ID/F-SECRET/F-TOKEN"],
  [FILE_KEYS, KEYS, "E-ID/E-SECRET/"],
  [FILE_KEYS + FILE_TOKEN, KEYS, "E-ID/E-SECRET/"],
  [FILE_KEYS, PROFILE, "profile e-profile"],
  [FILE_PROFILE, {}, "profile f-profile"],
  [FILE_PROFILE, TOKEN, "profile f-profile"],
  [FILE_PROFILE, KEYS, "E-ID/E-SECRET/"],
  [FILE_PROFILE, PROFILE, "profile e-profile"],
];

const OWN_KEYS = { WALRUST_S3_ACCESS_KEY_ID: "W-ID", WALRUST_S3_SECRET_ACCESS_KEY: "W-SECRET" };
const OWN_TOKEN = { WALRUST_S3_SESSION_TOKEN: "W-TOKEN" };

/** The variables of walrust and those of the AWS tools are two sources. */
const OWN_CHOICES: readonly (readonly [string, Variables, string])[] = [
  ["", OWN_KEYS, "W-ID/W-SECRET/"],
  ["", { ...OWN_KEYS, ...KEYS, ...TOKEN, ...PROFILE }, "W-ID/W-SECRET/"],
  [FILE_KEYS + FILE_TOKEN, { ...OWN_KEYS, ...TOKEN }, "W-ID/W-SECRET/"],
  [FILE_KEYS, { ...OWN_KEYS, ...OWN_TOKEN }, "W-ID/W-SECRET/W-TOKEN"],
  ["", { ...KEYS, ...OWN_TOKEN }, "E-ID/E-SECRET/"],
  ["", { ...KEYS, ...TOKEN, ...OWN_TOKEN }, "E-ID/E-SECRET/E-TOKEN"],
  [FILE_KEYS + FILE_TOKEN, OWN_TOKEN, "F-ID/F-SECRET/F-TOKEN"],
];
CHOICES.push(...OWN_CHOICES);

const HALF = "Only one of access key id and secret access key is set";
const IN_ONE_PLACE = "in the same place, or set neither to use the AWS credential chain";
const REFUSALS: readonly (readonly [string, Variables, string])[] = [
  [
    "",
    { AWS_ACCESS_KEY_ID: "E-ID" },
    `${HALF} (AWS_ACCESS_KEY_ID) | Set the secret access key ${IN_ONE_PLACE}`,
  ],
  [
    "",
    { AWS_SECRET_ACCESS_KEY: "E-SECRET", ...TOKEN },
    `${HALF} (AWS_SECRET_ACCESS_KEY) | Set the access key id ${IN_ONE_PLACE}`,
  ],
  [
    "",
    { ...KEYS, AWS_SECRET_ACCESS_KEY: "" },
    `${HALF} (AWS_ACCESS_KEY_ID) | Set the secret access key ${IN_ONE_PLACE}`,
  ],
  ['access_key_id = "F-ID"\n', {}, `${HALF} (walrust.toml:3:1) | Set the secret access key ${IN_ONE_PLACE}`],
  [
    'secret_access_key = "F-SECRET"\n',
    {},
    `${HALF} (walrust.toml:3:1) | Set the access key id ${IN_ONE_PLACE}`,
  ],
  // Halves from two sources are no pair.
  [
    "",
    { WALRUST_S3_ACCESS_KEY_ID: "W-ID", AWS_SECRET_ACCESS_KEY: "E-SECRET" },
    `${HALF} (WALRUST_S3_ACCESS_KEY_ID) | Set the secret access key ${IN_ONE_PLACE}`,
  ],
  [
    'secret_access_key = "F-SECRET"\n',
    { AWS_ACCESS_KEY_ID: "E-ID" },
    `${HALF} (AWS_ACCESS_KEY_ID) | Set the secret access key ${IN_ONE_PLACE}`,
  ],
  [
    FILE_KEYS,
    { AWS_ACCESS_KEY_ID: "E-ID" },
    `${HALF} (AWS_ACCESS_KEY_ID) | Set the secret access key ${IN_ONE_PLACE}`,
  ],
  [
    FILE_KEYS + FILE_PROFILE,
    {},
    "walrust.toml:5:1: the file gives both keys and a profile | Leave out one of them",
  ],
  [
    FILE_TOKEN,
    {},
    "walrust.toml:3:1: a session token has no keys beside it | " +
      "Set access_key_id and secret_access_key beside the token, or leave the token out",
  ],
  [
    FILE_PROFILE + FILE_TOKEN,
    {},
    "walrust.toml:4:1: a session token has no keys beside it | " +
      "Set access_key_id and secret_access_key beside the token, or leave the token out",
  ],
];

describe("keys come from one source as a whole:", () => {
  test.each([...CHOICES, ...REFUSALS])("%j with %j", (file, environment, choice) => {
    expect(choiceOf(file, environment)).toBe(choice);
  });

  test("a folder needs no keys, so half a pair in the environment is no error", () => {
    const environment = { AWS_SECRET_ACCESS_KEY: "E-SECRET", AWS_PROFILE: "e-profile" };
    for (const bucket of ["file:///backup", "FILE:///backup"]) {
      const sources = sourcesOf(`[s3]\nbucket = "${bucket}"\n`, environment);
      expect(resolveStore(sources).bucket.value).toBe(bucket);
      expect(openDestination({ sources, env }).url).toBe("file:///backup");
    }
  });

  // `replicate` names its own source, so the location of that source counts, not the configured destination.
  test("another destination than the configured one", () => {
    const environment = { AWS_ACCESS_KEY_ID: "E-ID" };
    const folder = sourcesOf('[s3]\nbucket = "file:///backup"\n', environment);
    expect(() => openDestination({ sources: folder, env }, {}, "s3://bucket/app")).toThrow(HALF);
    const bucket = sourcesOf('[s3]\nbucket = "s3://bucket"\n', environment);
    expect(openDestination({ sources: bucket, env }, {}, "file:///backup").url).toBe("file:///backup");
  });
});

const env = systemEnv(SILENT_LOG);

describe("the credentials that sign a request", () => {
  let server: S3Server;
  beforeAll(async () => {
    server = await S3Server.start({ region: "eu-north-1" });
  });
  afterAll(() => server.stop());

  const signed = CHOICES.filter(([, , choice]) => choice.includes("/"));
  test.each(signed)("%j with %j", async (file, environment, choice) => {
    const [accessKeyId, secretAccessKey, sessionToken] = choice.split("/") as [string, string, string];
    Object.assign(server.options, { accessKeyId, secretAccessKey, sessionToken: sessionToken || undefined });
    server.reset();
    const address = `bucket = "s3://bucket"\nendpoint = "${server.url}"\nregion = "eu-north-1"\n`;
    const store = openDestination({ sources: sourcesOf(`[s3]\n${address}${file}`, environment), env });
    await store.put("key", { kind: "bytes", bytes: new Uint8Array(3) });
    await store.close();
    expect([[...server.objects.keys()], server.refusals]).toEqual([["bucket/key"], []]);
    const headers = server.lastHeaders.get("put")!;
    const scope = `Credential=${accessKeyId}/\\d{8}/eu-north-1/s3/aws4_request`;
    expect(headers["authorization"]).toMatch(new RegExp(scope));
    expect(headers["x-amz-security-token"]).toBe(sessionToken === "" ? undefined : sessionToken);
  });

  test("the source of a replica, with keys from one source, beside a configured folder", async () => {
    Object.assign(server.options, {
      accessKeyId: "F-ID",
      secretAccessKey: "F-SECRET",
      sessionToken: undefined,
    });
    server.reset();
    const text = `[s3]\nbucket = "file:///backup"\nendpoint = "${server.url}"\nregion = "eu-north-1"\n`;
    const sources = sourcesOf(text + FILE_KEYS, TOKEN);
    const store = openDestination({ sources, env }, {}, "s3://bucket/app");
    await store.put("key", { kind: "bytes", bytes: new Uint8Array(3) });
    await store.close();
    expect([[...server.objects.keys()], server.refusals]).toEqual([["bucket/app/key"], []]);
    expect(server.lastHeaders.get("put")?.["x-amz-security-token"]).toBeUndefined();
  });
});

describe("resolveOptions", () => {
  const text = "[sync]\non_idle = 5\n[[databases]]\npath = '/a'\non_idle = 6\n";

  test("flags override a database's entry, which overrides its section, which overrides the default", () => {
    const sources = sourcesOf(text);
    const [entry = null] = sources.file!.databases;
    const idle = (from: Sources, database = entry) => resolveOptions(from, SYNC_OPTIONS, database).onIdleMs;
    expect(idle(sources)).toEqual({ value: 6000, origin: { kind: "file", text: "walrust.toml:5:1" } });
    expect(idle(sources, null)).toEqual({ value: 5000, origin: { kind: "file", text: "walrust.toml:2:1" } });
    expect(idle(sourcesOf(text, {}, ["--on-idle", "0"]))).toEqual({
      value: 0,
      origin: { kind: "flag", text: "--on-idle" },
    });
    expect(idle(sourcesOf(""), null)).toEqual({ value: 0, origin: { kind: "default", text: "default" } });
  });

  test("an empty environment variable is ignored; of two the first counts", () => {
    const regionOf = (environment: Variables) =>
      resolveStore(sourcesOf('[s3]\nregion = "f"\n', environment)).region;
    expect(regionOf({ AWS_REGION: "", AWS_DEFAULT_REGION: "" }).value).toBe("f");
    expect(regionOf({ AWS_REGION: "", AWS_DEFAULT_REGION: "d" }).origin.text).toBe("AWS_DEFAULT_REGION");
    expect(regionOf({ AWS_REGION: "r", AWS_DEFAULT_REGION: "d" }).value).toBe("r");
    expect(() => regionOf({ AWS_REGION: "a\nb" })).toThrow("AWS_REGION has a line break");
  });
});

describe("givenOf", () => {
  test("returns the values of flags, environment, entry and section, and no default", () => {
    const sources = sourcesOf("[sync]\non_idle = 5\n[[databases]]\npath = '/a'\nmax_changes = 3\n", {}, [
      "--snapshot-interval",
      "3600",
    ]);
    const [entry = null] = sources.file!.databases;
    const given = givenOf(resolveOptions(sources, SYNC_OPTIONS, entry));
    expect(given).toEqual({ snapshotIntervalMs: 3_600_000, onIdleMs: 5_000, maxChanges: 3 });
  });
});

describe("resolveRetry", () => {
  test("refuses a base delay above the greatest delay, from any sources", () => {
    const policyOf = (text: string, words: readonly string[] = []) =>
      resolveRetry(sourcesOf(text, {}, words));
    expect(policyOf("[retry]\nbase_delay_ms = 30000\n").baseDelayMs).toBe(30_000);
    expect(() => policyOf("[retry]\nbase_delay_ms = 30001\n")).toThrow("The base delay (30001 ms) is above");
    const words = ["--max-delay-ms", "99"];
    expect(() => policyOf("", words)).toThrow("The base delay (100 ms) is above the greatest (99 ms)");
    expect(policyOf("", ["--max-delay-ms", "100"])).toMatchObject({
      maxRetries: 5,
      baseDelayMs: 100,
      maxDelayMs: 100,
    });
  });
});

/**
 * No message contains a secret. The tests put random secrets, well-formed and malformed, into every secret
 * key, into URLs and into environment variables, and search the errors and the output of `explain` for them.
 */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are the variables of walrust.toml
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { shownSettings } from "../../../src/commands/explain/shown-settings.ts";
import { openDestination } from "../../../src/commands/shared/open-destination.ts";
import { resolveStore } from "../../../src/config/config.ts";
import { parseConfigFile } from "../../../src/config/config-file.ts";
import { checkEnvironment } from "../../../src/config/environment.ts";
import { keyName } from "../../../src/config/settings/options.ts";
import { ownVariableOrNull } from "../../../src/config/settings/variables.ts";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { allKeys } from "../../support/readme/setting-samples.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { tempFolder } from "../../support/temp.ts";

const folder = tempFolder("secrets");
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=@:#$%&!?;,.-_ ~\\";
/** The length of a part of a secret that must not appear anywhere. */
const PART_LENGTH = 6;

/** The settings with secrets: keys, and addresses whose path or user is secret. */
const KEYS = allKeys().filter(
  ({ key, spec }) => spec.isSecret || spec.isPrivateUrl || ["s3.bucket", "s3.endpoint"].includes(key),
);

function randomSecret(random: () => number): string {
  const length = 16 + Math.floor(random() * 30);
  return Array.from({ length }, () => LETTERS[Math.floor(random() * LETTERS.length)]).join("");
}

/** The shapes of a secret as the value of a key: the TOML, and the environment. */
const SHAPES: Readonly<Record<string, (secret: string) => string>> = {
  text: (secret) => JSON.stringify(secret),
  literal: (secret) => `'${secret}'`,
  "multi-line": (secret) => `"""\n${secret.replaceAll("\\", "")}"""`,
  "line break inside": (secret) => JSON.stringify(`${secret}\n${secret}`),
  list: (secret) => `[${JSON.stringify(secret)}]`,
  table: (secret) => `{ value = ${JSON.stringify(secret)} }`,
  "no quotes": (secret) => secret,
  "one quote": (secret) => JSON.stringify(secret).slice(0, -1),
  "words behind it": (secret) => `"x" ${secret}`,
  "bad escape": (secret) => `"\\q${secret}"`,
  "an open variable": (secret) => JSON.stringify(`\${${secret} `),
  "a variable": () => '"${SECRET}"',
  "a variable in a list": () => '["${SECRET}"]',
  "an https URL": (secret) => JSON.stringify(`https://hooks.example/${encodeURIComponent(secret)}`),
  "an https URL with it as user": (secret) => JSON.stringify(`https://${secret}@hooks.example/`),
  "another URL": (secret) => JSON.stringify(`ftp://hooks.example/${secret}`),
  "a bucket with it as user": (secret) => JSON.stringify(`s3://id:${secret}@bucket/prefix`),
};

/** Every text of an error, with its causes, or of the shown settings. */
function saidOf(text: string, environment: Record<string, string>): string {
  const said: string[] = [];
  try {
    said.push(JSON.stringify(checkEnvironment(environment)));
    const file = parseConfigFile(text, join(folder, "walrust.toml"), "walrust.toml", environment);
    const sources = { words: { given: new Map(), positionals: [] }, environment, file };
    said.push(JSON.stringify(shownSettings(sources).filter(({ section }) => section !== "s3")));
    openDestination({ sources, env: systemEnv(SILENT_LOG) }, {});
    // Only settings that can open a store are shown.
    resolveStore(sources);
    said.push(JSON.stringify(shownSettings(sources)));
  } catch (error) {
    for (let cause: unknown = error; cause !== undefined; ) {
      const { message, hint, context } = cause as { message: string; hint?: string; context?: unknown };
      said.push(message, hint ?? "", JSON.stringify(context ?? null));
      cause = (cause as { cause?: unknown }).cause;
    }
  }
  return said.join("\n");
}

/** The first part of a secret that appears in a text, plain or encoded. */
function leakOrNull(secret: string, said: string): string | null {
  const forms = [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)];
  for (const form of forms) {
    for (let at = 0; at + PART_LENGTH <= form.length; at++) {
      const part = form.slice(at, at + PART_LENGTH);
      if (said.includes(part)) return part;
    }
  }
  return null;
}

/** A file with this line in a section, and the lines that complete its destination. */
function documentOf(section: string, line: string): string {
  const bucket = line.startsWith("bucket") ? "" : 'bucket = "s3://bucket"\n';
  if (section === "s3") return `[s3]\n${bucket}${line}\n`;
  if (section !== "webhooks") return `[s3]\n${bucket}[${section}]\n${line}\n`;
  const url = line.startsWith("url") ? "" : 'url = "https://hooks.example/x"\n';
  return `[s3]\n${bucket}[[webhooks]]\n${url}${line}\n`;
}

describe("no message contains a secret", () => {
  const rows = KEYS.flatMap(({ section, spec }) => {
    const names = spec.isSecret ? [keyName(spec), `${keyName(spec)}_file`] : [keyName(spec)];
    return names.flatMap((name) => Object.keys(SHAPES).map((shape) => [section, name, shape] as const));
  });

  test.each(rows)("[%s] %s as %s", (section, name, shape) => {
    const random = seededRandom(Bun.hash.crc32(`${section}.${name} ${shape}`));
    for (let round = 0; round < 25; round++) {
      const secret = randomSecret(random);
      // In the place of an address, text without the marks of a secret counts as an address.
      const isAddress = section === "s3" && (name === "bucket" || name === "endpoint");
      if (isAddress && !shape.includes("user")) continue;
      const text = documentOf(section, `${name} = ${SHAPES[shape]!(secret)}`);
      expect([text, leakOrNull(secret, saidOf(text, { SECRET: secret }))]).toEqual([text, null]);
    }
  });

  test("for any content of a secret's file", () => {
    const random = seededRandom(7);
    const makers = [
      (s: string) => s,
      (s: string) => `${s}\n${s}\n`,
      (s: string) => `${s}\0`,
      (s: string) => s.repeat(3000),
    ];
    for (let round = 0; round < 40; round++) {
      const secret = randomSecret(random);
      writeFileSync(join(folder, "file"), makers[round % makers.length]!(secret));
      for (const name of ["access_key_id", "secret_access_key", "session_token"]) {
        expect(leakOrNull(secret, saidOf(documentOf("s3", `${name}_file = "file"`), {}))).toBeNull();
      }
    }
  });

  test("for any environment", () => {
    const random = seededRandom(8);
    const aws = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
    const own = KEYS.filter(({ spec }) => spec.isSecret || spec.isPrivateUrl).flatMap(({ spec }) => {
      const name = ownVariableOrNull(spec)!;
      return spec.isSecret ? [name, `${name}_FILE`] : [name];
    });
    const names = [...aws, ...own];
    for (let round = 0; round < 300; round++) {
      const secret = randomSecret(random);
      const bad = round % 3 === 0 ? `${secret}\n` : secret;
      const environment = Object.fromEntries(names.filter(() => random() < 0.6).map((name) => [name, bad]));
      expect(leakOrNull(secret, saidOf('[s3]\nbucket = "s3://bucket"\n', environment))).toBeNull();
    }
  });

  // The search itself finds a text with a part of the secret.
  test("leakOrNull finds a planted secret", () => {
    expect(leakOrNull("abcdefghij", "... cdefgh ...")).toBe("cdefgh");
    expect(leakOrNull("a/b c+d=efg", "a%2Fb%20c%2Bd")).not.toBeNull();
    expect(leakOrNull("abcdefghij", "abcde fghij")).toBeNull();
  });
});

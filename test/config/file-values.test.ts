/**
 * Values of walrust.toml from other places: environment variables in texts, numbers and lists, and secrets in
 * their own files.
 */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are the variables of walrust.toml
import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseConfigFile } from "../../src/config/config-file.ts";
import { hasCode, type WalrustError } from "../../src/errors.ts";
import { tempFolder } from "../support/temp.ts";

const folder = tempFolder("file-values");

function valuesOf(text: string, environment: Record<string, string> = {}): Record<string, unknown> {
  const { values } = parseConfigFile(text, join(folder, "walrust.toml"), "walrust.toml", environment);
  return Object.fromEntries([...values].map(([key, { value }]) => [key, value]));
}

function refusalOf(text: string, environment: Record<string, string> = {}): WalrustError {
  try {
    valuesOf(text, environment);
  } catch (error) {
    if (hasCode(error, "config")) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

describe("an environment variable in a value", () => {
  const environment = {
    WORD: "eu",
    NUMBER: "12",
    SECONDS: "0.25",
    SIZE: "2GB",
    AGE: "90m",
    YES: "true",
    EMPTY: "",
    _a1: "under",
    NESTED: "$" + "{WORD}",
    toString: "own",
  };

  test.each([
    ["s3", "region", '"${WORD}"', "eu"],
    ["s3", "region", '"a-${WORD}-${NUMBER}${EMPTY}"', "a-eu-12"],
    ["s3", "region", '"${_a1}"', "under"],
    ["s3", "region", '"${toString}"', "own"],
    // A variable holds text, and no further variables.
    ["s3", "region", '"${NESTED}"', "${WORD}"],
    ["s3", "region", '"$${WORD}"', "${WORD}"],
    ["s3", "region", '"$$${WORD}"', "$${WORD}"],
    ["s3", "region", '"$WORD $5 $$ {WORD} $"', "$WORD $5 $$ {WORD} $"],
    ["s3", "region", "'${WORD}'", "eu"],
    ["s3", "path_style", '"${YES}"', true],
    ["sync", "max_changes", '"${NUMBER}"', 12],
    ["sync", "max_changes", '"${NUMBER}0"', 120],
    ["sync", "snapshot_interval", '"${SECONDS}"', 250],
    ["cache", "max_size", '"${SIZE}"', 2 * 1024 ** 3],
    ["cache", "retention", '"${AGE}"', 5_400_000],
    ["cache", "path", '"/x/${WORD}"', "/x/eu"],
    ["compaction", "levels", '["${NUMBER}", "${AGE}"]', [12_000, 5_400_000]],
    ["retry", "base_delay_ms", '"${NUMBER}"', 12],
  ] as const)("[%s] %s = %s", (section, key, toml, expected) => {
    expect(valuesOf(`[${section}]\n${key} = ${toml}\n`, environment)).toEqual({
      [`${section}.${key}`]: expected,
    });
  });

  const MALFORMED = 'has a "${" without the name of a variable';
  test.each([
    ["s3", "region", '"${NONE}"', "s3.region needs the environment variable NONE, which is not set"],
    ["s3", "region", '"${EMPTY}"', "s3.region is empty"],
    ["s3", "region", '"${"', `s3.region ${MALFORMED}`],
    ["s3", "region", '"${}"', `s3.region ${MALFORMED}`],
    ["s3", "region", '"${WORD"', `s3.region ${MALFORMED}`],
    ["s3", "region", '"${ WORD }"', `s3.region ${MALFORMED}`],
    ["s3", "region", '"${1A}"', `s3.region ${MALFORMED}`],
    ["s3", "region", '"${A-B}"', `s3.region ${MALFORMED}`],
    ["s3", "region", '"${WORD:-eu}"', `s3.region ${MALFORMED}`],
    ["s3", "path_style", '"${WORD}"', 's3.path_style is "eu", expected true or false'],
    ["metrics", "port", '"${WORD}"', 'metrics.port is "eu", expected a whole number from 0 to 65535'],
    [
      "metrics",
      "port",
      '"$${NUMBER}"',
      'metrics.port is "${NUMBER}", expected a whole number from 0 to 65535',
    ],
    ["compaction", "levels", '"${AGE}"', 'compaction.levels is "90m", expected a list'],
    [
      "compaction",
      "levels",
      '["${NONE}"]',
      "compaction.levels needs the environment variable NONE, which is not set",
    ],
  ] as const)("[%s] %s = %s is refused", (section, key, toml, message) => {
    const error = refusalOf(`[${section}]\n${key} = ${toml}\n`, environment);
    expect(error.message).toBe(`walrust.toml:2:1: ${message}`);
    expect(error.context).toEqual({ file: "walrust.toml", line: 2, column: 1 });
    const hint = 'Write "${NAME}", or "$${" for these two characters themselves';
    expect(error.hint).toBe(message.endsWith(MALFORMED) ? hint : undefined);
  });

  test("variables also work in [[databases]] and [[webhooks]]", () => {
    const databaseEntry = '[[databases]]\npath = "/${A}/*.db"\nprefix = "${A}"\n';
    const text = `${databaseEntry}[[webhooks]]\nurl = "http://h/\${A}"\n`;
    const { databases, webhooks } = parseConfigFile(text, "/w/walrust.toml", "walrust.toml", { A: "vm" });
    expect(databases[0]).toMatchObject({ path: "/vm/*.db", prefix: "vm", isGlob: true });
    expect(webhooks[0]?.values.get("webhooks.url")?.value).toBe("http://h/vm");
  });
});

describe("a secret in its own file", () => {
  const read = (content: string | Uint8Array): unknown => {
    writeFileSync(join(folder, "secret"), content);
    return valuesOf('[s3]\nsecret_access_key_file = "secret"\n')["s3.secret_access_key"];
  };

  test.each([
    ["hunter2", "hunter2"],
    ["hunter2\n", "hunter2"],
    ["hunter2\r\n", "hunter2"],
    ["hunter2\n\n", "hunter2"],
    ["\uFEFFhunter2\n", "hunter2"],
    [" hunter2 ", " hunter2 "],
    ["hun/ter+2=", "hun/ter+2="],
    ["hun${TER}2", "hun${TER}2"],
  ])("%j is read as %j", (content, expected) => {
    expect(read(content)).toBe(expected);
  });

  const UNUSABLE = "Cannot use the file that s3.secret_access_key_file names";
  const FILE = "the file of s3.secret_access_key_file";
  test.each([
    ["nothing", "", `${FILE} is empty`],
    ["a line end", "\n", `${FILE} is empty`],
    ["two lines", "hunter2\nhunter2\n", `${FILE} has a line break or another control character`],
    ["a NUL", "hunter2\0", `${FILE} has a line break or another control character`],
    ["no UTF-8", Uint8Array.from([0x68, 0xff]), `${UNUSABLE}: it is not UTF-8 text`],
    ["too much", "x".repeat(64 * 1024 + 1), `${UNUSABLE}: it is larger than 65536 bytes`],
  ])("%s in it is refused", (_, content, message) => {
    writeFileSync(join(folder, "secret"), content);
    const error = refusalOf('[s3]\nsecret_access_key_file = "secret"\n');
    expect(error.message).toBe(`walrust.toml:2:1: ${message}`);
    expect(error.context).toEqual({ file: "walrust.toml", line: 2, column: 1 });
  });

  test("the error does not repeat the path, where a user may have put the secret by mistake", () => {
    mkdirSync(join(folder, "hunter2folder"));
    const hint = `Give the path of a file that holds the secret, absolute or relative to ${folder}`;
    for (const [path, why] of [
      ["hunter2none", "ENOENT"],
      ["hunter2folder", "EISDIR"],
    ] as const) {
      const error = refusalOf(`[s3]\nsession_token_file = "${path}"\n`);
      expect(error.message).toBe(
        `walrust.toml:2:1: Cannot use the file that s3.session_token_file names: ${why}`,
      );
      expect([error.hint, error.cause]).toEqual([hint, undefined]);
    }
    for (const toml of ['["hunter2"]', '{ a = "hunter2" }', "''"]) {
      expect(refusalOf(`[s3]\nsession_token_file = ${toml}\n`).message).not.toContain("hunter2");
    }
  });

  test("a secret and its file exclude each other, in either order", () => {
    writeFileSync(join(folder, "secret"), "hunter2");
    const lines = ['secret_access_key = "hunter3"', 'secret_access_key_file = "secret"'];
    for (const order of [lines, lines.toReversed()]) {
      const { message } = refusalOf(`[s3]\n${order.join("\n")}\n`);
      expect(message).toBe("walrust.toml:3:1: s3.secret_access_key is given twice: by itself and as a file");
    }
  });

  test("a path may contain an environment variable, and be absolute", () => {
    writeFileSync(join(folder, "secret"), "hunter2");
    const text = '[s3]\nsecret_access_key_file = "${FOLDER}/secret"\n';
    expect(valuesOf(text, { FOLDER: folder })["s3.secret_access_key"]).toBe("hunter2");
  });

  test("only secrets have a file", () => {
    expect(refusalOf('[s3]\nbucket_file = "x"\n').message).toContain('Unknown key "bucket_file"');
  });
});

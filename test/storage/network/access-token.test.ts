/** Tokens of push replicas: only the whole token in a Bearer header counts, and a file holds a usable one. */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { WalrustError } from "../../../src/errors.ts";
import { AccessToken, readTokenFile } from "../../../src/storage/network/access-token.ts";
import { tempFolder } from "../../support/temp.ts";

const TOKEN = "0123456789abcdef";

describe("AccessToken", () => {
  test("is in a Bearer header with the whole token", () => {
    const token = new AccessToken(TOKEN);
    for (const header of [`Bearer ${TOKEN}`, `bearer   ${TOKEN}`]) expect(token.isIn(header)).toBe(true);
    const others = [undefined, "", "Bearer", "Bearer ", TOKEN, `Basic ${TOKEN}`, `Bearer ${TOKEN} x`];
    const near = [`Bearer ${TOKEN}0`, `Bearer ${TOKEN.slice(1)}`, `Bearer ${TOKEN.toUpperCase()}`];
    for (const header of [...others, ...near]) expect(token.isIn(header)).toBe(false);
  });
});

describe("readTokenFile", () => {
  const path = join(tempFolder("token"), "token");
  test("reads one line", () => {
    writeFileSync(path, `${TOKEN}\n`);
    expect(readTokenFile(path)).toBe(TOKEN);
  });

  for (const text of [
    "",
    "short",
    "0123456789abcde\n",
    "two words 0123456789",
    `${TOKEN}\n${TOKEN}`,
    "ü".repeat(20),
  ])
    test(`refuses ${JSON.stringify(text)}`, () => {
      writeFileSync(path, text);
      expect(() => readTokenFile(path)).toThrow(WalrustError);
      if (text !== "") expect(() => readTokenFile(path)).not.toThrow(text);
    });

  test("refuses a file that cannot be read", () => {
    expect(() => readTokenFile(join(path, "none"))).toThrow("Cannot read the token");
    expect(() => readTokenFile(tempFolder("token-folder"))).toThrow("not a regular file");
  });
});

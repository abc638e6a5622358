/** expandHome: `~` in paths of the configuration, of flags with "=", and of file:// destinations. */
import { describe, expect, test } from "bun:test";
import { homedir } from "node:os";
import { parseConfigFile } from "../../../src/config/config-file.ts";
import { expandHome } from "../../../src/config/settings/home-path.ts";
import { RESTORE_OPTIONS } from "../../../src/config/settings/options.ts";
import { optionValues, parseWords } from "../../../src/config/settings/parse-options.ts";
import { parseDestination } from "../../../src/storage/parse-destination.ts";

test.each([
  ["~", "/h"],
  ["~/a/b", "/h/a/b"],
  ["~/", "/h/"],
  ["~user/a", "~user/a"],
  ["./~", "./~"],
  ["/a/~/b", "/a/~/b"],
  ["a~", "a~"],
  ["", ""],
])("expandHome of %j is %j", (path, expanded) => {
  expect(expandHome(path, undefined, "/h")).toBe(expanded);
});

test("expandHome escapes only the home folder, and reads it only where a path needs it", () => {
  expect(expandHome("~/*", (home) => home.replace("[", "\\["), "/h[")).toBe("/h\\[/*");
  expect(expandHome("/a/~", undefined, null)).toBe("/a/~");
  expect(() => expandHome("~/a", undefined, null)).toThrow("this user has no home folder");
});

describe("~ is expanded", () => {
  const home = homedir();
  const read = (text: string) => parseConfigFile(text, "/etc/walrust.toml", "walrust.toml", {});

  test("in [[databases]] path, also of a glob", () => {
    const { databases } = read('[[databases]]\npath = "~/no-such.db"\n[[databases]]\npath = "~/*/app.db"\n');
    expect(databases.map(({ path, isGlob }) => [path, isGlob])).toEqual([
      [`${home}/no-such.db`, false],
      [`${home}/*/app.db`, true],
    ]);
  });

  test("in a path of a section, and in the file of a secret", () => {
    expect(read('[cache]\npath = "~/cache"\n').values.get("cache.path")?.value).toBe(`${home}/cache`);
    const secret = '[s3]\nsecret_access_key_file = "~/no-such-secret-file"\n';
    expect(() => read(secret)).toThrow("Cannot use the file that");
  });

  test("in the value of a flag", () => {
    const words = parseWords(["app", "--output=~/r.db"], Object.values(RESTORE_OPTIONS));
    expect(optionValues(words, RESTORE_OPTIONS).output).toBe(`${home}/r.db`);
  });

  test("in a file:// destination", () => {
    expect(parseDestination("file://~/backup%20a")).toEqual({ kind: "file", path: `${home}/backup a` });
    expect(() => parseDestination("file://~")).not.toThrow();
    expect(() => parseDestination("file://~user/backup")).toThrow("not absolute");
  });
});

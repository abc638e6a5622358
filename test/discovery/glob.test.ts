/**
 * Path patterns on real trees: tables of their meaning. An unreadable folder must never count as an empty
 * one. glob-bash.test.ts has random trees and patterns.
 */
import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import fc from "fast-check";
import {
  escapeGlob,
  expandGlob,
  hasGlob,
  matchesGlob,
  splitGlob,
  unescapeGlob,
} from "../../src/discovery/glob.ts";
import { hasCode, type WalrustError } from "../../src/errors.ts";
import { cases } from "../support/property-cases.ts";
import { tempFolder } from "../support/temp.ts";

const ENV = { turn: async () => {} };

/** A folder with these files. A name that ends with a slash is a folder, `a -> b` is a symlink. */
function tree(...entries: readonly string[]): string {
  const root = tempFolder("glob");
  chmodSync(root, 0o755);
  for (const entry of entries) {
    const [name, target] = entry.split(" -> ");
    const path = join(root, name!);
    mkdirSync(entry.endsWith("/") ? path : dirname(path), { recursive: true });
    if (target !== undefined) symlinkSync(target, path);
    else if (!entry.endsWith("/")) writeFileSync(path, "");
  }
  return root;
}

/** The finds of a pattern below `root`, relative to `root`. */
async function find(root: string, pattern: string): Promise<string[]> {
  const found = await expandGlob(`${escapeGlob(root)}/${pattern}`, ENV);
  return found.map(({ path }) => path.slice(root.length + 1));
}

describe("splitGlob and hasGlob", () => {
  const CASES: readonly (readonly [pattern: string, isGlob: boolean, fixed: string, rest: string])[] = [
    ["/data/app.db", false, "/data", "app.db"],
    ["/var/lib/*/app.db", true, "/var/lib", "*/app.db"],
    ["/*.db", true, "/", "*.db"],
    ["*.db", true, ".", "*.db"],
    ["app.db", false, ".", "app.db"],
    ["data/*.db", true, "data", "*.db"],
    ["./data//x/?.db", true, "data/x", "?.db"],
    ["//data//*//a.db", true, "/data", "*//a.db"],
    ["/data/**/a.db", true, "/data", "**/a.db"],
    ["/a/x{/b,c}/d.db", true, "/a", "x{/b,c}/d.db"],
    ["/a/{b}/d.db", false, "/a/{b}", "d.db"],
    ["/a/{b/d.db", false, "/a/{b", "d.db"],
    ["/a/{b,c/d.db", false, "/a/{b,c", "d.db"],
    ["/a/{b{c,d}/d.db", true, "/a", "{b{c,d}/d.db"],
    ["/a/[b/d].db", false, "/a/[b", "d].db"],
    ["/a/[b]/d.db", true, "/a", "[b]/d.db"],
    ["/a/\\[b\\]\\{c,d\\}\\*\\?/d.db", false, "/a/[b]{c,d}*?", "d.db"],
    ["/a\\\\/\\a/*.db", true, "/a\\/a", "*.db"],
    ["/a/b\\", false, "/a", "b\\\\"],
    ["/a/", false, "/a", ""],
    ["", false, ".", ""],
  ];
  test.each(CASES)("%j", (pattern, isGlob, fixed, rest) => {
    expect([hasGlob(pattern), splitGlob(pattern)]).toEqual([isGlob, { fixed, rest }]);
  });

  test("escapeGlob matches exactly its path, for any characters", () => {
    const paths = fc.string({ unit: fc.constantFrom(..."a/*?[]{},!\\^-. é😀"), maxLength: 12 });
    fc.assert(
      fc.property(paths, (path) => {
        expect(hasGlob(escapeGlob(path))).toBe(false);
        expect(unescapeGlob(escapeGlob(path))).toBe(path);
      }),
      cases(100),
    );
  });

  test("a pattern with too many alternatives, or too long, is a config error", async () => {
    const braces = `/data/${"{a,b}".repeat(10)}.db`;
    await expect(expandGlob(braces.replace("{a,b}", "a"), ENV)).resolves.toEqual([]);
    const nested = `/data/${"{a,".repeat(500)}${"}".repeat(500)}/${"{a,b}".repeat(30)}`;
    for (const pattern of [braces, nested, `/${"a".repeat(5000)}`, `/${"{".repeat(5000)}`]) {
      const error = await expandGlob(pattern, ENV).catch((thrown: unknown) => thrown);
      expect(hasCode(error, "config")).toBe(true);
    }
  });
});

describe("expandGlob finds", () => {
  const NAMES = [
    "a.db",
    "b.db",
    "ab.db",
    "é.db",
    "😀.db",
    ".h.db",
    "!a.db",
    "a,b",
    "[x]",
    "{c}",
    "n",
    "-",
    "a*",
    "^",
  ];
  const CASES: readonly (readonly [pattern: string, found: readonly string[]])[] = [
    ["*.db", ["!a.db", "a.db", "ab.db", "b.db", "é.db", "😀.db"]],
    [".*.db", [".h.db"]],
    ["[.]h.db", []],
    ["?h.db", []],
    ["\\.*.db", [".h.db"]],
    ["?.db", ["a.db", "b.db", "é.db", "😀.db"]],
    ["[a-b].db", ["a.db", "b.db"]],
    ["[!a].db", ["b.db", "é.db", "😀.db"]],
    ["[^a].db", ["b.db", "é.db", "😀.db"]],
    ["[é😀].db", ["é.db", "😀.db"]],
    ["[a\\-b].db", ["a.db", "b.db"]],
    ["[z-a].db", []],
    ["!*.db", ["!a.db"]],
    ["\\n*", ["n"]],
    ["[\\n]", ["n"]],
    ["[]-]", ["-"]],
    ["[!!^]", ["-", "n"]],
    ["[\\^]", ["^"]],
    ["\\[x\\]", ["[x]"]],
    ["[[]x]", ["[x]"]],
    ["{c}*", ["{c}"]],
    ["a\\*", ["a*"]],
    ["a[*]", ["a*"]],
    ["a[,]b", ["a,b"]],
    ["{a,b}{,b}.db", ["a.db", "ab.db", "b.db"]],
    ["{a\\,b,{n,z}}", ["a,b", "n"]],
    ["{*.db,a.db,a*}", ["!a.db", "a*", "a,b", "a.db", "ab.db", "b.db", "é.db", "😀.db"]],
    ["**.db", ["!a.db", "a.db", "ab.db", "b.db", "é.db", "😀.db"]],
    ["*/", []],
    ["", []],
  ];
  const root = tree(...NAMES);
  test.each(CASES)("%j", async (pattern, found) => {
    expect(await find(root, pattern)).toEqual([...found]);
  });

  test("each path with its part below the fixed folder, sorted", async () => {
    const data = tree("romneys/app.db", "smiths/app.db", "smiths/other.db", "x.db", "empty/", "app.db/");
    const found = await expandGlob(`${data}/{smiths,rom*}/app.db`, ENV);
    expect(found).toEqual([
      { path: `${data}/romneys/app.db`, relative: "romneys/app.db" },
      { path: `${data}/smiths/app.db`, relative: "smiths/app.db" },
    ]);
    expect(await expandGlob(`${data}/x.db`, ENV)).toEqual([{ path: `${data}/x.db`, relative: "x.db" }]);
    expect(await find(data, "{romneys/../x,{smiths/o*,none/n}*}.db")).toEqual([
      "romneys/../x.db",
      "smiths/other.db",
    ]);
    expect(await expandGlob("/pro[c]/self/status", ENV)).toEqual([
      { path: "/proc/self/status", relative: "proc/self/status" },
    ]);
  });

  test("relative patterns below the working directory, whatever its name", async () => {
    const data = tree("[x]*/a.db", "x/a.db");
    const before = process.cwd();
    process.chdir(join(data, "[x]*"));
    try {
      expect(await expandGlob("./*.db", ENV)).toEqual([{ path: `${data}/[x]*/a.db`, relative: "a.db" }]);
    } finally {
      process.chdir(before);
    }
  });

  test("nothing in a missing folder, or below a file", async () => {
    const data = tree("file");
    for (const pattern of ["none/*.db", "none/**", "file/*", "file/**/x", "*/x", "none/a.db"]) {
      expect(await find(data, pattern)).toEqual([]);
    }
  });
});

describe("expandGlob with links and other kinds", () => {
  test("follows symlinked files, and symlinked folders except with **", async () => {
    const data = tree(
      "real/a.db",
      "link -> real",
      "a.db -> real/a.db",
      "gone.db -> nowhere",
      "loop.db -> loop.db",
    );
    expect(await find(data, "*.db")).toEqual(["a.db"]);
    expect(await find(data, "*/*.db")).toEqual(["link/a.db", "real/a.db"]);
    expect(await find(data, "link/**/*.db")).toEqual(["link/a.db"]);
    expect(await find(data, "**/*.db")).toEqual(["a.db", "real/a.db"]);
    expect(await find(data, "**")).toEqual(["a.db", "real/a.db"]);
    expect(await find(data, "loop.db/*")).toEqual([]);
  });

  test("ends where symlinks lead back", async () => {
    const data = tree("a/b/c.db", "a/b/up -> ..", "a/self -> .");
    expect(await find(data, "**/c.db")).toEqual(["a/b/c.db"]);
    expect(await find(data, "**/*/**/c.db")).toEqual(["a/b/c.db", "a/b/up/b/c.db", "a/self/b/c.db"]);
  });

  test("skips folders, pipes, sockets and devices", async () => {
    const data = tree("x.db/", "file.db", "pipe-link.db -> pipe.db");
    expect(spawnSync("mkfifo", [join(data, "pipe.db")]).status).toBe(0);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(data, "socket.db"), resolve));
    try {
      for (const pattern of ["*.db", "{x,file,pipe,socket,pipe-link}.db", "**"]) {
        expect(await find(data, pattern)).toEqual(["file.db"]);
      }
      expect(await expandGlob("/dev/nul*", ENV)).toEqual([]);
    } finally {
      server.close();
    }
  });

  test("skips a name that is not UTF-8, which no path can spell", async () => {
    const data = tree("a.db");
    const make = `cd "$1" && : >"$(printf '\\377').db" && mkdir "$(printf '\\376')"`;
    expect(spawnSync("sh", ["-c", make, "sh", data]).status).toBe(0);
    expect(await find(data, "*.db")).toEqual(["a.db"]);
    expect(await find(data, "**")).toEqual(["a.db"]);
  });

  test("descends to any depth without recursion, and reports a path that is too long", async () => {
    const data = tree(`${"d/".repeat(1500)}a.db`, "e/");
    expect(await find(data, "**/a.db")).toEqual([`${"d/".repeat(1500)}a.db`]);
    const name = "e".repeat(200);
    const dig = `cd "$1" && for i in $(seq 25); do mkdir ${name} && cd -P ${name} || exit 1; done`;
    expect(spawnSync("sh", ["-c", dig, "sh", join(data, "e")]).status).toBe(0);
    try {
      await expect(find(data, "e/**/a.db")).rejects.toThrow(
        /^Cannot look for databases at .*\/e+: ENAMETOOLONG$/,
      );
    } finally {
      spawnSync("rm", ["-rf", data]);
    }
  });
});

test("expandGlob never finds SQLite's companions or walrust's own files", async () => {
  const temporary = "0123456789ab";
  const data = tree(
    ...["app.db", "app.db-wal", "app.db-shm", "app.db-journal", ".app.db-walrust/state.json"],
    ...[
      ".app.db-walrust/ltx/0000000000000002-0000000000000002.ltx",
      ".app.db-walrust.pre-restore-2026/pages.sum",
    ],
    ...["app.db.pre-restore-2026-01-01T00-00-00-000Z", "app.db.pre-restore-2026-01-01T00-00-00-000Z-wal"],
    ...[
      "app.db-replica-state",
      "app.db-replica-state.tmp",
      `.app.db.restore-${temporary}`,
      ".app.db.bootstrap",
    ],
    ...[`.app.db.restore-${temporary}-journal`, `.app.db.bootstrap.restore-${temporary}`],
    ...[
      "walrust-verify-Ab3dE9/app.db",
      "walrust-compact-000000/x.ltx",
      "food-journal/app.db",
      "journal",
      ".env",
    ],
    ...["walrust-verify/app.db", ".x-walrust -> food-journal"],
  );
  const kept = ["app.db", "food-journal/app.db", "journal", "walrust-verify/app.db"];
  expect(await find(data, "**")).toEqual(kept);
  expect(await find(data, "{,.}**/{.*,*}")).toEqual([".env", ...kept]);
  expect(await find(data, "{,.*/}{,*/}{.,}*")).toEqual([".env", ...kept]);
  expect(await find(data, ".app.db-walrust/*")).toEqual([]);
  expect(await find(data, ".app.db-walrust/state.json")).toEqual([]);
  expect(await find(data, "*/../.app.db-walrust/ltx/*")).toEqual([]);
  expect(await find(data, "{,x}app.db-wal")).toEqual([]);
});

/** Runs as a user without root's rights over files. */
async function unprivileged<T>(run: () => Promise<T>): Promise<T> {
  process.seteuid!(65534);
  try {
    return await run();
  } finally {
    process.seteuid!(0);
  }
}

/** Only root can create folders that are closed to the user 65534. */
describe.skipIf(process.geteuid!() !== 0)("expandGlob and folders that may not be read", () => {
  const errorOf = async (root: string, pattern: string): Promise<WalrustError> => {
    const error = await unprivileged(() => find(root, pattern).catch((thrown: unknown) => thrown));
    expect(hasCode(error, "database")).toBe(true);
    return error as WalrustError;
  };

  test("does not list a tenant's folder for a plain name in it", async () => {
    const data = tree("a/app.db", "b/c/app.db", "d/");
    for (const folder of ["a", "b", "b/c"]) chmodSync(join(data, folder), 0o711);
    expect(await unprivileged(() => find(data, "*/app.db"))).toEqual(["a/app.db"]);
    expect(await unprivileged(() => find(data, "*/{c/,}app.db"))).toEqual(["a/app.db", "b/c/app.db"]);
    expect((await errorOf(data, "*/app*")).context).toEqual({ folder: join(data, "a"), code: "EACCES" });
  });

  const DENIED: readonly (readonly [pattern: string, place: string])[] = [
    ["secret/*.db", "/secret"],
    ["secret/app.db", "/secret"],
    ["*/*.db", "/(secret|to-secret|link.db)"],
    ["**/*.db", "/(secret|link.db)"],
    ["*/app.db", "/(secret|to-secret|link.db)"],
    ["a*/../secret/app.db", "/a/../secret"],
    ["to-secret/app.db", "/to-secret"],
    ["link.db", "/link.db"],
    ["l*.db", "/link.db"],
    ["s*/x/y/*.db", "/secret/x/y"],
  ];
  test.each(DENIED)("%j is an error, not an empty folder", async (pattern, place) => {
    const data = tree("a/app.db", "secret/app.db", "link.db -> secret/app.db", "to-secret -> secret");
    chmodSync(join(data, "secret"), 0o700);
    const { message, retryable, hint } = await errorOf(data, pattern);
    expect(message).toMatch(new RegExp(`^Cannot look for databases at ${data}${place}: EACCES$`));
    expect(retryable).toBe(true);
    expect(hint).toContain("user");
  });

  test("can report errors below the fixed folder; the fixed folder itself must be readable", async () => {
    const data = tree("a/app.db", "secret/app.db", "z/app.db", "link.db -> secret/app.db");
    chmodSync(join(data, "secret"), 0o700);
    const reported: string[] = [];
    const look = (pattern: string) =>
      unprivileged(() =>
        expandGlob(pattern, ENV, (folder, error) => reported.push(`${folder} ${error.code}`)),
      );
    for (const pattern of ["*/{app,b}.db", "**/{app,b}.db", "{*.db,*/app.db}"]) {
      const found = await look(join(data, pattern));
      expect(found.map(({ relative }) => relative)).toEqual(["a/app.db", "z/app.db"]);
      const places = pattern.startsWith("**") ? ["secret"] : ["link.db", "secret"];
      expect(reported.splice(0)).toEqual(places.map((place) => `${data}/${place} database`));
    }
    await expect(look(join(data, "secret/*.db"))).rejects.toThrow("EACCES");
    expect(reported).toEqual([]);
  });
});

test("expandGlob yields to other tasks while it reads many entries", async () => {
  const data = tree(...Array.from({ length: 1000 }, (_, index) => `t${index}/app.db`));
  let turns = 0;
  const env = { turn: async () => void turns++ };
  expect(await expandGlob(`${data}/*/app.db`, env)).toHaveLength(1000);
  expect(turns).toBe(Math.floor(2000 / 256));
});

test("expandGlob stops where symlinks multiply", async () => {
  const data = tree(...Array.from({ length: 100 }, (_, index) => `l${index} -> .`));
  const error = await find(data, "*/*/*/*.db").catch((thrown: unknown) => thrown);
  expect(hasCode(error, "database")).toBe(true);
  expect((error as WalrustError).message).toContain("covers more than");
});

test.each<[pattern: string, path: string, isMatch: boolean]>([
  ["/srv/*/app.db", "/srv/one/app.db", true],
  ["/srv/*/app.db", "/srv/one/two/app.db", false],
  ["/srv/*/app.db", "/srv/one/app.db-wal", false],
  ["/srv/*.db", "/srv/.hidden.db", false],
  ["/srv/.*.db", "/srv/.hidden.db", true],
  ["/srv/**/app.db", "/srv/app.db", true],
  ["/srv/**/app.db", "/srv/a/b/app.db", true],
  ["/srv/**/app.db", "/srv/.a/app.db", false],
  ["/srv/**", "/srv/a/b.db", true],
  ["/srv/{a,b/c}/?.db", "/srv/b/c/x.db", true],
  ["/srv/{a,b/c}/?.db", "/srv/b/x.db", false],
  ["/srv/\\*/app.db", "/srv/one/app.db", false],
  ["/srv/\\*/app.db", "/srv/*/app.db", true],
])("matchesGlob(%p, %p) is %p", (pattern, path, isMatch) => {
  expect(matchesGlob(pattern, path)).toBe(isMatch);
});

/**
 * loadConfigFile and parseConfigFile refuse each mistake with its place and a hint. They read the files that
 * editors and tools write.
 */
import { describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type ConfigFile,
  loadConfigFile,
  loadFoundConfigFile,
  parseConfigFile,
  type Warning,
} from "../../src/config/config-file.ts";
import { isPrivateGroup } from "../../src/config/private-group.ts";
import { WalrustError } from "../../src/errors.ts";
import { tempFolder } from "../support/temp.ts";

function read(text: string, environment: Record<string, string> = {}): ConfigFile {
  return parseConfigFile(text, "/etc/walrust/walrust.toml", "walrust.toml", environment);
}

/** The message for a mistake, and its place by `context`, which must agree with the message. */
function refusalOf(run: () => unknown): { at: string; said: string; hint: string | null } {
  try {
    run();
  } catch (error) {
    if (!(error instanceof WalrustError)) throw error;
    const { code, message, hint, context } = error;
    const place = `walrust.toml:${context["line"]}:${context["column"]}: `;
    expect([code, context["file"], message.slice(0, place.length)]).toEqual([
      "config",
      "walrust.toml",
      place,
    ]);
    return {
      at: `${context["line"]}:${context["column"]}`,
      said: message.slice(place.length),
      hint: hint ?? null,
    };
  }
  throw new Error("it was not refused");
}

/** [text, line:column, message, hint] */
type Row = readonly [text: string, at: string, said: string, hint?: string];

const SECTION_NAMES =
  "s3, sync, state, cache, compaction, retention, retry, metrics, heartbeat, webhooks, databases";
const SECTION_LIST = `Sections are ${SECTION_NAMES}`;
const S3_KEYS =
  "Keys are bucket, endpoint, region, access_key_id, access_key_id_file, secret_access_key, " +
  "secret_access_key_file, session_token, session_token_file, profile, path_style, " +
  "storage_class, sse, sse_kms_key_id, ca_file, " +
  "content_md5";

const NAMES: readonly Row[] = [
  ["[synk]\n", "1:2", 'Unknown section "synk"', "Did you mean [sync]?"],
  ["[[database]]\n", "1:3", 'Unknown section "database"', "Did you mean [[databases]]?"],
  ["\n  [ s4 ]\n", "2:5", 'Unknown section "s4"', "Did you mean [s3]?"],
  ["[Sync]\n", "1:2", 'Unknown section "Sync"', "Did you mean [sync]?"],
  ["[something]\n", "1:2", 'Unknown section "something"', SECTION_LIST],
  ["[__proto__]\n", "1:2", 'Unknown section "__proto__"', SECTION_LIST],
  ["[toString]\n", "1:2", 'Unknown section "toString"', SECTION_LIST],
  ['bucket = "s3://b"\n', "1:1", 'Unknown section "bucket"', "bucket belongs to [s3]"],
  ['path = "x"\n', "1:1", 'Unknown section "path"', "path belongs to [state] or [cache] or [[databases]]"],
  ["s3 = 5\n", "1:1", "s3 must be written as [s3]"],
  ["[[s3]]\n", "1:3", "s3 must be written as [s3]"],
  ['[databases]\npath = "x"\n', "1:2", "databases must be written as [[databases]]"],
  ["webhooks = [1]\n", "1:1", "webhooks must be written as [[webhooks]]"],
  ["sync = 2026-01-01\n", "1:1", "sync must be written as [sync]"],
  ['[s3]\nbukcet = "x"\n', "2:1", 'Unknown key "bukcet" in [s3]', "Did you mean bucket?"],
  ['[s3]\naccess_key = "x"\n', "2:1", 'Unknown key "access_key" in [s3]', "Did you mean access_key_id?"],
  ["[s3]\nmax_size = 1\n", "2:1", 'Unknown key "max_size" in [s3]', "max_size belongs to [cache]"],
  ["[s3]\nurl = 1\n", "2:1", 'Unknown key "url" in [s3]', "url belongs to [heartbeat] or [[webhooks]]"],
  ['[s3]\n"a\\nb" = 1\n', "2:1", 'Unknown key "a\\nb" in [s3]', S3_KEYS],
  ["[s3]\nconstructor = 1\n", "2:1", 'Unknown key "constructor" in [s3]', S3_KEYS],
  ["s3.regio = 1\n", "1:4", 'Unknown key "regio" in [s3]', "Did you mean region?"],
  ["s3 = { region = 'a', regio = 1 }\n", "1:22", 'Unknown key "regio" in [s3]', "Did you mean region?"],
  [
    "[sync]\nsnapshot_intervall = 1\n",
    "2:1",
    'Unknown key "snapshot_intervall" in [sync]',
    "Did you mean snapshot_interval?",
  ],
  [
    "[retention]\nregion_file = 'a'\n",
    "2:1",
    'Unknown key "region_file" in [retention]',
    "Keys are hourly, daily, weekly, monthly",
  ],
];

const WAL = "sync.wal_sync_interval";
const TYPES: readonly Row[] = [
  ["[s3]\nregion = 5\n", "2:1", "s3.region is 5, expected a text"],
  ["[s3]\nregion = ['a']\n", "2:1", 's3.region is ["a"], expected a text'],
  ["[s3]\nregion = ''\n", "2:1", "s3.region is empty"],
  ['[s3]\nregion = "eu\\n"\n', "2:1", "s3.region has a line break or another control character"],
  ["[s3]\nsse = 'aes256'\n", "2:1", 's3.sse is "aes256", expected one of AES256, aws:kms, aws:kms:dsse'],
  ["[s3]\npath_style = 'true'\n", "2:1", 's3.path_style is "true", expected true or false'],
  ["[s3]\npath_style = 1\n", "2:1", "s3.path_style is 1, expected true or false"],
  [`[sync]\n${"wal_sync_interval"} = '1'\n`, "2:1", `${WAL} is "1", expected seconds from 0.01 to 3600`],
  ["[sync]\nwal_sync_interval = true\n", "2:1", `${WAL} is true, expected seconds from 0.01 to 3600`],
  ["[sync]\nwal_sync_interval = nan\n", "2:1", `${WAL} is NaN, expected seconds from 0.01 to 3600`],
  ["[sync]\nwal_sync_interval = inf\n", "2:1", `${WAL} is Infinity, expected seconds from 0.01 to 3600`],
  ["[sync]\nwal_sync_interval = -inf\n", "2:1", `${WAL} is -Infinity, expected seconds from 0.01 to 3600`],
  [
    "[sync]\nwal_sync_interval = 2026-01-01\n",
    "2:1",
    `${WAL} is the date 2026-01-01, expected seconds from 0.01 to 3600`,
  ],
  [
    "[sync]\nwal_sync_interval = 07:32:00\n",
    "2:1",
    `${WAL} is the date 07:32:00.000, expected seconds from 0.01 to 3600`,
  ],
  ["[sync]\nwal_sync_interval = { a = 1 }\n", "2:1", `${WAL} is a table, expected seconds from 0.01 to 3600`],
  ["[sync.wal_sync_interval]\na = 1\n", "1:7", `${WAL} is a table, expected seconds from 0.01 to 3600`],
  [
    "[sync]\nmax_changes = 1.5\n",
    "2:1",
    "sync.max_changes is 1.5, expected a whole number from 0 to 1000000000",
  ],
  [
    "[retry]\nbase_delay_ms = 0.5\n",
    "2:1",
    "retry.base_delay_ms is 0.5, expected milliseconds from 0 to 600000",
  ],
  [
    "[retry]\nbase_delay_ms = '5s'\n",
    "2:1",
    'retry.base_delay_ms is "5s", expected milliseconds from 0 to 600000',
  ],
  [
    "[cache]\nretention = '1w'\n",
    "2:1",
    'cache.retention is "1w", expected a duration such as 30, "10m" or "24h" of at least 0',
  ],
  [
    "[cache]\nmax_size = '5XB'\n",
    "2:1",
    'cache.max_size is "5XB", expected bytes or a size such as "500MB" of at least 1048576',
  ],
  ["[compaction]\nlevels = '30s'\n", "2:1", 'compaction.levels is "30s", expected a list'],
  ["[compaction]\nlevels = []\n", "2:1", "compaction.levels is [], expected a list of 1 to 3 entries"],
  [
    "[compaction]\nlevels = [1, 2, 3, 4]\n",
    "2:1",
    "compaction.levels is [1,2,3,4], expected a list of 1 to 3 entries",
  ],
  [
    "[compaction]\nlevels = ['1h', '30s']\n",
    "2:1",
    'compaction.levels is ["1h","30s"], expected durations that grow',
  ],
  [
    "[compaction]\nlevels = ['60s', '1m']\n",
    "2:1",
    'compaction.levels is ["60s","1m"], expected durations that grow',
  ],
  [
    "[compaction]\nlevels = [[1]]\n",
    "2:1",
    'compaction.levels is [1], expected a duration such as 30, "10m" or "24h" from 1 to 2592000',
  ],
  [
    `[s3]\nregion = [${"1,".repeat(80)}]\n`,
    "2:1",
    `s3.region is ${JSON.stringify(Array.from({ length: 80 }, () => 1)).slice(0, 100)}…, expected a text`,
  ],
];

const EVENTS = "expected one of sync_failed, auth_failure, corruption_detected, circuit_breaker_open";
const ENTRIES: readonly Row[] = [
  ["\n[[webhooks]]\nevents = ['sync_failed']\n", "2:1", "a webhook needs a url"],
  [
    "[[webhooks]]\nurl = 'http://h'\nevents = ['sync_fail']\n",
    "3:1",
    `webhooks.events is "sync_fail", ${EVENTS}`,
  ],
  [
    "[[webhooks]]\nurl = 'http://h'\nevents = []\n",
    "3:1",
    "webhooks.events is [], expected a list of 1 to 4 entries",
  ],
  [
    "[[webhooks]]\nurl = 'ftp://h'\n",
    "2:1",
    "webhooks.url is not usable, expected a URL that begins with https:// or http://",
  ],
  [
    "[heartbeat]\nurl = 'hc.example'\n",
    "2:1",
    "heartbeat.url is not usable, expected a URL that begins with https:// or http://",
  ],
  ["[[databases]]\nname = 'x'\n", "1:1", "a database needs a path"],
  ["[[databases]]\npath = ''\n", "2:1", "databases.path is empty"],
  [
    '[[databases]]\npath = "a\\u0000b"\n',
    "2:1",
    "databases.path has a line break or another control character",
  ],
  [
    "[[databases]]\npath = '*.db'\nname = 'x'\n",
    "3:1",
    "a glob has many databases and takes no name",
    "Give a prefix instead",
  ],
  [
    "[[databases]]\npath = 'x'\nenabled = false\n",
    "3:1",
    "a database cannot be switched off: leave its entry out",
    "To switch off its compaction: [databases.compaction] enabled = false",
  ],
  [
    "[[databases]]\npath = 'x'\nbucket = 'y'\n",
    "3:1",
    'Unknown key "bucket" in [[databases]]',
    "bucket belongs to [s3]",
  ],
  [
    "[[databases]]\npath = 'x'\nnane = 'y'\n",
    "3:1",
    'Unknown key "nane" in [[databases]]',
    "Did you mean name?",
  ],
  ["[[databases]]\npath = 'x'\nsync = 5\n", "3:1", "databases.sync must be a table"],
  [
    "[[databases]]\npath = 'x'\nhourly = 1\n[databases.retention]\nhourly = 2\n",
    "5:1",
    "retention.hourly is given twice for this database",
  ],
  [
    "[[databases]]\npath = 'x'\n[databases.sync]\non_idle = -1\n",
    "4:1",
    "sync.on_idle is -1, expected seconds from 0 to 31536000",
  ],
  ["[[databases]]\npath = '/a/x'\n[[databases]]\npath = '/a/x'\n", "3:1", "/a/x is already listed in line 1"],
  [
    "[[databases]]\npath = '/etc/walrust/x'\n[[databases]]\npath = './y/../x'\n",
    "3:1",
    "/etc/walrust/x is already listed in line 1",
  ],
  [
    "[[databases]]\npath = '/a/*.db'\n[[databases]]\npath = '/a//*.db'\n",
    "3:1",
    "/a/*.db is already listed in line 1",
  ],
  [
    "[[databases]]\npath = 'x'\nname = 'n'\n[[databases]]\npath = 'y'\nname = 'n'\n",
    "4:1",
    "two databases have the name n: /etc/walrust/x (line 1) and /etc/walrust/y",
  ],
  [
    "[[databases]]\npath = 'x'\nprefix = 'a'\nname = 'n'\n[[databases]]\npath = 'y'\nname = 'a/n'\n",
    "5:1",
    "two databases have the name a/n: /etc/walrust/x (line 1) and /etc/walrust/y",
  ],
];

const BELOW = "Write it like a/b: without a slash at the ends, . or ..";
const BAD_NAMES = ["/a", "a/", "a//b", ".", "..", "a/../b", "../a", "a/.", "a\\b"];

/** Rows with a hint or null. A test with one argument less would receive a callback. */
function complete(rows: readonly Row[]): [text: string, at: string, said: string, hint: string | null][] {
  return rows.map(([text, at, said, hint = null]) => [text, at, said, hint]);
}

const PLACES: readonly Row[] = [
  ["[s3\n", "1:4", "illegal character in key"],
  ["[s3]\nregion = 'a'\nregion = 'b'\n", "3:1", "trying to redefine an already defined table or value"],
  ["[s3]\n[s3]\n", "2:2", "trying to redefine an already defined table or value"],
  ["[s3]\nregion = a\n", "2:10", "invalid value"],
];

describe("a configuration file is refused:", () => {
  test.each(complete([...NAMES, ...TYPES, ...ENTRIES]))("%j at %s", (text, at, said, hint) => {
    expect(refusalOf(() => read(text))).toEqual({ at, said, hint });
  });

  test.each(BAD_NAMES.flatMap((name) => [["name", name] as const, ["prefix", name] as const]))(
    "a database's %s %j that leads outside the destination",
    (key, name) => {
      const text = `[[databases]]\npath = "x"\n${key} = ${JSON.stringify(name)}\n`;
      const said = `${JSON.stringify(name)} is not a path below the destination`;
      expect(refusalOf(() => read(text))).toEqual({ at: "3:1", said, hint: BELOW });
    },
  );

  test.each(["name", "prefix"])("a %s of more than 255 bytes", (key) => {
    const textOf = (name: string): string => `[[databases]]\npath = "x"\n${key} = "${name}"\n`;
    const said = "the name is longer than 255 bytes";
    expect(refusalOf(() => read(textOf("ä".repeat(128))))).toMatchObject({ at: "3:1", said });
    expect(read(textOf("a".repeat(255))).databases).toHaveLength(1);
  });

  // smol-toml writes these reasons.
  test.each(complete(PLACES))("%j is no TOML at %s", (text, at, said) => {
    expect(refusalOf(() => read(text))).toEqual({ at, said, hint: null });
  });
});

describe("loadConfigFile", () => {
  const folder = tempFolder("config");
  const write = (name: string, content: string | Uint8Array): string => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const problemOf = (path: string): string => {
    try {
      loadConfigFile(path, {});
    } catch (error) {
      if (!(error instanceof WalrustError)) throw error;
      expect([error.code, error.hint, error.context]).toEqual([
        "config",
        "Name the right file with --config PATH",
        { file: path },
      ]);
      const lead = `Cannot read the configuration file ${path}: `;
      expect(error.message).toStartWith(lead);
      return error.message.slice(lead.length);
    }
    throw new Error("it was not refused");
  };

  test("loadConfigFile reports why a file cannot be read", () => {
    mkdirSync(join(folder, "sub"));
    symlinkSync("nowhere", join(folder, "link"));
    symlinkSync("loop", join(folder, "loop"));
    expect(problemOf(join(folder, "none"))).toBe("ENOENT");
    expect(problemOf(join(folder, "sub"))).toBe("EISDIR");
    expect(problemOf(join(folder, "link"))).toBe("ENOENT");
    expect(problemOf(join(folder, "loop"))).toBe("ELOOP");
    expect(problemOf(write("latin", Uint8Array.from([0x23, 0x20, 0xe4, 0x0a])))).toBe("it is not UTF-8 text");
    expect(problemOf(write("huge", "#".repeat(4 * 1024 ** 2 + 1)))).toBe("it is larger than 4194304 bytes");
    expect(problemOf("/dev/zero")).toBe("it is larger than 4194304 bytes");
  });

  test.skipIf(process.getuid?.() === 0)("loadConfigFile says that it may not read a file", () => {
    const path = write("private", "");
    chmodSync(path, 0);
    expect(problemOf(path)).toBe("EACCES");
  });

  test("loadConfigFile reads the files that editors and tools write", () => {
    const region = (content: string | Uint8Array): unknown =>
      loadConfigFile(write("made", content), {}).values.get("s3.region")?.value;
    expect(region("")).toBeUndefined();
    expect(region("# nothing\n\n")).toBeUndefined();
    expect(region("[s3]\nregion = 'eu'")).toBe("eu");
    expect(region("\uFEFF[s3]\r\nregion = 'eu'\r\n")).toBe("eu");
    expect(region(`[s3]\nregion = 'eu'\n${"#".repeat(4 * 1024 ** 2 - 20)}`)).toBe("eu");
    expect(region("s3.region = 'eu'")).toBe("eu");
    expect(region("s3 = { region = 'eu' }")).toBe("eu");
    symlinkSync("made", join(folder, "linked"));
    expect(loadConfigFile(join(folder, "linked"), {}).values.get("s3.region")?.value).toBe("eu");
  });

  test("places behind a byte order mark and CRLF are those that an editor shows", () => {
    const path = write("crlf", "\uFEFF[s3]\r\n# ä𝄞\r\n  regio = 'eu'\r\n");
    expect(() => loadConfigFile(path, {})).toThrow(`${path}:3:3: Unknown key "regio" in [s3]`);
  });

  test("paths in a file begin at its folder, whatever the working directory", () => {
    const path = write("paths", "[cache]\npath = 'spool'\n[[databases]]\npath = 'data/app.db'\n");
    const file = loadConfigFile(path, {});
    expect(file.values.get("cache.path")?.value).toBe(join(folder, "spool"));
    expect(file.databases[0]?.path).toBe(join(folder, "data/app.db"));
  });
});

describe("loadConfigFile warns", () => {
  function warningsOf(text: string, mode: number): readonly Warning[] {
    const path = join(tempFolder("exposed"), "walrust.toml");
    writeFileSync(path, text, { mode: 0o600 });
    chmodSync(path, mode);
    return loadConfigFile(path, { KEY: "from-a-variable" }).warnings ?? [];
  }
  const SECRETS = `[s3]\naccess_key_id = "AKIA1"\nsecret_access_key = "hidden1"\nregion = "eu-west-1"
[[webhooks]]\nurl = "https://hooks.example/hidden2"\n[heartbeat]\nurl = "https://beat.example/hidden3"\n`;

  test("of secrets in a world-readable file, naming keys and no secret", () => {
    const [warning, ...more] = warningsOf(SECRETS, 0o644);
    expect(more).toEqual([]);
    expect(warning!.message).toContain("every user of this machine can read s3.");
    for (const name of ["s3.secret_access_key", "webhooks.url", "heartbeat.url"]) {
      expect(warning!.message).toContain(name);
    }
    expect(warning!.message).not.toContain("s3.region");
    expect(JSON.stringify(warning)).not.toMatch(/AKIA1|hidden/);
    expect(warning!.hint).toContain("chmod 600 ");
  });

  test.each([
    ["only its owner can read it", SECRETS, 0o600],
    ["its group can read it", SECRETS, 0o640],
    ["it has no secret", '[s3]\nregion = "eu-west-1"\n', 0o644],
    ["its secrets come from the environment", `[s3]\nsecret_access_key = "$\{KEY}"\n`, 0o644],
  ])("not when %s", (_, text, mode) => {
    expect(warningsOf(text, mode)).toEqual([]);
  });
});

describe("loadFoundConfigFile", () => {
  function fileWith(mode: number): string {
    const path = join(tempFolder("found"), "walrust.toml");
    writeFileSync(path, '[s3]\nbucket = "file:///b"\n');
    chmodSync(path, mode);
    return path;
  }
  const ownUid = process.geteuid!();
  const ownGroupProblem = isPrivateGroup(process.getegid!(), ownUid) ? null : "its group may write to it";

  test.each([0o600, 0o644, 0o400])("reads a file of this user with mode %o", (mode) => {
    expect(loadFoundConfigFile(fileWith(mode), {}).values.size).toBe(1);
  });

  test.each([
    [0o666, "everybody may write to it"],
    [0o602, "everybody may write to it"],
    ...(ownGroupProblem === null ? [] : ([[0o660, ownGroupProblem]] as const)),
  ] as const)("refuses a file with mode %o, and advises to name it", (mode, problem) => {
    const path = fileWith(mode);
    expect(() => loadFoundConfigFile(path, {})).toThrow(`in this folder: ${problem}`);
    expect(loadConfigFile(path, {}).values.size).toBe(1);
    try {
      loadFoundConfigFile(path, {});
    } catch (error) {
      expect((error as WalrustError).code).toBe("config");
      expect((error as WalrustError).hint).toContain(`--config ${path}`);
    }
  });

  test("refuses a file of another user, and a pipe", () => {
    const path = fileWith(0o600);
    // A user who is not root cannot give the file away, so another user reads it.
    const other = ownUid === 0 ? null : ownUid + 1;
    if (other !== null) expect(() => loadFoundConfigFile(path, {}, other)).toThrow("another user");
    expect(() => loadFoundConfigFile("/dev/null", {})).toThrow("not a regular file");
  });
});

/**
 * No secret leaks. The test runs verbs that succeed and fail, at every log level. It searches their output,
 * their files, the stored objects and the status server for keys, tokens and private URLs, in every encoding.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { HookServer } from "../../observability/hook-server.ts";
import { eventually } from "../../support/eventually.ts";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { assertNoSlip } from "../../support/oracles/run-checks.ts";
import {
  collect,
  type Run,
  runWalrust,
  spawnWalrust,
  type Variables,
} from "../../support/processes/binary.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

const SECRET = "S3CRET/key+with=signs&more";
const TOKEN = "T0KEN/of+a=session&more";
const KEY_ID = "AKIAS3CRETKEYID";
const HOOK_SECRET = "H00K S3CRET+/=";
const WRONG = "WR0NG/s3cret+key=";
/** The secrets in HookServer's private URL: userinfo, path and query. */
const URL_SECRETS = ["S3CRET-PASSWORD", "S3CRET-PATH", "S3CRET-QUERY"];
const SECRETS = [SECRET, TOKEN, KEY_ID, HOOK_SECRET, WRONG, ...URL_SECRETS];

/** Each secret in plain text, base64, hex, URL encoding and JSON. */
const SPELLINGS = SECRETS.flatMap((secret) => [
  secret,
  Buffer.from(secret).toString("base64").replace(/=+$/, ""),
  Buffer.from(secret).toString("base64url"),
  Buffer.from(secret).toString("hex"),
  encodeURIComponent(secret),
  encodeURI(secret),
  new URLSearchParams([["x", secret]]).toString().slice(2),
  JSON.stringify(secret).slice(1, -1),
]);

let server: S3Server;
let hooks: HookServer;

beforeAll(async () => {
  server = await S3Server.start({ accessKeyId: KEY_ID, secretAccessKey: SECRET, sessionToken: TOKEN });
  hooks = new HookServer();
});
afterAll(async () => {
  server.stop();
  await hooks.close();
});

/** @throws Error that names the place of a secret */
function assertNone(where: string, content: string | Uint8Array): void {
  const text = typeof content === "string" ? content : Buffer.from(content).toString("latin1");
  for (const spelling of SPELLINGS) {
    const at = text.indexOf(spelling);
    if (at !== -1)
      throw new Error(`${where} has ${spelling}: …${text.slice(Math.max(0, at - 80), at + 80)}…`);
  }
}

/** All files below a folder except those that the test wrote there. */
function assertNoneBelow(folder: string, own: readonly string[]): number {
  let count = 0;
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    assertNone("a file's name", path);
    if (!entry.isFile() || own.includes(path)) continue;
    assertNone(path, readFileSync(path));
    count++;
  }
  return count;
}

function assertNoneStored(): void {
  expect(server.objects.size).toBeGreaterThan(0);
  for (const [key, { bytes, headers }] of server.objects) {
    assertNone(key, bytes);
    assertNone(key, `${key} ${JSON.stringify(headers)}`);
  }
}

/** Possible sources of secrets. */
interface Source {
  readonly what: string;
  readonly env: Variables;
  /** Lines of [s3]; `folder` receives the files that they name. */
  readonly lines: (folder: string) => readonly string[];
}

const KEYS: Variables = {
  AWS_ACCESS_KEY_ID: KEY_ID,
  AWS_SECRET_ACCESS_KEY: SECRET,
  AWS_SESSION_TOKEN: TOKEN,
};

const SOURCES: readonly Source[] = [
  { what: "the environment", env: KEYS, lines: () => [] },
  {
    what: "walrust.toml",
    env: {},
    lines: () => [
      `access_key_id = '${KEY_ID}'`,
      `secret_access_key = '${SECRET}'`,
      `session_token = '${TOKEN}'`,
    ],
  },
  {
    what: "variables in walrust.toml",
    env: { MY_ID: KEY_ID, MY_SECRET: SECRET, MY_TOKEN: TOKEN },
    lines: () => [
      `access_key_id = '$\{MY_ID}'`,
      `secret_access_key = '$\{MY_SECRET}'`,
      `session_token = '$\{MY_TOKEN}'`,
    ],
  },
  {
    what: "files that walrust.toml names",
    env: {},
    lines: (folder) =>
      (["access_key_id", "secret_access_key", "session_token"] as const).map((name, index) => {
        writeFileSync(join(folder, name), `${[KEY_ID, SECRET, TOKEN][index]}\n`);
        return `${name}_file = '${join(folder, name)}'`;
      }),
  },
];

/** A folder with a database, and beside it a folder with its configuration. */
function makeSite({ lines }: Pick<Source, "lines">, endpoint = server.url) {
  const folder = tempFolder("site");
  const secrets = tempFolder("secret");
  const database = join(folder, "app.db");
  createAppDatabase(database);
  const config = join(secrets, "walrust.toml");
  const text = [
    ...["[s3]", "bucket = 's3://bucket/vm'", `endpoint = '${endpoint}'`, ...lines(secrets)],
    ...["[retry]", "max_retries = 1", "base_delay_ms = 1", "circuit_breaker_threshold = 1"],
    ...["[sync]", "shutdown_timeout = 0.2"],
    ...["[heartbeat]", `url = '${hooks.secretUrl}'`, "interval = 1"],
    ...["[[webhooks]]", `url = '${hooks.secretUrl}'`, `secret = '${HOOK_SECRET}'`],
    ...["[metrics]", `port = ${freePort()}`],
  ];
  writeFileSync(config, `${text.join("\n")}\n`);
  return { folder, database, config, port: Number(/port = (\d+)/.exec(text.join())![1]) };
}

function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop(true);
  return port;
}

type Site = ReturnType<typeof makeSite>;

/** Every verb except watch, with words for a site. */
function calls({ folder, database }: Site): string[][] {
  return [
    ["snapshot", database],
    ["restore", "app", "-o", join(folder, "restored.db"), "--force"],
    ["list"],
    ["verify", "--all", "--read-data", "--restore"],
    ["compact", "--all", "--force"],
    ["replicate", "s3://bucket/vm/app", "--local", join(folder, "replica.db"), "--once"],
    ["status", "app", "-b", "s3://bucket/vm"],
    ["sync", "app", "-b", "s3://bucket/vm"],
    ["doctor", database],
    ["explain", database],
    ["pragma"],
  ];
}

/** Verbs that end with 3 because no watch runs. */
const ASK_A_WATCH = ["status", "sync"];

const LOUD: readonly (readonly string[])[] = [
  ["--log-level", "debug"],
  ["--log-level", "debug", "--log-format", "json", "--json"],
];

/** Runs all verbs, as text and as JSON. @returns the exit codes of each */
async function runAll(site: Site, env: Variables): Promise<Record<string, number[]>> {
  const exitCodes: Record<string, number[]> = {};
  for (const flags of LOUD) {
    for (const words of calls(site)) {
      const run = await runWalrust([...words, "--config", site.config, ...flags], {
        cwd: site.folder,
        env: { WALRUST_TRACE: "1", ...env },
      });
      assertClean(words.join(" "), run);
      exitCodes[words[0]!] = [...(exitCodes[words[0]!] ?? []), run.exitCode];
    }
  }
  return exitCodes;
}

function assertClean(label: string, run: Run): void {
  assertNoSlip(run);
  assertNone(`stdout of ${label}`, run.stdout);
  assertNone(`stderr of ${label}`, run.stderr);
}

/** The pages of the status server that the test searches. */
let served = 0;

/** Watches until `isDone`, and searches the watch's output and its status pages. */
async function watchUntil(
  { database, config, port, folder }: Site,
  env: Variables,
  flags: readonly string[],
  isDone: () => boolean,
): Promise<Run> {
  const words = ["watch", database, "--config", config, ...flags];
  const child = await spawnWalrust(words, { cwd: folder, env: { WALRUST_TRACE: "1", ...env } });
  const ended = collect(child, "watch");
  await eventually("the watch is done", async () => isDone() || child.exitCode !== null);
  for (const path of ["metrics", "health", ""]) {
    // A watch that fails may have ended meanwhile.
    const answer = await fetch(`http://127.0.0.1:${port}/${path}`).catch(() => null);
    if (answer !== null) served++;
    if (answer !== null) assertNone(`/${path}`, await answer.text());
  }
  child.kill("SIGTERM");
  const run = await ended;
  assertClean("watch", run);
  return run;
}

const stored = (part: string): boolean => [...server.objects.keys()].some((key) => key.includes(part));

test.each(SOURCES.map((source) => [source.what, source] as const))(
  "with keys from %s no verb that succeeds shows them",
  async (_what, source) => {
    server.reset();
    served = 0;
    hooks.reply = 200;
    const site = makeSite(source);
    for (const flags of LOUD) {
      const beats = hooks.requests.length;
      const isDone = (): boolean => stored("app/manifest.json") && hooks.requests.length > beats;
      expect((await watchUntil(site, source.env, flags, isDone)).exitCode).toBe(0);
    }
    expect(served).toBe(6);
    const exitCodes = await runAll(site, source.env);
    for (const [verb, codes] of Object.entries(exitCodes)) {
      const expected = ASK_A_WATCH.includes(verb) ? 3 : 0;
      expect([verb, ...codes]).toEqual([verb, expected, expected]);
    }
    assertNoneStored();
    expect(assertNoneBelow(site.folder, [])).toBeGreaterThan(5);
  },
);

/** Faults of the store, and the exit code of a verb that needs the store. */
const TROUBLES: readonly (readonly [
  what: string,
  lines: readonly string[],
  exitCode: number,
  arrange: () => void,
])[] = [
  [
    "the secret key is wrong",
    [`access_key_id = '${KEY_ID}'`, `secret_access_key = '${WRONG}'`, `session_token = '${TOKEN}'`],
    4,
    () => {},
  ],
  [
    "the token has expired",
    [`access_key_id = '${KEY_ID}'`, `secret_access_key = '${SECRET}'`, `session_token = '${TOKEN}'`],
    4,
    () => {
      const answer = { status: 400, code: "ExpiredToken" };
      for (const kind of ["put", "get", "head", "list", "deleteMany", "createUpload"] as const) {
        server.inject({ kind, when: "before", answer, count: 1_000 });
      }
    },
  ],
  [
    "the store breaks every connection",
    [`access_key_id = '${KEY_ID}'`, `secret_access_key = '${SECRET}'`, `session_token = '${TOKEN}'`],
    4,
    () => {
      for (const kind of ["put", "get", "head", "list"] as const) {
        server.inject({ kind, when: "before", answer: "reset", count: 1_000 });
      }
    },
  ],
  ["one half of the keys is missing", [`secret_access_key = '${SECRET}'`], 2, () => {}],
];

test.each(TROUBLES)("when %s, no verb shows a secret", async (_what, lines, exitCode, arrange) => {
  server.reset();
  arrange();
  hooks.reply = 500;
  const site = makeSite({ lines: () => lines });
  const told = hooks.requests.length;
  for (const flags of LOUD) await watchUntil(site, {}, flags, () => hooks.requests.length > told + 1);
  const exitCodes = await runAll(site, {});
  for (const [verb, codes] of Object.entries(exitCodes)) {
    const isAlone = ASK_A_WATCH.includes(verb) && exitCode !== 2;
    const expected = verb === "pragma" ? 0 : isAlone ? 3 : exitCode;
    expect([verb, ...codes]).toEqual([verb, expected, expected]);
  }
  assertNoneBelow(site.folder, []);
});

test("an endpoint without a listener, or with userinfo, shows no secret", async () => {
  server.reset();
  const nobody = makeSite(SOURCES[1]!, `http://127.0.0.1:${freePort()}`);
  const exitCodes = await runAll(nobody, {});
  expect(exitCodes["list"]).toEqual([4, 4]);
  const userinfo = makeSite(SOURCES[1]!, `http://user:${URL_SECRETS[0]}@127.0.0.1:1/${URL_SECRETS[1]}`);
  expect((await runAll(userinfo, {}))["list"]).toEqual([2, 2]);
  for (const words of [
    ["list", "-b", "s3://bucket/vm", "--endpoint", `https://user:${URL_SECRETS[0]}@host?${URL_SECRETS[2]}`],
    ["list", "-b", `s3://user:${URL_SECRETS[0]}@bucket/vm`],
    ["list", `--buckett=s3://user:${URL_SECRETS[0]}@bucket/vm`],
    ["replicate", `s3://user:${URL_SECRETS[0]}@bucket/vm/app`, "--local", "replica.db"],
    ["replicate", `https://user:${URL_SECRETS[0]}@host/app`, "--local", "replica.db"],
    ["explain", "-b", `https://user:${URL_SECRETS[0]}@bucket/vm`],
  ]) {
    for (const flags of LOUD) {
      const run = await runWalrust([...words, ...flags], { cwd: nobody.folder, env: KEYS });
      expect([words, run.exitCode]).toEqual([words, 2]);
      assertClean(words.join(" "), run);
    }
  }
});

/** Invalid lines that contain a secret. */
const WRONG_LINES: readonly string[] = [
  `[s3]\nsecret_access_key = ${SECRET}`,
  `[s3]\nsecret_access_key = '${SECRET}`,
  `[s3]\nsecret_acces_key = '${SECRET}'`,
  `[s3]\nsecret_access_key = ['${SECRET}']`,
  `[s3]\nsecret_access_key = '${SECRET}'\nsecret_access_key = '${WRONG}'`,
  `[s3]\nsecret_access_key = '$\{${SECRET}}'`,
  `[[webhooks]]\nurl = 'ftp://host/${URL_SECRETS[1]}'`,
  `[[webhooks]]\nurl = 'http://host/'\nsecret = 5\ntoken = '${SECRET}'`,
  `[heartbeat]\nurl = '${URL_SECRETS[1]}'`,
  `[s3]\nendpoint = 'https://user:${URL_SECRETS[0]}@host'`,
  `[s3]\nbucket = 's3://user:${URL_SECRETS[0]}@bucket'`,
];

test.each(WRONG_LINES)("an error beside a secret does not quote the secret: %j", async (text) => {
  const folder = tempFolder("wrong");
  createAppDatabase(join(folder, "app.db"));
  writeFileSync(join(folder, "walrust.toml"), `${text}\n`);
  for (const flags of LOUD) {
    const run = await runWalrust(["explain", "app.db", ...flags], {
      cwd: folder,
      env: { WALRUST_TRACE: "1" },
    });
    expect(run.exitCode).toBe(2);
    assertClean(text, run);
  }
});

test("the search finds a planted secret", () => {
  for (const spelling of SPELLINGS) expect(() => assertNone("it", `x${spelling}y`)).toThrow("it has");
});

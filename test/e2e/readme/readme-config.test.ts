/**
 * Every `toml` example of README.md, as `walrust explain` takes it: a watch with it would start, and every
 * key has the value of the text. What the text means is told by Bun's own TOML parser.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { Variables } from "../../support/processes/binary.ts";
import { blockOf, namesOf } from "../../support/readme/readme-blocks.ts";
import { Sandbox } from "../../support/readme/readme-sandbox.ts";
import { testWith } from "../../support/servers/peers.ts";

setDefaultTimeout(60_000);

/** What an example needs around it. */
interface Surroundings {
  /** Environment variables that it names. */
  readonly variables: Variables;
  /** Files that it names, by path from the sandbox's root. */
  readonly files: Readonly<Record<string, string>>;
  /** Databases by path from the sandbox's root, and what the text says they are called. */
  readonly databases: Readonly<Record<string, string>>;
}

const EXAMPLES: Readonly<Record<string, Surroundings>> = {
  "first-config": {
    variables: {},
    files: {},
    databases: {
      "home/data/shop.db": "shop",
      "home/data/tenants/romneys/app.db": "tenants/romneys/app",
      "home/data/tenants/smiths/app.db": "tenants/smiths/app",
    },
  },
  config: {
    variables: { BACKUP_KEY_ID: "readme-key" },
    files: { "run/secrets/backup-key": "readme-secret\n" },
    databases: {
      "data/analytics.db": "analytics",
      "var/lib/romneys/app.db": "tenants/romneys/app",
      "var/lib/smiths/app.db": "tenants/smiths/app",
    },
  },
};

/** The parts of `walrust explain --json` that are looked at here. */
interface Explained {
  readonly destination: { readonly url: string; readonly reachable: boolean };
  readonly settings: readonly ShownSetting[];
  readonly databases: readonly {
    readonly path: string;
    readonly name: string;
    readonly found_by_glob: boolean;
    readonly settings: readonly ShownSetting[];
  }[];
  readonly problems: readonly unknown[];
}

interface ShownSetting {
  readonly key: string;
  readonly value: unknown;
  readonly origin: string;
}

type Table = Readonly<Record<string, unknown>>;

test("README.md: what a comment says that databases are called is what they are called", () => {
  for (const name of namesOf("toml")) {
    const names = Object.values(EXAMPLES[name]!.databases);
    for (const [, said] of blockOf("toml", name).text.matchAll(/# called ([^…\n]*)/g)) {
      expect(names).toEqual(expect.arrayContaining(said!.split(", ").filter((one) => one !== "")));
    }
  }
});

test("README.md: every toml example has its surroundings", () => {
  expect(namesOf("toml").toSorted()).toEqual(Object.keys(EXAMPLES).toSorted());
});

testWith("sqlite3").each(Object.entries(EXAMPLES))(
  "README.md: toml %s is taken as it is written",
  async (name, surroundings) => {
    const sandbox = await Sandbox.open(surroundings.variables);
    await surround(sandbox, surroundings);
    const text = sandbox.substituted(blockOf("toml", name).text);
    writeFileSync(join(sandbox.home, "walrust.toml"), text);
    const document = Bun.TOML.parse(text) as Table;
    const explained = (await sandbox.json("walrust explain --json")) as Explained;

    expect(explained.problems).toEqual([]);
    expect(explained.destination).toMatchObject({ reachable: true });
    expect(saidByFile(explained.settings)).toEqual(sectionsOf(document));
    expect(Object.fromEntries(explained.databases.map(({ path, name }) => [path, name]))).toEqual(
      Object.fromEntries(
        Object.entries(surroundings.databases).map(([path, name]) => [join(sandbox.root, path), name]),
      ),
    );
    for (const entry of document["databases"] as Table[]) compareEntry(sandbox, entry, explained);
  },
);

async function surround(sandbox: Sandbox, { files, databases }: Surroundings): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(sandbox.root, path)), { recursive: true });
    writeFileSync(join(sandbox.root, path), content);
  }
  for (const path of Object.keys(databases)) {
    mkdirSync(dirname(join(sandbox.root, path)), { recursive: true });
    await sandbox.script(`sqlite3 ${join(sandbox.root, path)} "PRAGMA journal_mode=WAL; CREATE TABLE t(x)"`);
  }
}

function saidByFile(settings: readonly ShownSetting[]): Record<string, unknown> {
  const said = settings.filter(({ origin }) => origin === "file");
  return Object.fromEntries(said.map(({ key, value }) => [key, value]));
}

/** What `explain` shows of a document's sections: secrets only as set, of a webhook only the host. */
function sectionsOf(document: Table): Record<string, unknown> {
  const shown: Record<string, unknown> = {};
  for (const [section, content] of Object.entries(document)) {
    if (section === "databases") continue;
    const tables = Array.isArray(content)
      ? (content as Table[]).map((table, index) => [`${section}.${index}`, table] as const)
      : [[section, content as Table] as const];
    for (const [at, table] of tables) {
      for (const [key, value] of Object.entries(table))
        shown[`${at}.${withoutFile(key)}`] = shownAs(key, value);
    }
  }
  return shown;
}

function withoutFile(key: string): string {
  return key.replace(/_file$/, "");
}

function shownAs(key: string, value: unknown): unknown {
  if (/^(access_key_id|secret_access_key|secret)(_file)?$/.test(key)) return "(set, not shown)";
  return key === "url" ? `${new URL(String(value)).origin}/…` : value;
}

/** A `[[databases]]` entry: which databases it is, and what it says for them alone. */
function compareEntry(sandbox: Sandbox, entry: Table, { databases }: Explained): void {
  const { path, prefix, name, ...overrides } = entry as Record<string, unknown>;
  const glob = new Bun.Glob(resolve(sandbox.home, String(path)));
  const isGlob = String(path).includes("*");
  const its = databases.filter((one) => glob.match(one.path));
  expect(its.length).toBeGreaterThan(0);
  for (const one of its) {
    expect(one.found_by_glob).toBe(isGlob);
    if (prefix !== undefined) expect(one.name).toStartWith(`${String(prefix)}/`);
    if (name !== undefined) expect(one.name).toEndWith(String(name));
    expect(saidByFile(one.settings)).toEqual(overridesOf(overrides));
  }
}

/** `retention.hourly` and the like, whether in a table of its own or as a key of [sync] beside the path. */
function overridesOf(overrides: Table): Record<string, unknown> {
  const flat: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(overrides)) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) flat[`sync.${key}`] = value;
    else for (const [own, said] of Object.entries(value)) flat[`${key}.${own}`] = said;
  }
  return flat;
}

/**
 * Runs `walrust explain` on every `toml` example of the READMEs. A watch with the example would start, and
 * every key has the value of the text. Bun's own TOML parser reads the text independently.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { Variables } from "../../support/processes/binary.ts";
import { blockOf, namesOf } from "../../support/readme/readme-blocks.ts";
import { Sandbox } from "../../support/readme/readme-sandbox.ts";
import { testWith } from "../../support/servers/peers.ts";

setDefaultTimeout(60_000);

/** Surroundings of an example. */
interface Surroundings {
  /** Environment variables that the example names. */
  readonly variables: Variables;
  /** Files that the example names, by path from the sandbox's root. */
  readonly files: Readonly<Record<string, string>>;
  /** Names of the databases in the text, by path from the sandbox's root. */
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

/** The compared parts of `walrust explain --json`. */
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

test("README.md: databases have the names that a comment gives them", () => {
  for (const name of namesOf("toml")) {
    const names = Object.values(EXAMPLES[name]!.databases);
    for (const [, listed] of blockOf("toml", name).text.matchAll(/# called ([^…\n]*)/g)) {
      expect(names).toEqual(expect.arrayContaining(listed!.split(", ").filter((one) => one !== "")));
    }
  }
});

test("README.md: every toml example has its surroundings", () => {
  expect(namesOf("toml").toSorted()).toEqual(Object.keys(EXAMPLES).toSorted());
});

testWith("sqlite3").each(Object.entries(EXAMPLES))(
  "README.md: explain shows toml %s as written",
  async (name, surroundings) => {
    const sandbox = await Sandbox.open(surroundings.variables);
    await surround(sandbox, surroundings);
    const text = sandbox.substituted(blockOf("toml", name).text);
    writeFileSync(join(sandbox.home, "walrust.toml"), text);
    const document = Bun.TOML.parse(text) as Table;
    const explained = (await sandbox.json("walrust explain --json")) as Explained;

    expect(explained.problems).toEqual([]);
    expect(explained.destination).toMatchObject({ reachable: true });
    expect(fromFile(explained.settings)).toEqual(sectionsOf(document));
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

function fromFile(settings: readonly ShownSetting[]): Record<string, unknown> {
  const own = settings.filter(({ origin }) => origin === "file");
  return Object.fromEntries(own.map(({ key, value }) => [key, value]));
}

/** Sections of a document as `explain` shows them: secrets only as set, only the host of a webhook. */
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

/** Compares the databases of a `[[databases]]` entry, and their own settings. */
function compareEntry(sandbox: Sandbox, entry: Table, { databases }: Explained): void {
  const { path, prefix, name, ...overrides } = entry as Record<string, unknown>;
  const glob = new Bun.Glob(resolve(sandbox.home, String(path)));
  const isGlob = String(path).includes("*");
  const matching = databases.filter((one) => glob.match(one.path));
  expect(matching.length).toBeGreaterThan(0);
  for (const one of matching) {
    expect(one.found_by_glob).toBe(isGlob);
    if (prefix !== undefined) expect(one.name).toStartWith(`${String(prefix)}/`);
    if (name !== undefined) expect(one.name).toEndWith(String(name));
    expect(fromFile(one.settings)).toEqual(overridesOf(overrides));
  }
}

/** Flat keys such as `retention.hourly`; a key beside the path belongs to [sync]. */
function overridesOf(overrides: Table): Record<string, unknown> {
  const flat: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(overrides)) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) flat[`sync.${key}`] = value;
    else for (const [own, inner] of Object.entries(value)) flat[`${key}.${own}`] = inner;
  }
  return flat;
}

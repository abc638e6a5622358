/**
 * resolveConfig and resolveDatabaseConfig: the sections, their defaults, and the overrides of one database.
 */
import { expect, test } from "bun:test";
import { resolveConfig, resolveDatabaseConfig } from "../../src/config/config.ts";
import { parseConfigFile } from "../../src/config/config-file.ts";
import type { Sources } from "../../src/config/resolve.ts";
import { SECTIONS } from "../../src/config/settings/options.ts";
import { WEBHOOK_EVENTS } from "../../src/config/settings/settings-notify.ts";
import { DEFAULT_CONFIG } from "../support/config.ts";

function sourcesOf(text: string): Sources {
  const file = parseConfigFile(text, "/etc/walrust/walrust.toml", "walrust.toml", {});
  return { words: { given: new Map(), positionals: [] }, environment: {}, file };
}

test("resolveConfig returns each section under its own name, and freezes it", () => {
  const sections = SECTIONS.map(({ name }) => name).filter((name) => name !== "databases");
  expect(Object.keys(DEFAULT_CONFIG).toSorted()).toEqual(sections.toSorted());
  const config = resolveConfig(sourcesOf("[[webhooks]]\nurl = 'https://hooks.example/x'\n"));
  expect(Object.isFrozen(config)).toBe(true);
  for (const section of [...Object.values(config), ...config.webhooks]) {
    expect(Object.isFrozen(section)).toBe(true);
  }
});

test("resolveConfig gives a webhook every event by default, and its own events where it names some", () => {
  const { webhooks } = resolveConfig(
    sourcesOf(
      "[[webhooks]]\nurl = 'https://a.example/x'\n" +
        "[[webhooks]]\nurl = 'https://b.example/x'\nevents = ['auth_failure']\nsecret = 'k'\n",
    ),
  );
  expect(webhooks).toEqual([
    { url: "https://a.example/x", events: WEBHOOK_EVENTS, secret: undefined },
    { url: "https://b.example/x", events: ["auth_failure"], secret: "k" },
  ]);
});

test("resolveDatabaseConfig overrides single fields, and keeps the section's others", () => {
  const sources = sourcesOf(
    "[sync]\non_idle = 5\n[retention]\ndaily = 3\n[[databases]]\npath = '/a'\nhourly = 2\nmax_changes = 7\n",
  );
  const own = resolveDatabaseConfig(sources, sources.file!.databases[0]!);
  const { sync, retention, compaction } = resolveDatabaseConfig(sources, null);
  expect(own.sync).toEqual({ ...sync, maxChanges: 7 });
  expect(own.retention).toEqual({ ...retention, hourly: 2 });
  expect(own.compaction).toEqual(compaction);
  expect([sync.onIdleMs, sync.maxChanges, retention.daily, retention.hourly]).toEqual([5_000, 0, 3, 24]);
});

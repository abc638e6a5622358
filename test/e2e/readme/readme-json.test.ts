/**
 * Compares every `json` example of the READMEs with the output of its verb in the same story: the same keys
 * and the same types. Also compares the text around the examples, where that text names keys or events.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../../../package.json";
import type { WatchDocument } from "../../../src/commands/shared/documents.ts";

import { progressJson } from "../../../src/commands/shared/progress.ts";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { CONDITION_HEALTH } from "../../../src/errors.ts";
import { DashboardSource } from "../../../src/observability/dashboard-source.ts";
import { healthReport } from "../../../src/observability/health.ts";
import { noticeBody } from "../../../src/observability/webhook-notice.ts";
import type { ReplicaEvent } from "../../../src/recovery/replica/replica-file.ts";
import { FINDING_SEVERITIES } from "../../../src/recovery/verify/verify-report.ts";
import { statusOf } from "../../observability/samples.ts";
import { eventually } from "../../support/eventually.ts";
import { type OpenPaths, shapeDifferences } from "../../support/oracles/json-shape.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { blockOf, namesOf, sectionOf } from "../../support/readme/readme-blocks.ts";
import { Sandbox } from "../../support/readme/readme-sandbox.ts";
import { testWith } from "../../support/servers/peers.ts";

setDefaultTimeout(60_000);

/** Places where an example may differ from the output. */
const OPEN: Readonly<Record<string, OpenPaths>> = {
  dashboard: { values: ["databases[][]"] },
  health: { maps: ["databases"] },
  list: { maps: ["databases[].restorable"] },
  explain: { values: ["settings[].value", "databases[].settings[].value"] },
  error: { maps: ["error.context"] },
};

testWith("sqlite3")("README.md: every json example has the shape of the output", async () => {
  const printed = { ...(await printAll(await Sandbox.open())), ...observed() };
  expect(Object.keys(printed).toSorted()).toEqual(namesOf("json").toSorted());
  const differences = Object.entries(printed).flatMap(([name, document]) =>
    shapeDifferences(exampleOf(name), document, OPEN[name]).map((difference) => `${name}: ${difference}`),
  );
  expect(differences).toEqual([]);
  for (const document of Object.values(printed)) expect(conventionsBroken(document)).toEqual([]);
  // A reader searches for the code and the hint of an error, so these must be equal.
  const { code, exit, hint } = (exampleOf("error") as { error: Record<string, unknown> }).error;
  expect(printed["error"]).toMatchObject({ error: { code, exit, hint } });
});

test.each(namesOf("json"))("README.md: json %s keeps to the conventions that the text names", (name) => {
  expect(conventionsBroken(exampleOf(name))).toEqual([]);
});

function exampleOf(name: string): unknown {
  return JSON.parse(blockOf("json", name).text) as unknown;
}

/** Takes the first steps, then runs every verb with --json. @returns outputs by the name of the example */
async function printAll(sandbox: Sandbox): Promise<Record<string, unknown>> {
  await takeFirstSteps(sandbox);
  const options = { cwd: sandbox.home, env: sandbox.environment };
  const watch = await WatchProcess.start(["--wal-sync-interval", "0.01"], options);
  await watch.waitForTxid(1, "shop");
  await insertNote(sandbox, "second");
  await watch.waitForTxid(2, "shop");
  const snapshot = await sandbox.json("walrust snapshot data/shop.db --json");
  await insertNote(sandbox, "third");
  await watch.waitForTxid(3, "shop");
  const status = await sandbox.json("walrust status shop --json");
  const sync = await sandbox.json("walrust sync shop --json");
  expect(await watch.stop()).toBe(0);
  const error = await sandbox.spawn("walrust restore shop -o data/shop.db --json").end(2);
  return {
    watch: watch.uploads("shop").find(({ kind }) => kind === "increment"),
    snapshot,
    status,
    sync,
    list: await sandbox.json("walrust list --json"),
    verify: await sandbox.json("walrust verify shop --json"),
    doctor: await sandbox.json("walrust doctor --json"),
    explain: await sandbox.json("walrust explain --json"),
    compact: await dueCompaction(sandbox),
    restore: await sandbox.json("walrust restore shop -o restored.db --json"),
    undo: await undoOfRestore(sandbox),
    "restore-all": await sandbox.json("walrust restore --all --into all --json"),
    error: JSON.parse(error.stdout) as unknown,
  };
}

async function undoOfRestore(sandbox: Sandbox): Promise<unknown> {
  await sandbox.json("walrust restore shop -o restored.db --force --json");
  return await sandbox.json("walrust undo restored.db --json");
}

/**
 * The answers of /health and /dashboard.json, and the body of a webhook, of a database that nobody else may
 * write to.
 */
function observed(): Record<string, unknown> {
  const condition = { code: "not-shared", health: "unhealthy", message: "m", hint: "h" } as const;
  const timeMs = Date.UTC(2026, 0, 15);
  const report = healthReport([statusOf({ conditions: [condition] })], {
    version: packageJson.version,
    uptimeMs: 1_000,
    lastUploadTimeMs: timeMs,
    sinceUploadMs: 0,
    failingMs: () => 0,
    errorsLastHour: () => 0,
    storeConditions: [{ ...condition, code: "weak-writes", health: "degraded" }],
  });
  const { nowMs, monotonicMs } = systemEnv(SILENT_LOG);
  const tally = { uploadCounts: { increment: 1, snapshot: 1 }, uploadedBytes: 1, sinceUploadMs: () => 400 };
  const dashboard = new DashboardSource({ nowMs, monotonicMs });
  const facts = { statuses: [statusOf({ conditions: [condition] })], health: report, tally };
  const notice = { event: "sync_failed", database: "app", error: "e", attempts: 1, closes: [] } as const;
  return {
    progress: progressJson(
      { verb: "restore", database: "shop", label: "restoring shop", unit: "read" },
      { doneBytes: 1, totalBytes: 4 },
      { elapsedMs: 2_000, bytesPerSecond: 1, secondsLeft: 3 },
      timeMs,
    ),
    dashboard: JSON.parse(JSON.stringify(dashboard.document(facts))) as unknown,
    health: JSON.parse(JSON.stringify(report)) as unknown,
    webhook: JSON.parse(noticeBody({ ...notice, timeMs, writer: "0f3a" }, "vm1", [])) as unknown,
  };
}

async function takeFirstSteps(sandbox: Sandbox): Promise<void> {
  await sandbox.script(blockOf("sh", "first-databases").text);
  const config = sandbox.substituted(blockOf("toml", "first-config").text);
  writeFileSync(join(sandbox.home, "walrust.toml"), config);
}

async function insertNote(sandbox: Sandbox, text: string): Promise<void> {
  await sandbox.script(`sqlite3 data/shop.db "INSERT INTO notes(text) VALUES ('${text}')"`);
}

/** The output of `compact` with due increments, at the shortest level of one second. */
async function dueCompaction(sandbox: Sandbox): Promise<unknown> {
  const config = sandbox.substituted(blockOf("toml", "first-config").text);
  writeFileSync(join(sandbox.home, "quick.toml"), `${config}\n[compaction]\nlevels = ["1s"]\n`);
  let document: { databases: { compacted: unknown[] }[] } | null = null;
  await eventually("increments that are due", async () => {
    document = (await sandbox.json("walrust compact shop --config quick.toml --json")) as typeof document;
    return document!.databases[0]!.compacted.length > 0;
  });
  return document;
}

/** Broken conventions: keys in small letters with _, RFC 3339 times in UTC, TXIDs and bytes as integers. */
function conventionsBroken(value: unknown, key = ""): string[] {
  if (Array.isArray(value)) return value.flatMap((element) => conventionsBroken(element, key));
  if (typeof value === "object" && value !== null) {
    return Object.entries(value).flatMap(([name, inner]) => [
      ...(/^[a-z0-9_]+$/.test(name) ? [] : [`the key ${name}`]),
      ...conventionsBroken(inner, name),
    ]);
  }
  const isTime = key === "time" || key === "at";
  if (isTime && !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(String(value))) return [`${key} ${value}`];
  const isCount = /(^|_)(txid|bytes)$/.test(key) && value !== null;
  return isCount && !(Number.isSafeInteger(value) && Number(value) >= 0) ? [`${key} ${value}`] : [];
}

testWith("sqlite3")("README.md: restore with nothing to do prints the keys that the text names", async () => {
  const sandbox = await Sandbox.open();
  await takeFirstSteps(sandbox);
  const words = "walrust restore shop -o data/shop.db --json";
  const document = await sandbox.json(`${words} --if-db-not-exists`);
  const [, said = ""] = /nothing to do, `\{(.*?)\}`/.exec(blockOf("json", "restore").lead) ?? [];
  expect(Object.keys(document as object)).toEqual([...said.matchAll(/"(\w+)"/g)].map(([, key]) => key!));
  expect(document).toMatchObject({ name: "shop", restored: false });
  expect(said).toContain('"restored": false');
});

testWith("sqlite3")("README.md: a finding of verify has the keys that the text names", async () => {
  const sandbox = await Sandbox.open();
  await takeFirstSteps(sandbox);
  await sandbox.script("walrust snapshot data/shop.db");
  writeFileSync(join(sandbox.root, "tmp", "walrust-backup", "shop", "manifest.json"), "{");
  const run = await sandbox.spawn("walrust verify shop --json").end(1);
  const document = JSON.parse(run.stdout) as { status: string; databases: { findings: object[] }[] };
  const { lead } = blockOf("json", "verify");
  const words = [...lead.matchAll(/`(\w+)`/g)].map(([, word]) => word!);
  expect(words.slice(0, 5)).toEqual(["verify", "status", "ok", "warnings", "errors"]);
  expect(document.status).toBe("warnings");
  expect(Object.keys(document.databases[0]!.findings[0]!)).toEqual(words.slice(5, -1));
  expect(document.databases[0]).toHaveProperty(words.at(-1)!);
});

const WATCH_EVENTS: Record<WatchDocument["event"], true> = {
  started: true,
  restored: true,
  watching: true,
  uploaded: true,
  acknowledged: true,
  "re-anchored": true,
  checkpointed: true,
  compacted: true,
  validated: true,
  failed: true,
  condition: true,
  "circuit-open": true,
  recovered: true,
  "let-go": true,
  stopped: true,
};

test("README.md: the events of watch are those that the text names", () => {
  const { lead } = blockOf("json", "watch");
  const [verb, ...events] = [...lead.matchAll(/`([\w-]+)`/g)].map(([, word]) => word!);
  expect(verb).toBe("watch");
  expect(events.toSorted()).toEqual(Object.keys(WATCH_EVENTS).toSorted());
});

test("README.md: the conditions of /health are those that the table names", () => {
  const table = sectionOf("Conditions in /health");
  const rows = [...table.matchAll(/^\| `([\w-]+)` \| (\w+) \| (\S.*) \| (\S.*) \|$/gm)];
  const named = rows.map(([, code, health]) => [code, health] as const);
  expect(named.toSorted()).toEqual(Object.entries(CONDITION_HEALTH).toSorted());
});

test("README.md: the warnings of verify are those that the text names", () => {
  const [, said = ""] = /^These codes of `verify` are warnings: ([^.]*)\./m.exec(sectionOf("JSON")) ?? [];
  const named = [...said.matchAll(/`([\w-]+)`/g)].map(([, code]) => code!);
  const warnings = Object.entries(FINDING_SEVERITIES).filter(([, severity]) => severity === "warning");
  expect(named.toSorted()).toEqual(warnings.map(([code]) => code).toSorted());
});

const REPLICA_EVENTS: Record<ReplicaEvent["event"], "when all is well" | "when it is not"> = {
  bootstrapped: "when all is well",
  following: "when all is well",
  applied: "when all is well",
  current: "when all is well",
  waiting: "when it is not",
  failed: "when it is not",
};

testWith("sqlite3")("README.md: the events of replicate are those that the text names", async () => {
  const [, said = ""] = /^`replicate`: (.*)$/m.exec(sectionOf("JSON")) ?? [];
  const named = [...said.matchAll(/`(\w+)`/g)].map(([, word]) => word!);
  expect(named.toSorted()).toEqual(Object.keys(REPLICA_EVENTS).toSorted());
  const good = Object.entries(REPLICA_EVENTS).filter(([, when]) => when === "when all is well");
  const sandbox = await Sandbox.open();
  await takeFirstSteps(sandbox);
  const seen = new Set<string>();
  const source = sandbox.substituted("file:///tmp/walrust-backup/shop");
  for (const text of ["second", "third"]) {
    await insertNote(sandbox, text);
    await sandbox.script("walrust snapshot data/shop.db");
    const { stdout } = await sandbox.script(`walrust replicate ${source} --local replica.db --once --json`);
    const events = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { event: string });
    for (const { event } of events) seen.add(event);
    for (const event of events) expect(conventionsBroken(event)).toEqual([]);
  }
  expect([...seen].toSorted()).toEqual(good.map(([event]) => event).toSorted());
});

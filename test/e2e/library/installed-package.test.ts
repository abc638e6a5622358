/**
 * The library from outside: packed, installed into an empty project, type-checked there, and embedded by the
 * example application, which is killed, signalled and compiled.
 */
import { Database } from "bun:sqlite";
import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { InstalledProject } from "../../support/library/installed-project.ts";
import { walrustBinary } from "../../support/processes/binary.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { blockOf } from "../../support/readme/readme-blocks.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(120_000);

const EXAMPLE = "scripts/examples/embedded-app.ts";

let project: InstalledProject;

beforeAll(async () => {
  project = await InstalledProject.install();
  project.copy(EXAMPLE, "app.ts");
});

type AppProcess = Bun.Subprocess<"ignore", "pipe", "pipe">;

/** The first line of the example application: its address, and the processes. */
interface Started {
  readonly url: string;
  readonly pid: number;
  readonly walrust: number;
}

/** A database and a bucket, and the words that name both to the example application. */
function place() {
  const folder = tempFolder("notes");
  const path = join(folder, "notes.db");
  const bucket = `file://${folder}/bucket`;
  return { folder, path, bucket, words: [path, bucket] };
}

/** Waits until the application serves. @throws Error with its log if it ends before */
async function started(app: AppProcess): Promise<Started> {
  const reader = app.stdout.getReader();
  let text = "";
  while (!text.includes("\n")) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`the application has ended: ${await app.stderr.text()}`);
    text += new TextDecoder().decode(value);
  }
  return JSON.parse(text) as Started;
}

async function addNotes(url: string, count: number): Promise<void> {
  for (let note = 1; note <= count; note++) await fetch(url, { method: "POST", body: `note ${note}` });
}

async function notesOf(url: string): Promise<string[]> {
  const rows = (await (await fetch(url)).json()) as { text: string }[];
  return rows.map(({ text }) => text);
}

const notes = (count: number): string[] => Array.from({ length: count }, (_, index) => `note ${index + 1}`);

/** Whether a process is there, and no zombie. */
function isRunning(pid: number): boolean {
  return existsSync(`/proc/${pid}/exe`);
}

/** Removes the database with everything that lies beside it, as a lost disk does. */
function loseDisk(folder: string): void {
  for (const name of readdirSync(folder))
    if (name !== "bucket") rmSync(join(folder, name), { recursive: true });
}

test("the package has the sources and nothing of the tests", () => {
  const files = readdirSync(join(project.folder, "node_modules", "walrust"));
  // Bun leaves a note of its own beside them.
  expect(files.filter((name) => name !== ".bun-tag").toSorted()).toEqual([
    "LICENSE",
    "README.md",
    "package.json",
    "src",
  ]);
});

/** The types of the JSON examples in the README. */
const EXAMPLE_TYPES = {
  compact: "CompactDocument",
  doctor: "DoctorDocument",
  error: "ErrorDocument",
  explain: "ExplainDocument",
  list: "ListDocument",
  restore: "RestoreDocument",
  "restore-all": "RestoreAllDocument",
  snapshot: "SnapshotDocument",
  status: "StatusDocument",
  sync: "SyncDocument",
  verify: "VerifyDocument",
} as const;

/** A program that gives each JSON example its type: an unknown or a missing key does not compile. */
function typedExamples(): string {
  const entries = Object.entries(EXAMPLE_TYPES);
  const lines = entries.map(
    ([name, type], index) => `export const example${index}: ${type} = ${blockOf("json", name).text};`,
  );
  const names = entries.map(([, type]) => type).join(", ");
  return `import type { ${names} } from "walrust";\n${lines.join("\n")}\n`;
}

test("the installed types accept right programs and refuse wrong ones", async () => {
  project.write("readme.ts", blockOf("ts", "embed").text);
  project.write("examples.ts", typedExamples());
  project.write(
    "right.ts",
    `import { list, restore, verify, watch, type WalrustError } from "walrust";
     const own = { sse: "AES256", cache: { enabled: true } } as const;
     const watching = await watch({ bucket: "file:///b", databases: ["a.db"], ...own });
     for await (const event of watching) {
       switch (event.event) {
         case "uploaded": { const lag: number = event.lag_ms; void lag; break; }
         case "compacted": { const txid: number = event.min_txid; void txid; break; }
         case "dropped": { const count: number = event.count; void count; break; }
       }
     }
     const { txid } = await restore({ bucket: "b", name: "n", output: "o", integrityCheck: "quick" });
     const maybe = await restore({ bucket: "b", name: "n", output: "o", ifDbNotExists: true });
     if (!("reason" in maybe)) maybe.checks.sha256_objects satisfies number;
     const status: "ok" | "warnings" | "errors" = (await verify({ bucket: "b", all: true })).status;
     void [txid, status, (await list({ bucket: "b" })).databases[0]?.restorable["0"]];
     void ((error: WalrustError) => [error.code, error.hint, error.exitCode]);`,
  );
  const wrong = [
    'watch({ bukket: "b", databases: [] })',
    'watch({ bucket: "b" })',
    "watch({ databases: [], sync: { walSyncInterval: 1 } })",
    'watch({ databases: [], sse: "DES" })',
    'watch({ databases: [{ name: "n" }] })',
    "watch({ databases: [], cache: { maxSizeBytes: '5GB' } })",
    'restore({ bucket: "b", name: "n" })',
    'verify({ bucket: "b" })',
    'verify({ bucket: "b", name: "n", all: true })',
    'restore({ bucket: "b", name: "n", output: "o", ifDbNotExists: true }).then(({ txid }) => txid)',
    "((document: StatusDocument) => document.watches[0]?.uptime)",
    "((row: RestoreAllDatabase) => row.txid)",
  ];
  const types = 'import type { RestoreAllDatabase, StatusDocument } from "walrust"; ';
  const head = `${types}import { restore, verify, watch } from "walrust";\nvoid [restore, verify, watch];\n`;
  project.write("wrong.ts", `${head}${wrong.map((call) => `void ${call};`).join("\n")}\n`);
  const { stdout } = await project.run(["node_modules/.bin/tsc", "-p", "."]);
  const errors = stdout.split("\n").filter((line) => line.includes("error TS"));
  const places = errors.map((line) => /^(.*?)\((\d+),/.exec(line)?.slice(1).join(":") ?? line);
  expect(places).toEqual(wrong.map((_, index) => `wrong.ts:${index + 3}`));
  rmSync(join(project.folder, "wrong.ts"));
});

test("the example of the README runs", async () => {
  const { folder, bucket } = place();
  const text = blockOf("ts", "embed")
    .text.replace("file:///backup", bucket)
    .replaceAll("app.db", `${folder}/app.db`);
  project.write("readme.ts", text);
  for (let rows = 1; rows <= 2; rows++) {
    expect(await project.run(["readme.ts"])).toEqual({ exitCode: 0, stdout: "", stderr: "" });
    loseDisk(folder);
  }
  const output = join(folder, "restored.db");
  project.write(
    "restore.ts",
    `import { restore } from "walrust";\nconsole.log(JSON.stringify(
    await restore({ bucket: ${JSON.stringify(bucket)}, name: "app", output: ${JSON.stringify(output)} })));`,
  );
  expect(JSON.parse((await project.run(["restore.ts"])).stdout)).toMatchObject({ restored: true });
  const database = new Database(output, { readonly: true });
  expect(database.query("SELECT count(*) AS n FROM notes").get()).toEqual({ n: 2 });
});

test("a killed application loses no commit: its walrust uploads the last ones, and ends", async () => {
  const { folder, words } = place();
  const app = project.spawn(["app.ts", ...words], { PORT: "0" });
  const { url, walrust } = await started(app);
  await addNotes(url, 200);
  app.kill("SIGKILL");
  await app.exited;
  await waitUntil(() => !isRunning(walrust), 20_000);
  loseDisk(folder);
  const next = project.spawn(["app.ts", ...words], { PORT: "0" });
  const again = await started(next);
  expect(await notesOf(again.url)).toEqual(notes(200));
  next.kill("SIGTERM");
  expect(await next.exited).toBe(0);
  expect(isRunning(again.walrust)).toBe(false);
});

test("walrust leaves signals to its application, which closes it after the last commit", async () => {
  const { folder, words } = place();
  const app = project.spawn(["app.ts", ...words], { PORT: "0" });
  const { url, walrust } = await started(app);
  // As a terminal and a service manager do: to all processes. The application has not decided yet.
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.kill(walrust, signal);
  await addNotes(url, 50);
  expect(isRunning(walrust)).toBe(true);
  app.kill("SIGTERM");
  expect(await app.exited).toBe(0);
  expect(await app.stderr.text()).not.toContain("no backup any more");
  loseDisk(folder);
  const next = project.spawn(["app.ts", ...words], { PORT: "0" });
  expect(await notesOf((await started(next)).url)).toEqual(notes(50));
});

test("an application that a service manager restarts at once gets its watch", async () => {
  const { words } = place();
  let pid = 0;
  for (let round = 1; round <= 3; round++) {
    const app = project.spawn(["app.ts", ...words], { PORT: "0" });
    const { url, walrust } = await started(app);
    expect(walrust).not.toBe(pid);
    pid = walrust;
    await addNotes(url, 20);
    app.kill("SIGKILL");
  }
  const last = project.spawn(["app.ts", ...words], { PORT: "0" });
  const { url } = await started(last);
  expect(await notesOf(url)).toHaveLength(60);
  last.kill("SIGTERM");
  expect(await last.exited).toBe(0);
  expect(await last.stderr.text()).not.toContain("no backup any more");
});

test("a compiled application has to name an executable, and works with it", async () => {
  const { folder, words } = place();
  const compiled = join(folder, "app");
  const build = await project.run(["build", "--compile", "app.ts", `--outfile=${compiled}`]);
  expect([build.exitCode, build.stderr]).toEqual([0, ""]);
  const alone = project.spawnProgram([compiled, ...words], { PORT: "0" });
  expect(await alone.exited).toBe(1);
  expect(await alone.stderr.text()).toContain("Cannot find walrust from within a compiled application");
  const app = project.spawnProgram([compiled, ...words], {
    PORT: "0",
    NOTES_EXECUTABLE: await walrustBinary(),
  });
  const { url } = await started(app);
  await addNotes(url, 3);
  expect(await notesOf(url)).toEqual(notes(3));
  app.kill("SIGTERM");
  expect(await app.exited).toBe(0);
});

/**
 * `bun scripts/beside.ts`: measures what an application notices of `walrust watch` beside it. Needs Linux.
 *
 *   --case NAME     lock, checkpoints, writers, recovery or transaction; repeatable [all]
 *   --minutes N     length of each case, except transaction [10]
 *   --size SIZE     size of the database, or of the transaction [lock: 1GB, recovery: 50MB, transaction: 2GB]
 *   --binary PATH   run this walrust instead of a fresh build
 *
 * - lock: the time for which walrust holds the write lock of a database of 1 GB, beside two writers and two
 *   readers that hold their transactions for seconds. Goal: at most 50 ms p99.
 * - checkpoints: the time of FULL, RESTART and TRUNCATE checkpoints beside a writer, with and without
 *   walrust. Goal: 200 ms.
 * - writers: the WAL beside two writers with synchronous=FULL. Goal: 4 × min-checkpoint-pages.
 * - recovery: the time from a start after SIGKILL, beside a writer, to the first acknowledged capture. Goal:
 *   5 s.
 * - transaction: one transaction of 2 GB with random content, in pages of 4 KB, beyond the lock page.
 *
 * Each case ends with a restore and a comparison of all bytes. Prints a Markdown table for each case. Exits
 * with 1 when a process fails or a restore differs. Leaves neither files nor processes behind.
 */
import { copyFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { parseSize } from "./bench/spec.ts";
import {
  type Case,
  measureCheckpoints,
  measureLock,
  measureRecovery,
  measureTransaction,
  measureWriters,
  type Values,
} from "./beside/cases.ts";
import { Workspace } from "./measure/workspace.ts";
import { BINARY, bunCommand, ensurePackages, fail, run } from "./toolchain.ts";

const CASES: Readonly<Record<string, { readonly measure: Case; readonly size: string }>> = {
  lock: { measure: measureLock, size: "1GB" },
  checkpoints: { measure: measureCheckpoints, size: "1GB" },
  recovery: { measure: measureRecovery, size: "50MB" },
  writers: { measure: measureWriters, size: "1GB" },
  transaction: { measure: measureTransaction, size: "2GB" },
};

function formatCase(name: string, values: Values): string {
  const rows = Object.entries(values).map(([key, value]) => `| ${key} | ${Number(value.toPrecision(4))} |`);
  return [`| ${name} | |`, "| --- | ---: |", ...rows].join("\n");
}

async function main(): Promise<void> {
  if (process.platform !== "linux") throw new Error("The cases read /proc: they need Linux");
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    options: { case: { ...text, multiple: true }, minutes: text, size: text, binary: text },
  });
  const minutes = Number(values.minutes ?? "10");
  if (!(minutes > 0)) throw new Error(`--minutes ${values.minutes}: expected a number above 0`);
  const names = values.case ?? Object.keys(CASES);
  const unknown = names.find((name) => !(name in CASES));
  if (unknown !== undefined) throw new Error(`--case ${unknown}: expected one of ${Object.keys(CASES)}`);
  if (values.binary === undefined) {
    await ensurePackages();
    if ((await run(bunCommand("scripts/build.ts"))) !== 0) throw new Error("walrust cannot be built");
  }
  const workspace = await Workspace.create("beside");
  try {
    const binary = join(workspace.folder, "walrust");
    await copyFile(values.binary === undefined ? BINARY : resolve(values.binary), binary);
    for (const name of names) {
      const { measure, size } = CASES[name]!;
      const sizeBytes = parseSize(values.size ?? size);
      console.error(`beside: ${name}`);
      const result = await measure({ workspace, binary, durationMs: minutes * 60_000, sizeBytes });
      console.log(`${formatCase(name, result)}\n`);
    }
  } finally {
    await workspace.dispose();
  }
}

try {
  await main();
} catch (error) {
  fail(`beside failed: ${error instanceof Error ? error.message : error}`);
}

/**
 * `walrust list`: the databases of a destination, with their restorable points.
 */
import { LIST_OPTIONS, PATIENCE_OPTIONS } from "../config/settings/options.ts";
import { STATE_OPTIONS, STORE_OPTIONS } from "../config/settings/settings.ts";
import { WalrustError } from "../errors.ts";
import { oneLine } from "../observability/terminal-text.ts";
import { type InventoryEntry, type InventoryPoint, takeInventory } from "../recovery/plan/inventory.ts";
import { ForeignLayoutError } from "../storage/bucket/foreign-layout.ts";
import { missingBackupError } from "../storage/bucket/missing-backup.ts";
import type { ObjectStore } from "../storage/contract/store.ts";
import type { ListDocument, ListedDatabase, ListedPoint } from "./shared/documents.ts";
import { findLocal, localLines } from "./shared/list-local.ts";
import { withPatience } from "./shared/open-destination.ts";
import { formatBytes, printJson, printLine, tableLines } from "./shared/output.ts";
import { type Invocation, STORAGE_EXIT, settingsOf, USAGE_EXIT, type Verb } from "./shared/verb.ts";

/** The verb `list`. */
export const listVerb: Verb = {
  name: "list",
  summary: "List the databases of a destination with their restorable points",
  usage: "[NAME] [-b URL] | --local",
  options: [STORE_OPTIONS, LIST_OPTIONS, STATE_OPTIONS, PATIENCE_OPTIONS],
  positionals: {
    name: "NAME",
    min: 0,
    max: 1,
    meaning: "Name of a database in the bucket; default: all databases",
  },
  examples: [
    ["walrust list -b file:///backup", "all databases"],
    ["walrust list app -b s3://my-bucket/vm1 --json", "one database, as JSON"],
    ["walrust list --local", "folders and sockets on this machine; needs no bucket"],
  ],
  exitCodes: [
    [0, "listed, even if nothing is stored"],
    USAGE_EXIT,
    STORAGE_EXIT,
    [6, "no backup of NAME exists, or every backup is of another program"],
  ],
  run: async (invocation) =>
    settingsOf(invocation, LIST_OPTIONS).local ? listLocal(invocation) : listStored(invocation),
};

function listStored(invocation: Invocation): Promise<number> {
  return withPatience(invocation, async (store) => {
    const [name = null] = invocation.words.positionals;
    const entries = await takeInventory(store, name, invocation.signal);
    if (name !== null && entries.length === 0) throw await missingBackupError(store, name, invocation.signal);
    const [foreign = null] = entries.map((entry) => entry.foreign);
    if (foreign !== null && entries.every((entry) => entry.foreign !== null)) {
      throw new ForeignLayoutError(store, foreign);
    }
    if (invocation.isJson) {
      printJson({ destination: store.url, databases: entries.map(jsonOf) } satisfies ListDocument);
    } else printTable(entries, store);
    return 0;
  });
}

async function listLocal(invocation: Invocation): Promise<number> {
  const [name = null] = invocation.words.positionals;
  const found = await findLocal(invocation, name);
  if (name !== null && found.databases.length === 0) {
    throw new WalrustError("restore", `No files of ${JSON.stringify(name)} on this machine`, {
      hint: "`walrust list --local` without a name shows the databases of this user",
    });
  }
  if (invocation.isJson) printJson(found);
  else for (const line of localLines(found)) printLine(line);
  return 0;
}

function jsonOf(entry: InventoryEntry): ListedDatabase {
  const slash = entry.name.lastIndexOf("/");
  const point = (at: InventoryPoint | null): ListedPoint | null =>
    at === null ? null : { txid: at.txid, time: timeOrNull(at.timeMs) };
  return {
    name: entry.name,
    prefix: slash < 0 ? "" : entry.name.slice(0, slash),
    snapshots: entry.snapshots.map(({ txid, timeMs, bytes }) => ({
      txid,
      time: timeOrNull(timeMs),
      bytes,
    })),
    increments: entry.increments,
    bytes: entry.bytes,
    min: point(entry.oldest),
    max: point(entry.newest),
    restorable: entry.restorable,
    problems: entry.problems,
    foreign: entry.foreign?.format ?? null,
  };
}

function timeOrNull(timeMs: number | null): string | null {
  return timeMs === null ? null : new Date(timeMs).toISOString();
}

function pointText(point: InventoryPoint | null): string {
  return point === null ? "none" : `${point.txid} ${timeOrNull(point.timeMs) ?? "at an unknown time"}`;
}

function printTable(entries: readonly InventoryEntry[], store: ObjectStore): void {
  if (entries.length === 0) return printLine(`Nothing is stored in ${store.url}`);
  const rows = entries.map((entry) => [
    oneLine(entry.name),
    String(entry.snapshots.length),
    String(entry.increments),
    formatBytes(entry.bytes),
    pointText(entry.oldest),
    pointText(entry.newest),
  ]);
  const head = ["DATABASE", "SNAPSHOTS", "INCREMENTS", "SIZE", "FROM TXID", "TO TXID"];
  for (const line of tableLines(head, rows)) printLine(line);
  for (const { name, problems } of entries) {
    for (const problem of problems) printLine(`${name}: ${problem}; run walrust verify ${name}`);
  }
}

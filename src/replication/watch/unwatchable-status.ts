/**
 * Lists, among the statuses, the databases and folders that discovery had to leave out. Their state is
 * "failing", so that nobody takes them for replicated. Discovery logs the reasons.
 */
import { basename, dirname } from "node:path";
import type { Unwatchable } from "../../discovery/discovered.ts";
import { type DatabaseStatus, NO_PROGRESS } from "./watch-status.ts";

/** The databases and folders that cannot be watched at present. */
export class UnwatchableStatuses {
  #unwatchable: readonly Unwatchable[] = [];
  /** By path: since when, on the monotonic clock. */
  #sinceMs = new Map<string, number>();

  /** Takes the findings of the newest discovery. @param nowMs the monotonic clock */
  replace(unwatchable: readonly Unwatchable[], nowMs: number): void {
    this.#unwatchable = unwatchable;
    this.#sinceMs = new Map(unwatchable.map(({ path }) => [path, this.#sinceMs.get(path) ?? nowMs]));
  }

  /** The status of each that has no watcher, under a name that no watched database has. */
  statuses(watched: readonly DatabaseStatus[], nowMs: number, walSyncIntervalMs: number): DatabaseStatus[] {
    if (this.#unwatchable.length === 0) return [];
    const paths = new Set(watched.map(({ path }) => path));
    const names = new Set(watched.map(({ database }) => database));
    const statuses: DatabaseStatus[] = [];
    for (const { path, name, isMissing, error } of this.#unwatchable) {
      if (paths.has(path)) continue;
      const database = freeName(name, path, names);
      paths.add(path);
      names.add(database);
      statuses.push({
        database,
        path,
        state: "failing",
        ...NO_PROGRESS,
        retryCount: 0,
        nextSnapshotTimeMs: null,
        listedTimeMs: null,
        // Nobody knows since when a find that was never watched has needed a backup.
        lagMs: isMissing ? Math.round(nowMs - (this.#sinceMs.get(path) ?? nowMs)) : null,
        walFrames: null,
        writer: null,
        circuit: "closed",
        conditions: [],
        failure: { code: error.code, message: withoutFolders(error.message), hint: error.hint ?? null },
        walSyncIntervalMs,
      });
    }
    return statuses;
  }
}

function freeName(name: string, path: string, taken: ReadonlySet<string>): string {
  const longer = `${basename(dirname(path))}/${basename(path)}`;
  return [name, longer].find((one) => !taken.has(one)) ?? path;
}

/** A message without the folders of databases, which readers of /health need not know. */
function withoutFolders(message: string): string {
  return message.replaceAll(/(?<=^|[\s"(])\/(?:[^\s/]+\/)+(?=[^\s/])/g, "");
}

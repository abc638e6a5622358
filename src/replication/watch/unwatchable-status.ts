/**
 * What a discovery knows of and cannot hand over to be watched: a named database that is not there (yet), a
 * database that collides with another, a folder that cannot be looked into. It is shown beside what is
 * watched, so that nobody takes it for saved; whoever found it says it in the log.
 */
import { basename, dirname } from "node:path";
import type { WalrustError } from "../../errors.ts";
import type { WatchTarget } from "../context/watch-target.ts";
import { type DatabaseStatus, NO_PROGRESS } from "./watch-status.ts";

/** Something that cannot be watched. */
export interface LeftOut {
  /** Of the file or the folder. */
  readonly path: string;
  /** What it would be called. */
  readonly name: string;
  /** Named and not there: the bucket is behind for as long as that lasts. */
  readonly isMissing: boolean;
  readonly error: WalrustError;
}

/** What a discovery found. */
export interface Found {
  readonly targets: readonly WatchTarget[];
  readonly leftOut: readonly LeftOut[];
}

/** All that is left out at present. */
export class LeftOuts {
  #all: readonly LeftOut[] = [];
  /** By path: since when, on the monotonic clock. */
  #sinceMs = new Map<string, number>();

  /** Takes what the newest discovery left out. @param nowMs the monotonic clock */
  replace(all: readonly LeftOut[], nowMs: number): void {
    this.#all = all;
    this.#sinceMs = new Map(all.map(({ path }) => [path, this.#sinceMs.get(path) ?? nowMs]));
  }

  /** The status of each that is not watched, under names that are not taken. */
  statuses(watched: readonly DatabaseStatus[], nowMs: number, walSyncIntervalMs: number): DatabaseStatus[] {
    if (this.#all.length === 0) return [];
    const paths = new Set(watched.map(({ path }) => path));
    const names = new Set(watched.map(({ database }) => database));
    const statuses: DatabaseStatus[] = [];
    for (const { path, name, isMissing, error } of this.#all) {
      if (paths.has(path)) continue;
      const database = freeName(name, path, names);
      paths.add(path);
      names.add(database);
      statuses.push({
        database,
        path,
        state: "failing",
        ...NO_PROGRESS,
        lagMs: isMissing ? Math.round(nowMs - (this.#sinceMs.get(path) ?? nowMs)) : 0,
        walFrames: null,
        writer: null,
        circuit: "closed",
        conditions: [],
        failure: { code: error.code, message: withoutFolders(error.message) },
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

/** The reason may name two databases: whoever asks for the health need not know where they lie. */
function withoutFolders(message: string): string {
  return message.replaceAll(/(?<=^|[\s"(])\/(?:[^\s/]+\/)+(?=[^\s/])/g, "");
}

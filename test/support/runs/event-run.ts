/**
 * The end of a watch after an event of SQLite or of a user: the proof of the whole history, and the anchors
 * that the log names.
 */
import { expect } from "bun:test";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { imageOf } from "../oracles/database-image.ts";
import { type HistoryPoint, provenHistory } from "../oracles/history-oracle.ts";
import { restoredImage } from "../oracles/restored-image.ts";
import { SqliteProcess } from "../processes/sqlite-process.ts";
import type { WatchRun } from "./watch-run.ts";

/** A re-anchor as the log names it. */
export interface LoggedAnchor {
  readonly mode: "difference" | "full";
  readonly pageCount: number;
  readonly reason: string;
}

/**
 * The reason of an anchor after commits and a restart of the WAL that no watch saw. The stamp of the database
 * file shows them, or, within one tick of the kernel's clock, the WAL itself.
 */
export const UNWATCHED =
  /^the (database file was written while it was not watched|WAL was (restarted|started anew|empty) .+)$/;

const ANCHOR_LINE = /^re-anchored with (\d+) pages \((difference|full)\): (.+)$/;

/** The re-anchors of a run, from its WARN lines. */
export function loggedAnchors(run: WatchRun): LoggedAnchor[] {
  return run.lines.flatMap(({ level, message }) => {
    const [, pageCount, mode, reason = ""] = level === "warn" ? (ANCHOR_LINE.exec(message) ?? []) : [];
    return mode === undefined
      ? []
      : [{ mode: mode as LoggedAnchor["mode"], pageCount: Number(pageCount), reason }];
  });
}

/**
 * Stops the watch and proves its history: no failure is left, every object follows the one before it, and
 * both the replay of the bucket and a restore give the bytes of the database. No process may write.
 */
export async function provenEnd(
  run: WatchRun,
  path: string,
  store: ObjectStore,
  name = "app",
): Promise<HistoryPoint[]> {
  expect(await run.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });
  const history = await provenHistory(store, name);
  const image = imageOf(path);
  expect(Buffer.compare(history.at(-1)!.image, image)).toBe(0);
  expect(Buffer.compare(await restoredImage(store, name), image)).toBe(0);
  return history;
}

/** The pin and the watch continue: one more commit reaches the bucket as an increment. */
export async function expectStillCaptured(run: WatchRun, path: string, name = "app"): Promise<void> {
  const anchorCount = run.all("re-anchored", name).length;
  const app = await SqliteProcess.open(path);
  const txid = run.uploadedTxid(name) + 1;
  await app.must("INSERT INTO t(v) VALUES ('still captured')");
  await run.uploaded(txid, name);
  await app.close();
  expect(run.all("re-anchored", name).length).toBe(anchorCount);
}

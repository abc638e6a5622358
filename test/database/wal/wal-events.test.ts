/**
 * Events for -wal files: each way of SQLite to write one shows as a hint, also from another process. Events
 * that never come, a file that is missing, and the end of a read that waits are covered too.
 */
import { describe, expect, test } from "bun:test";
import { appendFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { WalEvents, type WalWatch } from "../../../src/database/wal/wal-events.ts";
import { SqliteProcess, waitUntil } from "../../support/processes/sqlite-process.ts";
import { tempFolder } from "../../support/temp.ts";

const isLinux = process.platform === "linux";

/** Opens the events once those of the test before are closed. */
async function open(): Promise<{
  events: WalEvents;
  seen: (WalWatch | null)[];
  closed: Set<WalWatch | null>;
  names: (string | null)[];
}> {
  const seen: (WalWatch | null)[] = [];
  const closed = new Set<WalWatch | null>();
  const names: (string | null)[] = [];
  let events: WalEvents | null = null;
  await waitUntil(() => {
    events ??= WalEvents.openOrNull((watch, isClosed, name) => {
      seen.push(watch);
      names.push(name);
      if (isClosed) closed.add(watch);
    });
    return events !== null;
  });
  return { events: events!, seen, closed, names };
}

/** The descriptors of inotify in this process. */
function inotifyCount(): number {
  const links = [...new Bun.Glob("*").scanSync({ cwd: "/proc/self/fdinfo", onlyFiles: false })];
  return links.filter((fd) => {
    try {
      return readFileSync(`/proc/self/fdinfo/${fd}`, "utf8").includes("inotify wd:");
    } catch {
      return false;
    }
  }).length;
}

describe.skipIf(!isLinux)("WalEvents", () => {
  test("reports the file that was written, once for each armed read", async () => {
    const folder = tempFolder("events");
    const [one, two] = [join(folder, "one"), join(folder, "two")];
    for (const path of [one, two]) writeFileSync(path, "");
    const { events, seen } = await open();
    const watches = [one, two].map((path) => events.watchOrNull(path));
    events.arm();
    appendFileSync(two, "x");
    await waitUntil(() => seen.length > 0);
    expect(new Set(seen)).toEqual(new Set([watches[1]!]));
    seen.length = 0;
    appendFileSync(one, "x");
    expect(seen).toEqual([]);
    events.arm();
    await waitUntil(() => seen.includes(watches[0]!));
    events.close();
  });

  test("a commit of another process, its close, and a replaced file each show", async () => {
    const path = join(tempFolder("events"), "app.db");
    const app = await SqliteProcess.open(path);
    await app.must("PRAGMA journal_mode = WAL", "CREATE TABLE t(v)");
    const { events, seen, closed } = await open();
    const watch = events.watchOrNull(`${path}-wal`);
    for (const change of [
      () => app.must("INSERT INTO t VALUES (1)"),
      async () => renameSync(`${path}-wal`, `${path}-wal-moved`),
      () => app.close(),
    ]) {
      seen.length = 0;
      events.arm();
      await change();
      await waitUntil(() => seen.length > 0);
    }
    await waitUntil(() => {
      events.arm();
      return closed.has(watch);
    });
    events.close();
  });

  test("a missing file and a closed descriptor are not watched", async () => {
    const folder = tempFolder("events");
    const { events } = await open();
    expect(events.watchOrNull(join(folder, "none"))).toBeNull();
    events.close();
    expect(events.watchOrNull(folder)).toBeNull();
  });

  test("an ended watch reports nothing, also after its file was deleted", async () => {
    const folder = tempFolder("events");
    const [gone, kept] = [join(folder, "gone"), join(folder, "kept")];
    for (const path of [gone, kept]) writeFileSync(path, "");
    const { events, seen } = await open();
    const ended = events.watchOrNull(gone)!;
    const watch = events.watchOrNull(kept)!;
    events.unwatch(ended);
    rmSync(gone);
    events.unwatch(ended);
    events.arm();
    appendFileSync(kept, "x");
    await waitUntil(() => {
      events.arm();
      return seen.includes(watch);
    });
    expect(seen).not.toContain(ended);
    events.close();
  });

  test("a watched folder names each written, removed or replaced file, and shows its move", async () => {
    const parent = tempFolder("events");
    const folder = join(parent, "data");
    mkdirSync(folder);
    const [one, two] = [join(folder, "one-é"), join(folder, "two")];
    for (const path of [one, two]) writeFileSync(path, "");
    const { events, seen, names } = await open();
    const watch = events.watchFolderOrNull(folder)!;
    expect(events.watchFolderOrNull(folder)).toBe(watch);
    expect(events.watchFolderOrNull(one)).toBeNull();
    for (const [change, expected] of [
      [() => writeFileSync(join(folder, "new"), "x"), ["new"]],
      [() => renameSync(join(folder, "new"), two), ["new", "two"]],
      [() => rmSync(one), ["one-é"]],
      [() => renameSync(folder, `${folder}-moved`), [null]],
    ] as const) {
      names.length = 0;
      events.arm();
      change();
      // A read may end between the two events of a rename.
      await waitUntil(() => {
        events.arm();
        return names.length >= expected.length;
      });
      expect(names).toEqual([...expected]);
    }
    expect(new Set(seen)).toEqual(new Set([watch]));
    events.unwatch(watch);
    events.close();
  });

  test("the root folder is not watched: its watch ends the read", async () => {
    const { events } = await open();
    expect(events.watchFolderOrNull("/")).toBeNull();
    events.arm();
    events.close();
    (await open()).events.close();
  });

  test("a process has one descriptor at a time, so that work with files goes on", async () => {
    const { events } = await open();
    events.arm();
    expect(WalEvents.openOrNull(() => {})).toBeNull();
    expect(await readFile("/proc/self/stat", "utf8")).not.toBe("");
    events.close();
    (await open()).events.close();
  });

  test("close ends a read that waits, and leaves no descriptor", async () => {
    const before = inotifyCount();
    const { events } = await open();
    events.arm();
    expect(inotifyCount()).toBe(before + 1);
    events.close();
    await waitUntil(() => inotifyCount() === before);
    events.close();
    (await open()).events.close();
    expect(inotifyCount()).toBe(before);
  });
});

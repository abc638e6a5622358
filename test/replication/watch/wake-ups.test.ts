/** When the loop looks at a database: by pace, by hints and without events, on a fake clock. */
import { describe, expect, test } from "bun:test";
import type { OnWalEvent, WalEvents, WalWatch } from "../../../src/database/wal/wal-events.ts";
import type { LiveDatabase } from "../../../src/replication/capture/live-database.ts";
import { Turn, WakeUps, type Woken } from "../../../src/replication/watch/wake-ups.ts";
import type { Pace } from "../../../src/replication/watch/watch-record.ts";
import { recordingEnv } from "../../support/recording-log.ts";

const INTERVAL_MS = 1_000;

/** An attached database. */
function liveAt(path: string, isLockless: boolean): LiveDatabase {
  return { path, pin: { isLockless, walPath: `${path}-wal` } } as LiveDatabase;
}

/** One database, and the events of its WAL. */
class Run {
  nowMs = 100_000;
  pace: Pace = "idle";
  lastCaptureMs = Number.NEGATIVE_INFINITY;
  live: LiveDatabase = liveAt("/data/app.db", false);
  filesCheckedMs = Number.NEGATIVE_INFINITY;
  readonly watched: string[] = [];
  /** The watched folders; the watch of each is 1,000 more than its index. */
  readonly folders: string[] = [];
  readonly sleeps: number[] = [];
  /** Runs during the next sleep. */
  during: () => void = () => {};
  intervalMs = INTERVAL_MS;
  grantedCount = Number.POSITIVE_INFINITY;
  mayBlock = false;
  checkpointDueMs = Number.POSITIVE_INFINITY;
  hint: (watch: WalWatch | null, isClosed?: boolean, name?: string) => void = () => {};
  readonly #env = recordingEnv({
    monotonicMs: () => this.nowMs,
    sleep: async (durationMs, signal) => {
      this.sleeps.push(durationMs);
      const { during } = this;
      this.during = () => {};
      during();
      if (signal?.aborted !== true) this.nowMs += durationMs;
    },
  });
  readonly wakeUps: WakeUps;
  readonly woken: Woken;

  constructor(hasEvents = true) {
    const run = this;
    this.woken = {
      turn: new Turn(),
      get live() {
        return run.live;
      },
      poller: {
        get lastCaptureMs() {
          return run.lastCaptureMs;
        },
        get captureDueMs() {
          return run.lastCaptureMs + run.intervalMs;
        },
        get filesCheckedMs() {
          return run.filesCheckedMs;
        },
        get mayBlockCheckpoint() {
          return run.mayBlock;
        },
        get checkpointDueMs() {
          return run.checkpointDueMs;
        },
      },
      paceAt: () => this.pace,
    };
    const open = (onEvent: OnWalEvent) => {
      this.hint = (watch, isClosed = false, name) => onEvent(watch, isClosed, name ?? null);
      return hasEvents ? this.#events() : null;
    };
    this.wakeUps = new WakeUps(this.#env.env, open);
  }

  #events(): WalEvents {
    const watchOrNull = (path: string): WalWatch | null =>
      this.watched.length < this.grantedCount ? this.watched.push(path) : null;
    const watchFolderOrNull = (folder: string): WalWatch | null => {
      if (!this.folders.includes(folder)) this.folders.push(folder);
      return this.folders.indexOf(folder) + 1_000;
    };
    const unwatch = (watch: WalWatch): void => {
      if (watch >= 1_000) this.folders[watch - 1_000] = "";
      else this.watched[watch - 1] = "";
    };
    return { watchOrNull, watchFolderOrNull, unwatch, arm() {}, close() {} } as unknown as WalEvents;
  }

  get warnings(): string[] {
    return this.#env.lines.filter(({ level }) => level === "warn").map(({ message }) => message);
  }

  /** Looks when the database is due, for some time. @returns the times between the looks */
  async pauses(durationMs: number): Promise<number[]> {
    const looks: number[] = [];
    for (const endMs = this.nowMs + durationMs; this.nowMs < endMs; ) {
      if (this.wakeUps.isDue(this.woken, this.nowMs)) {
        looks.push(this.nowMs);
        this.wakeUps.looked(this.woken, this.nowMs);
      }
      await this.wakeUps.sleep([this.woken], new AbortController().signal);
    }
    return looks.slice(1).map((lookMs, index) => lookMs - looks[index]!);
  }

  /** Looks once. */
  look(): void {
    expect(this.wakeUps.isDue(this.woken, this.nowMs)).toBe(true);
    this.wakeUps.looked(this.woken, this.nowMs);
  }
}

describe("WakeUps without a hint", () => {
  test.each([
    ["busy", true, 40],
    ["active", true, 500],
    ["idle", true, 2_000],
    ["busy", false, 40],
    ["active", false, 40],
    ["idle", false, 80],
  ] as const)(
    "a database that is %s, with events %p, is due every %d ms",
    async (pace, hasEvents, everyMs) => {
      const run = new Run(hasEvents);
      run.pace = pace;
      const pauses = await run.pauses(9_000);
      expect(new Set(pauses)).toEqual(new Set([everyMs]));
      expect(Math.max(...run.sleeps)).toBeLessThanOrEqual(250);
    },
  );

  test("idle databases share four turns of the loop a second", async () => {
    const run = new Run();
    const others = Array.from({ length: 40 }, () => new Run().woken);
    const all = [run.woken, ...others];
    for (const [index, woken] of all.entries()) run.wakeUps.looked(woken, run.nowMs - index * 47);
    const turns = new Set<number>();
    for (const endMs = run.nowMs + 4_000; run.nowMs < endMs; ) {
      for (const woken of all) {
        if (!run.wakeUps.isDue(woken, run.nowMs)) continue;
        expect(run.nowMs - woken.turn.lookedMs).toBeLessThanOrEqual(2_000);
        turns.add(run.nowMs);
        run.wakeUps.looked(woken, run.nowMs);
      }
      await run.wakeUps.sleep(all, new AbortController().signal);
    }
    expect(turns.size).toBeLessThanOrEqual(16);
  });

  test("while a checkpoint may wait for a pin, the loop turns eight times a second", async () => {
    const run = new Run();
    run.mayBlock = true;
    await run.pauses(3_000);
    expect(Math.max(...run.sleeps)).toBe(125);
  });

  test.each(["active", "idle"] as const)(
    "a database that is %s is due when its WAL will be long enough for a checkpoint",
    async (pace) => {
      const run = new Run();
      run.pace = pace;
      run.look();
      run.checkpointDueMs = 100_033;
      expect((await run.pauses(40)).length).toBeGreaterThan(0);
      run.checkpointDueMs = Number.POSITIVE_INFINITY;
      run.look();
      expect(await run.pauses(240)).toEqual([]);
    },
  );

  test("a checkpoint that is overdue has the loop look every 5 ms, and no sooner", async () => {
    const run = new Run();
    run.pace = "active";
    run.checkpointDueMs = 0;
    expect(new Set(await run.pauses(200))).toEqual(new Set([5]));
  });

  test("what ended just before the sleep is followed by one more look soon", async () => {
    const run = new Run();
    run.pace = "busy";
    run.look();
    run.pace = "idle";
    expect(await run.pauses(1_900)).toEqual([]);
    expect(run.woken.turn.lookedMs).toBe(100_040);
  });

  test("a turn that outlasts the time to the next look lets other work run", async () => {
    const run = new Run();
    run.pace = "busy";
    run.look();
    run.nowMs += 60;
    await run.wakeUps.sleep([run.woken], new AbortController().signal);
    expect(run.sleeps).toEqual([0]);
  });

  test("a database that stopped is never due", async () => {
    const run = new Run();
    run.pace = "none";
    expect(await run.pauses(5_000)).toEqual([]);
  });

  test("a WAL that the system does not watch is polled, with one warning", async () => {
    const run = new Run();
    run.grantedCount = 0;
    run.live = { path: "/app.db", pin: { isLockless: false, walPath: import.meta.path } } as LiveDatabase;
    expect(new Set(await run.pauses(1_000))).toEqual(new Set([80]));
    run.live = { ...run.live };
    await run.pauses(1_000);
    expect(run.warnings).toEqual([expect.stringContaining("polled instead")]);
  });

  test("a WAL that was just deleted is no limit of the system", async () => {
    const run = new Run();
    run.grantedCount = 0;
    expect(new Set(await run.pauses(1_000))).toEqual(new Set([80]));
    expect(run.warnings).toEqual([]);
  });

  test("a database that left is not watched again while its watcher closes", () => {
    const run = new Run();
    run.look();
    run.wakeUps.forget(run.woken);
    run.wakeUps.looked(run.woken, run.nowMs);
    expect(run.watched).toEqual([""]);
  });

  test("a database that is attached again is watched again, and one that left is not", () => {
    const run = new Run();
    run.look();
    run.live = liveAt("/data/other", false);
    run.nowMs += 5_000;
    run.look();
    expect(run.watched).toEqual(["", "/data/other-wal"]);
    run.wakeUps.forget(run.woken);
    expect(run.watched).toEqual(["", ""]);
  });

  test("a database followed without locks is polled", async () => {
    const run = new Run();
    run.live = liveAt("/data/app.db", true);
    expect(new Set(await run.pauses(1_000))).toEqual(new Set([80]));
    expect([run.watched, run.warnings]).toEqual([[], []]);
  });
});

describe("WakeUps after a hint", () => {
  test("a hint ends the sleep, and the database is due at once", async () => {
    const run = new Run();
    run.look();
    run.nowMs += 10;
    run.during = () => run.hint(1);
    await run.wakeUps.sleep([run.woken], new AbortController().signal);
    expect(run.nowMs).toBe(100_010);
    run.look(); // The commit is captured, but its last event comes after that.
    Object.assign(run.woken.turn, { hintedMs: run.nowMs - 60, hintWaitMs: 64 });
    run.hint(1);
    expect(run.wakeUps.isDue(run.woken, run.nowMs)).toBe(true);
  });

  test("a commit that is not shown yet is looked for soon, and more slowly from then on", async () => {
    const run = new Run();
    run.look();
    run.hint(1);
    const pauses = await run.pauses(7_000);
    expect(pauses.slice(0, 9)).toEqual([2, 5, 8, 16, 32, 64, 130, 256, 1987]);
    expect(pauses.at(-1)).toBe(2_000);
  });

  test("a hint within wal_sync_interval waits for its end", () => {
    const run = new Run();
    run.look();
    run.lastCaptureMs = run.nowMs;
    run.nowMs += 101;
    run.hint(1);
    run.nowMs = run.lastCaptureMs + INTERVAL_MS - 1;
    expect(run.wakeUps.isDue(run.woken, run.nowMs)).toBe(false);
    run.nowMs = run.lastCaptureMs + INTERVAL_MS;
    run.lastCaptureMs = run.nowMs;
    run.look();
    run.nowMs += 50;
    expect(run.wakeUps.isDue(run.woken, run.nowMs)).toBe(false);
  });

  test("a hint lasts for a long wal_sync_interval, and the capture counts as announced", async () => {
    const run = new Run();
    // No sweep coincides with its end.
    run.intervalMs = 59_300;
    run.lastCaptureMs = run.nowMs;
    run.look();
    run.nowMs += 100;
    run.hint(1);
    await run.pauses(run.lastCaptureMs + run.intervalMs - run.nowMs - 1);
    run.nowMs = run.lastCaptureMs + run.intervalMs;
    run.lastCaptureMs = run.nowMs;
    run.look();
    expect(run.woken.turn.silentCount).toBe(0);
    expect(run.woken.turn.hintedMs).toBeNull();
  });

  test("a file that is written without a pause gets a look every 100 ms, uncaptured", async () => {
    const run = new Run();
    run.pace = "active";
    run.lastCaptureMs = run.nowMs;
    run.look();
    const again = (): void => {
      run.hint(1);
      run.during = again;
    };
    run.during = again;
    const pauses = await run.pauses(900);
    expect(pauses.slice(1)).toEqual(pauses.slice(1).map(() => 100));
    expect(pauses.length).toBeGreaterThan(5);
  });

  test("a file that was closed gets a look when its WAL may be emptied, uncaptured", () => {
    const run = new Run();
    run.pace = "active";
    run.lastCaptureMs = run.nowMs;
    run.look();
    run.nowMs += 50;
    run.hint(1, true);
    run.nowMs += 119;
    expect(run.wakeUps.isDue(run.woken, run.nowMs)).toBe(false);
    run.nowMs += 1;
    run.look();
    expect(run.woken.turn.closedMs).toBeNull();
    run.nowMs += 300;
    expect(run.wakeUps.isDue(run.woken, run.nowMs)).toBe(false);
  });

  test("a close whose commit is captured after it gets its look after the capture", () => {
    const run = new Run();
    run.pace = "active";
    run.look();
    run.nowMs += 50;
    run.hint(1, true);
    run.lastCaptureMs = run.nowMs + 5;
    run.nowMs += 5;
    run.look();
    run.nowMs = run.lastCaptureMs + 119;
    expect(run.wakeUps.isDue(run.woken, run.nowMs)).toBe(false);
    run.nowMs += 1;
    run.look();
  });

  test("lost events are a hint for every database", () => {
    const run = new Run();
    run.look();
    run.nowMs += 10;
    run.hint(null);
    run.look();
  });

  test("a file system whose commits no event announces is polled, until events announce one", async () => {
    const run = new Run();
    run.look();
    for (let capture = 0; capture < 5; capture++) {
      expect(run.woken.turn.dueMs).toBe(run.nowMs + 2_000);
      run.nowMs += 2_000;
      run.lastCaptureMs = run.nowMs;
      run.look();
    }
    expect(new Set(await run.pauses(1_000))).toEqual(new Set([80]));
    run.hint(1);
    run.nowMs += 1_000;
    run.lastCaptureMs = run.nowMs;
    run.look();
    expect(run.woken.turn.dueMs).toBeGreaterThan(run.nowMs + 1_750);
  });

  test("only a pin that may block, or whose WAL was written since, is asked", () => {
    const run = new Run();
    expect(run.wakeUps.mayBlockCheckpoint(run.woken)).toBe(true);
    run.look();
    expect(run.wakeUps.mayBlockCheckpoint(run.woken)).toBe(false);
    run.hint(1);
    expect(run.wakeUps.mayBlockCheckpoint(run.woken)).toBe(true);
    run.lastCaptureMs = run.nowMs;
    run.wakeUps.looked(run.woken, run.nowMs);
    expect(run.wakeUps.mayBlockCheckpoint(run.woken)).toBe(false);
    run.mayBlock = true;
    expect(run.wakeUps.mayBlockCheckpoint(run.woken)).toBe(true);
    const silent = new Run(false);
    silent.look();
    expect(silent.wakeUps.mayBlockCheckpoint(silent.woken)).toBe(true);
  });

  test("a file that is written without end turns the loop at most once in 5 ms", async () => {
    const run = new Run();
    run.look();
    const beginMs = run.nowMs;
    for (let turn = 0; turn < 100; turn++) {
      run.during = () => run.hint(1);
      if (run.wakeUps.isDue(run.woken, run.nowMs)) run.wakeUps.looked(run.woken, run.nowMs);
      await run.wakeUps.sleep([run.woken], new AbortController().signal);
    }
    expect(run.nowMs - beginMs).toBeGreaterThanOrEqual(98 * 5 + 2);
    const many = Array.from({ length: 20 }, () => new Run().woken);
    for (const { turn } of [many, many, many, many, many].flat()) {
      Object.assign(turn, { hintedMs: run.nowMs, hintWaitMs: 2, dueMs: run.nowMs + 2 });
      await run.wakeUps.sleep(many, new AbortController().signal);
    }
    expect(run.nowMs - beginMs).toBeGreaterThanOrEqual(98 * 5 + 2 + 33 * (5 + 5 + 2));
  });
});

describe("WakeUps and the files of a database", () => {
  /** A database whose WAL and folder are watched, and whose files are checked. */
  function watchedRun(): Run {
    const run = new Run();
    run.look();
    expect(run.woken.turn.fileNewsOf(run.live)).toBe("touched");
    check(run);
    expect(run.woken.turn.fileNewsOf(run.live)).toBe("still");
    return run;
  }

  /** A look that checks the files. */
  function check(run: Run): void {
    run.nowMs += 2_000;
    run.filesCheckedMs = run.nowMs;
    run.look();
  }

  test.each(["app.db", "app.db-wal", "app.db-shm"])(
    "an event for %s has its files checked at once",
    (name) => {
      const run = watchedRun();
      run.nowMs += 10;
      run.hint(1_000, false, name);
      run.look();
      expect(run.woken.turn.fileNewsOf(run.live)).toBe("touched");
      check(run);
      run.nowMs += 2_000;
      run.look();
      expect(run.woken.turn.fileNewsOf(run.live)).toBe("still");
    },
  );

  test.each(["other.db", "app.db-journal", "app.db.bak"])("an event for %s means no other file", (name) => {
    const run = watchedRun();
    run.hint(1_000, false, name);
    expect(run.woken.turn.fileNewsOf(run.live)).toBe("still");
    expect(run.wakeUps.isDue(run.woken, run.nowMs)).toBe(false);
  });

  test.each([
    ["app.db", "touched"],
    ["app.db-wal", "still"],
    ["app.db-shm", "still"],
  ] as const)("after a close of %s the files are %s", (name, expected) => {
    const run = watchedRun();
    run.hint(1_000, true, name);
    expect(run.woken.turn.fileNewsOf(run.live)).toBe(expected);
  });

  test("lost events mean every file", () => {
    const run = watchedRun();
    run.nowMs += 10;
    run.hint(null);
    run.look();
    expect(run.woken.turn.fileNewsOf(run.live)).toBe("touched");
  });

  test("a folder that was moved sends no more events: nothing is known of its files", () => {
    const run = watchedRun();
    run.hint(1_000);
    expect(run.woken.turn.fileNewsOf(run.live)).toBe("touched");
    expect(run.folders).toEqual([""]);
    check(run);
    run.nowMs += 2_000;
    run.look();
    expect(run.woken.turn.fileNewsOf(run.live)).toBe("unknown");
  });

  test("a WAL is written until it is captured; of another attached database nothing is known", () => {
    const run = watchedRun();
    expect(run.woken.turn.fileNewsOf(liveAt("/data/app.db", false))).toBe("unknown");
    run.hint(1);
    expect(run.woken.turn.fileNewsOf(run.live)).toBe("written");
    run.hint(1_000, false, "app.db");
    expect(run.woken.turn.fileNewsOf(run.live)).toBe("touched");
  });

  test("a folder is watched until the last of its databases leaves", () => {
    const run = watchedRun();
    const other = new Run();
    other.live = liveAt("/data/other.db", false);
    run.wakeUps.looked(other.woken, run.nowMs);
    run.wakeUps.forget(run.woken);
    expect(run.folders).toEqual(["/data"]);
    run.wakeUps.forget(other.woken);
    expect(run.folders).toEqual([""]);
  });
});

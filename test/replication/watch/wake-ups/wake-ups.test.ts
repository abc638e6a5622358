/** When the loop looks at a database: by pace, by hints and without events, on a fake clock. */
import { describe, expect, test } from "bun:test";
import type { LiveDatabase } from "../../../../src/replication/capture/live-database.ts";
import type { Woken } from "../../../../src/replication/watch/wake-ups.ts";
import { INTERVAL_MS, liveAt, Run } from "./wake-ups-run.ts";

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
    await run.sleep();
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
    await run.sleep();
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
    expect(pauses.slice(0, 10)).toEqual([1, 2, 5, 8, 16, 32, 66, 128, 256, 1986]);
    expect(pauses.at(-1)).toBe(2_000);
  });

  test("an event before the next look for a commit does not put it off", async () => {
    const run = new Run();
    run.look();
    run.hint(1);
    await run.sleep();
    run.nowMs += 10;
    run.look();
    run.nowMs += 0.5;
    run.during = () => run.hint(1);
    const lookedMs = run.woken.turn.lookedMs;
    await run.sleep();
    expect(run.nowMs - lookedMs).toBe(1);
  });

  test("an event of a database that is not due ends no sleep, and the next one may", async () => {
    const run = new Run();
    run.look();
    run.lastCaptureMs = run.nowMs;
    run.wakeUps.looked(run.woken, run.nowMs);
    const other = new Run();
    run.wakeUps.looked(other.woken, run.nowMs);
    run.during = () => {
      run.hint(1);
      run.during = () => {
        run.during = () => run.hint(2);
      };
    };
    const beganMs = run.nowMs;
    await run.sleep([run.woken, other.woken]);
    expect(run.nowMs - beganMs).toBe(5);
    expect(run.wakeUps.isDue(run.woken, run.nowMs)).toBe(false);
    expect(run.wakeUps.isDue(other.woken, run.nowMs)).toBe(true);
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

  test("files that are written without end turn the loop at most four times in 10 ms", async () => {
    const run = new Run();
    run.look();
    const again = (): void => {
      run.hint(1);
      run.during = again;
    };
    run.during = again;
    const turns: number[] = [];
    const turn = async (all: readonly Woken[]): Promise<void> => {
      await run.sleep(all);
      turns.push(run.nowMs);
    };
    for (let count = 0; count < 100; count++) {
      if (run.wakeUps.isDue(run.woken, run.nowMs)) run.wakeUps.looked(run.woken, run.nowMs);
      await turn([run.woken]);
    }
    const many = Array.from({ length: 20 }, () => new Run().woken);
    for (let count = 0; count < 100; count++) {
      const nowMs = run.nowMs;
      for (const one of many) Object.assign(one.turn, { hintedMs: nowMs, hintWaitMs: 1, dueMs: nowMs });
      await turn(many);
    }
    for (const [index, turnMs] of turns.entries())
      if (index >= 4) expect(turnMs - turns[index - 4]!).toBeGreaterThanOrEqual(10);
  });

  test("a question is due every 125 ms, whatever is written meanwhile", async () => {
    const run = new Run();
    run.pace = "active";
    run.lastCaptureMs = run.nowMs;
    const blocking = new Run();
    blocking.mayBlock = true;
    const all = [run.woken, blocking.woken];
    const again = (): void => {
      run.hint(1);
      run.during = again;
    };
    run.during = again;
    const questions: number[] = [];
    while (run.nowMs < 102_000) {
      if (run.wakeUps.takeQuestion(run.nowMs)) questions.push(run.nowMs);
      for (const woken of all) if (run.wakeUps.isDue(woken, run.nowMs)) run.wakeUps.looked(woken, run.nowMs);
      await run.wakeUps.sleep(all, new AbortController().signal);
    }
    expect(questions.length).toBeGreaterThanOrEqual(16);
    for (const [index, askedMs] of questions.entries())
      if (index > 0) expect(askedMs - questions[index - 1]!).toBeLessThanOrEqual(130);
  });

  test("the end of the watch ends a sleep between two reads of events", async () => {
    const run = new Run();
    run.look();
    run.lastCaptureMs = run.nowMs;
    run.wakeUps.looked(run.woken, run.nowMs);
    const end = new AbortController();
    run.during = () => {
      run.hint(1);
      run.during = () => end.abort();
    };
    await run.sleep([run.woken], end.signal);
    expect(end.signal.aborted).toBe(true);
    expect(run.nowMs).toBe(100_000);
  });
});

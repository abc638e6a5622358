/** Semaphore and SharedPermit: the number of concurrent works, their order, and the return of every slot. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Semaphore, SharedPermit } from "../../../src/storage/guard/semaphore.ts";
import { cases } from "../../support/property-cases.ts";

/** Works that run until a test ends them. */
class Works {
  readonly running: string[] = [];
  readonly started: string[] = [];
  readonly #ends = new Map<string, () => void>();

  /** A work by name. */
  of(name: string): () => Promise<string> {
    return async () => {
      this.started.push(name);
      this.running.push(name);
      await new Promise<void>((resolve) => this.#ends.set(name, resolve));
      this.running.splice(this.running.indexOf(name), 1);
      return name;
    };
  }

  /** Ends one work, and lets the next one begin. */
  async end(name: string): Promise<void> {
    this.#ends.get(name)?.();
    await settled();
  }
}

/** Runs everything that is ready. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

describe("Semaphore", () => {
  test("a waiter that aborts leaves the queue, and the others keep their places", async () => {
    const slots = new Semaphore(1);
    const works = new Works();
    const stopper = new AbortController();
    const first = slots.run(works.of("first"));
    const leaving = slots.run(works.of("leaving"), stopper.signal);
    const last = slots.run(works.of("last"));
    expect([works.running, slots.isContended]).toEqual([["first"], true]);
    stopper.abort(new Error("stopped"));
    await expect(leaving).rejects.toThrow("stopped");
    await works.end("first");
    expect([works.running, slots.isContended]).toEqual([["last"], false]);
    await works.end("last");
    expect([await first, await last, works.started]).toEqual(["first", "last", ["first", "last"]]);
    expect(await slots.run(async () => "free")).toBe("free");
  });

  test("an aborted signal takes no slot", async () => {
    const slots = new Semaphore(1);
    const signal = AbortSignal.abort(new Error("stopped"));
    await expect(slots.run(async () => "never", signal)).rejects.toThrow("stopped");
    expect(await slots.run(async () => "free")).toBe("free");
  });

  test("an abort after admission loses no slot", async () => {
    const slots = new Semaphore(1);
    const stopper = new AbortController();
    await slots.acquire();
    const waiting = slots.run(async () => "served", stopper.signal);
    slots.release();
    stopper.abort(new Error("stopped"));
    expect(await waiting).toBe("served");
    expect(await slots.run(async () => "free")).toBe("free");
  });
});

/** Works that pause after each step, on a clock that a test moves. */
class Steps {
  nowMs = 0;
  readonly log: string[] = [];
  readonly env = { turn: () => Promise.resolve(), monotonicMs: () => this.nowMs };

  /** A work with steps of one second each. */
  of(name: string, stepCount: number): (between: () => Promise<void>) => Promise<string> {
    return async (between) => {
      for (let step = 0; step < stepCount; step++) {
        this.log.push(name);
        this.nowMs += 1_000;
        await between();
      }
      return name;
    };
  }
}

describe("Semaphore.runInTurns", () => {
  test("a long work lets a waiting one run, and still ends", async () => {
    const slots = new Semaphore(1);
    const steps = new Steps();
    const long = slots.runInTurns(steps.of("long", 20), 5_000, steps.env);
    const short = slots.runInTurns(steps.of("short", 1), 5_000, steps.env);
    expect(await Promise.all([long, short])).toEqual(["long", "short"]);
    expect(steps.log.indexOf("short")).toBe(5);
    expect(steps.log.length).toBe(21);
  });

  test("two long works alternate ever more rarely", async () => {
    const slots = new Semaphore(1);
    const steps = new Steps();
    await Promise.all(["a", "b"].map((name) => slots.runInTurns(steps.of(name, 40), 2_000, steps.env)));
    const changes = steps.log.filter((name, index) => index > 0 && steps.log[index - 1] !== name).length;
    expect(changes).toBeLessThan(12);
    expect(changes).toBeGreaterThan(4);
  });

  test("a lone work keeps its slot, few works pause at once, and no slot is lost", async () => {
    const slots = new Semaphore(2);
    const steps = new Steps();
    await slots.runInTurns(steps.of("alone", 100), 1_000, steps.env);
    const names = Array.from({ length: 50 }, (_, index) => `n${index}`);
    const seen = new Set<string>();
    let open = 0;
    let openMax = 0;
    const work = (name: string) => async (between: () => Promise<void>) => {
      openMax = Math.max(openMax, ++open);
      await steps.of(name, 10)(between);
      open--;
      seen.add(name);
    };
    await Promise.all(names.map((name) => slots.runInTurns(work(name), 1_000, steps.env)));
    expect([seen.size, openMax]).toEqual([50, 2 + 8]);
    await Promise.all([slots.acquire(), slots.acquire()]);
  });

  test("a paused work that is aborted returns no slot that it does not hold", async () => {
    const slots = new Semaphore(1);
    const steps = new Steps();
    const stopper = new AbortController();
    const first = slots.runInTurns(steps.of("first", 50), 1_000, steps.env, stopper.signal);
    const works = new Works();
    const second = slots.run(works.of("second"));
    await settled();
    await settled();
    stopper.abort(new Error("stop"));
    expect(first).rejects.toThrow("stop");
    await works.end("second");
    await second;
    let isTaken = false;
    await slots.acquire();
    void slots.acquire().then(() => {
      isTaken = true;
    });
    await settled();
    expect(isTaken).toBe(false);
  });
});

describe("SharedPermit", () => {
  test("takes one slot for all its works, and returns it after the last", async () => {
    const slots = new Semaphore(2);
    const shared = new SharedPermit(slots);
    const works = new Works();
    const all = ["a", "b", "c"].map((name) => shared.run(works.of(name)));
    await settled();
    expect(works.running.toSorted()).toEqual(["a", "b", "c"]);
    const other = slots.run(works.of("other"));
    const waiting = slots.run(works.of("waiting"));
    await works.end("a");
    await works.end("b");
    expect(works.running).toEqual(["c", "other"]);
    await works.end("c");
    expect(works.running).toEqual(["other", "waiting"]);
    await works.end("other");
    await works.end("waiting");
    await Promise.all([...all, other, waiting]);
  });

  test("passes its slot on when other works wait for one", async () => {
    const slots = new Semaphore(1);
    const shared = new SharedPermit(slots);
    const works = new Works();
    const runs = [shared.run(works.of("part 1")), slots.run(works.of("other"))];
    runs.push(shared.run(works.of("part 2")), shared.run(works.of("part 3")));
    await settled();
    expect(works.running).toEqual(["part 1"]);
    await works.end("part 1");
    expect(works.running).toEqual(["other"]);
    await works.end("other");
    expect(works.running.toSorted()).toEqual(["part 2", "part 3"]);
    await works.end("part 2");
    await works.end("part 3");
    await Promise.all(runs);
  });

  test("works that abort while they wait leave no slot taken", async () => {
    const slots = new Semaphore(1);
    const shared = new SharedPermit(slots);
    const stopper = new AbortController();
    await slots.acquire();
    const runs = [1, 2, 3].map(() => shared.run(async () => "never", stopper.signal));
    const outcomes = Promise.allSettled(runs);
    await settled();
    stopper.abort(new Error("stopped"));
    expect((await outcomes).map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
    slots.release();
    expect(await shared.run(async () => "free")).toBe("free");
    expect(await slots.run(async () => "free")).toBe("free");
  });
});

test("Semaphore and SharedPermits never exceed the limit, admit every work, and lose no slot", async () => {
  const step = fc.record({ upload: fc.integer({ min: 0, max: 3 }), turns: fc.integer({ min: 0, max: 5 }) });
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 3 }),
      fc.array(step, { maxLength: 40 }),
      async (count, steps) => {
        const slots = new Semaphore(count);
        // Uploads 0 and 1 share a slot each; 2 and 3 take one for every work.
        const shared = [new SharedPermit(slots), new SharedPermit(slots)];
        const holders = new Map<string, number>();
        const runs = steps.map(({ upload, turns }, index) => {
          const holder = upload < 2 ? `shared ${upload}` : `single ${index}`;
          const work = async (): Promise<void> => {
            holders.set(holder, (holders.get(holder) ?? 0) + 1);
            expect(holders.size).toBeLessThanOrEqual(count);
            for (let turn = 0; turn < turns; turn++) await Promise.resolve();
            const left = holders.get(holder)! - 1;
            if (left === 0) holders.delete(holder);
            else holders.set(holder, left);
          };
          return (shared[upload] ?? slots).run(work);
        });
        await Promise.all(runs);
        for (let index = 0; index < count; index++) await slots.acquire();
        expect([holders.size, slots.isContended]).toEqual([0, false]);
      },
    ),
    cases(300),
  );
});

describe("runPatiently", () => {
  const never = new Promise<void>(() => {});

  test("passes its slot on when the work takes too long, and still returns the result", async () => {
    const slots = new Semaphore(1);
    const patience = Promise.withResolvers<void>();
    const slow = Promise.withResolvers<string>();
    const first = slots.runPatiently(() => slow.promise, 5_000, { sleep: () => patience.promise });
    const second = slots.run(async () => "second");
    expect(slots.isContended).toBe(true);
    patience.resolve();
    expect(await second).toBe("second");
    slow.resolve("first");
    expect(await first).toBe("first");
  });

  test("holds the slot to the end of timely work, and returns it once", async () => {
    const slots = new Semaphore(1);
    const work = Promise.withResolvers<void>();
    const asked: number[] = [];
    const sleep = async (durationMs: number): Promise<void> => {
      asked.push(durationMs);
      await never;
    };
    const first = slots.runPatiently(() => work.promise, 5_000, { sleep });
    const second = slots.run(async () => {});
    expect(slots.isContended).toBe(true);
    work.resolve();
    await Promise.all([first, second]);
    await slots.acquire();
    expect([asked, slots.isContended]).toEqual([[5_000], false]);
  });

  test("throws the failure of the work, in time or late", async () => {
    const slots = new Semaphore(1);
    const fail = async (): Promise<never> => {
      throw new Error("no");
    };
    expect(slots.runPatiently(fail, 5_000, { sleep: () => never })).rejects.toThrow("no");
    expect(slots.runPatiently(fail, 5_000, { sleep: async () => {} })).rejects.toThrow("no");
    await slots.run(async () => {});
  });
});

/** PutLimiter: how many puts run at once, what they hold in memory, and that no turn is lost. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { WalrustError } from "../../../src/errors.ts";
import type { PutReservation } from "../../../src/storage/contract/store.ts";
import { AdaptiveLimit } from "../../../src/storage/guard/adaptive-limit.ts";
import { PutLimiter } from "../../../src/storage/guard/put-limiter.ts";

const ENV = { monotonicMs: () => 0 };
const MEGABYTE = 1 << 20;

function gateOf(ceiling: number): PutLimiter {
  return new PutLimiter(new AdaptiveLimit(ceiling), ENV);
}

/** Lets all that is ready run. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 30; turn++) await Promise.resolve();
}

/** Puts that run until they are told to end. */
class Puts {
  running = 0;
  most = 0;
  readonly ends: (() => void)[] = [];

  start(gate: PutLimiter, sizeBytes: number, turn?: PutReservation): Promise<void> {
    return gate.run(() => this.work(), undefined, { sizeBytes, turn });
  }

  async work(): Promise<void> {
    this.running++;
    this.most = Math.max(this.most, this.running);
    await new Promise<void>((resolve) => this.ends.push(resolve));
    this.running--;
  }

  async endOne(): Promise<void> {
    this.ends.shift()?.();
    await settled();
  }
}

describe("PutLimiter", () => {
  test("runs as many as the pace says, which grows while others wait", async () => {
    const gate = gateOf(8);
    const puts = new Puts();
    const all = Array.from({ length: 40 }, () => puts.start(gate, 1_000));
    await settled();
    expect([puts.running, gate.facts]).toEqual([
      4,
      { limit: 4, ceiling: 8, reason: "starting", inFlight: 4, waiting: 36 },
    ]);
    while (puts.ends.length > 0) await puts.endOne();
    await Promise.all(all);
    expect([puts.most, gate.facts.inFlight, gate.facts.waiting]).toEqual([8, 0, 0]);
  });

  test("large bodies wait for memory, and one is always let through", async () => {
    const gate = gateOf(256);
    const puts = new Puts();
    const small = Array.from({ length: 4 }, () => puts.start(gate, 1_000));
    await settled();
    for (const _ of small) await puts.endOne();
    const large = Array.from({ length: 200 }, () => puts.start(gate, 100 * MEGABYTE));
    await settled();
    while (puts.ends.length > 0) await puts.endOne();
    await Promise.all(large);
    // 16 MB in all, half a MB of each.
    expect(puts.most).toBe(32);
  });

  test("a turn that was taken before is used once, and counts as one", async () => {
    const gate = gateOf(1);
    const puts = new Puts();
    const turn = await gate.turn();
    const first = puts.start(gate, 1, turn);
    const second = puts.start(gate, 1, turn);
    await settled();
    expect([puts.running, gate.facts.inFlight, gate.facts.waiting]).toEqual([1, 1, 1]);
    await puts.endOne();
    await puts.endOne();
    await Promise.all([first, second]);
    turn.end();
    turn.end();
    expect(gate.facts.inFlight).toBe(0);
  });

  test("a turn that nobody used is given back once", async () => {
    const gate = gateOf(1);
    const turn = await gate.turn();
    const waiting = gate.turn();
    turn.end();
    turn.end();
    (await waiting).end();
    expect([gate.facts.inFlight, gate.facts.waiting]).toEqual([0, 0]);
  });

  test("a turn of another gate is not used", async () => {
    const [one, other] = [gateOf(1), gateOf(1)];
    const turn = await other.turn();
    await one.run(async () => {}, undefined, { sizeBytes: 1, turn });
    expect([one.facts.inFlight, other.facts.inFlight]).toEqual([0, 1]);
  });

  test.each([
    ["a 503", new WalrustError("storage", "x", { retryable: true, context: { status: 503 } }), 32],
    ["a 429", new WalrustError("storage", "x", { retryable: true, context: { status: 429 } }), 32],
    ["a lost connection", new WalrustError("storage", "x", { retryable: true }), 32],
    ["a stall", new WalrustError("storage", "x", { retryable: true, context: { stalled: true } }), 32],
    ["412", new WalrustError("precondition", "x", { context: { status: 412 } }), 64],
    ["an abort", new Error("stopped"), 64],
    ["a full disk", new WalrustError("database", "x", { retryable: true }), 64],
  ])("%s leaves a limit as it should", async (_, error, limit) => {
    let nowMs = 0;
    const pace = new AdaptiveLimit(64);
    const gate = new PutLimiter(pace, { monotonicMs: () => nowMs++ });
    const grown = Array.from({ length: 400 }, () => gate.run(async () => {}));
    await Promise.all(grown);
    expect(gate.facts.limit).toBe(64);
    const puts = new Puts();
    const others = Array.from({ length: 63 }, () => puts.start(gate, 1));
    await settled();
    await expect(gate.run(() => Promise.reject(error))).rejects.toBe(error);
    expect(gate.facts.limit).toBe(limit);
    while (puts.ends.length > 0) await puts.endOne();
    await Promise.all(others);
  });

  test("whatever ends, fails, gives up or never begins, every turn comes back", async () => {
    const step = fc.constantFrom("put", "turn", "use", "drop", "end", "fail", "abort");
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 60 }),
        fc.integer({ min: 1, max: 6 }),
        async (steps, ceiling) => {
          const gate = gateOf(ceiling);
          const turns: PutReservation[] = [];
          const ends: ((error?: Error) => void)[] = [];
          const stopper = new AbortController();
          const all: Promise<unknown>[] = [];
          const work = (): Promise<void> =>
            new Promise((resolve, reject) =>
              ends.push((error) => (error === undefined ? resolve() : reject(error))),
            );
          const put = (turn?: PutReservation): void => {
            all.push(gate.run(work, stopper.signal, { sizeBytes: MEGABYTE, turn }).catch(() => {}));
          };
          for (const kind of steps) {
            if (kind === "put") put();
            if (kind === "turn")
              all.push(
                gate.turn(stopper.signal).then(
                  (turn) => turns.push(turn),
                  () => {},
                ),
              );
            if (kind === "use" && turns.length > 0) put(turns[0]);
            if (kind === "drop") turns.shift()?.end();
            if (kind === "end") ends.shift()?.();
            if (kind === "fail") ends.shift()?.(new WalrustError("storage", "x", { retryable: true }));
            await settled();
            expect(gate.facts.inFlight).toBeLessThanOrEqual(Math.max(ceiling, 4));
          }
          stopper.abort(new Error("stopped"));
          for (let round = 0; round < 80; round++) {
            for (const end of ends.splice(0)) end();
            for (const turn of turns.splice(0)) turn.end();
            await settled();
          }
          await Promise.all(all);
          expect([gate.facts.inFlight, gate.facts.waiting]).toEqual([0, 0]);
        },
      ),
      { numRuns: 200 },
    );
  });
});

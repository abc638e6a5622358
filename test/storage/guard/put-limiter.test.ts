/** PutLimiter: the number of concurrent puts, the memory of their bodies, and the release of every place. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { WalrustError } from "../../../src/errors.ts";
import type { PutReservation } from "../../../src/storage/contract/put-limit.ts";
import { AdaptiveLimit } from "../../../src/storage/guard/adaptive-limit.ts";
import { PutLimiter } from "../../../src/storage/guard/put-limiter.ts";
import { cases } from "../../support/property-cases.ts";

const ENV = { monotonicMs: () => 0 };
const MEGABYTE = 1 << 20;

function limiterOf(ceiling: number): PutLimiter {
  return new PutLimiter(new AdaptiveLimit(ceiling), ENV);
}

/** Runs everything that is ready. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 30; turn++) await Promise.resolve();
}

/** Puts that run until a test ends them. */
class Puts {
  running = 0;
  most = 0;
  readonly ends: (() => void)[] = [];

  start(limiter: PutLimiter, sizeBytes: number, reservation?: PutReservation): Promise<void> {
    return limiter.run(() => this.work(), undefined, { sizeBytes, reservation });
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
  test("runs as many puts as the limit allows, and raises the limit while puts wait", async () => {
    const limiter = limiterOf(8);
    const puts = new Puts();
    const all = Array.from({ length: 40 }, () => puts.start(limiter, 1_000));
    await settled();
    expect([puts.running, limiter.facts]).toEqual([
      4,
      { limit: 4, ceiling: 8, reason: "starting", inFlight: 4, waiting: 36 },
    ]);
    while (puts.ends.length > 0) await puts.endOne();
    await Promise.all(all);
    expect([puts.most, limiter.facts.inFlight, limiter.facts.waiting]).toEqual([8, 0, 0]);
  });

  test("lets large bodies wait for memory, but always admits one", async () => {
    const limiter = limiterOf(256);
    const puts = new Puts();
    const small = Array.from({ length: 4 }, () => puts.start(limiter, 1_000));
    await settled();
    for (const _ of small) await puts.endOne();
    const large = Array.from({ length: 200 }, () => puts.start(limiter, 100 * MEGABYTE));
    await settled();
    while (puts.ends.length > 0) await puts.endOne();
    await Promise.all(large);
    // 16 MB in total, half a MB each.
    expect(puts.most).toBe(32);
  });

  test("uses a reservation once, and counts it as one place", async () => {
    const limiter = limiterOf(1);
    const puts = new Puts();
    const reservation = await limiter.reserve();
    const first = puts.start(limiter, 1, reservation);
    const second = puts.start(limiter, 1, reservation);
    await settled();
    expect([puts.running, limiter.facts.inFlight, limiter.facts.waiting]).toEqual([1, 1, 1]);
    await puts.endOne();
    await puts.endOne();
    await Promise.all([first, second]);
    reservation.end();
    reservation.end();
    expect(limiter.facts.inFlight).toBe(0);
  });

  test("releases an unused reservation once", async () => {
    const limiter = limiterOf(1);
    const reservation = await limiter.reserve();
    const waiting = limiter.reserve();
    reservation.end();
    reservation.end();
    (await waiting).end();
    expect([limiter.facts.inFlight, limiter.facts.waiting]).toEqual([0, 0]);
  });

  test("ignores a reservation of another limiter", async () => {
    const [one, other] = [limiterOf(1), limiterOf(1)];
    const reservation = await other.reserve();
    await one.run(async () => {}, undefined, { sizeBytes: 1, reservation });
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
  ])("halves or keeps its limit after %s", async (_, error, limit) => {
    let nowMs = 0;
    const adaptive = new AdaptiveLimit(64);
    const limiter = new PutLimiter(adaptive, { monotonicMs: () => nowMs++ });
    const grown = Array.from({ length: 400 }, () => limiter.run(async () => {}));
    await Promise.all(grown);
    expect(limiter.facts.limit).toBe(64);
    const puts = new Puts();
    const others = Array.from({ length: 63 }, () => puts.start(limiter, 1));
    await settled();
    await expect(limiter.run(() => Promise.reject(error))).rejects.toBe(error);
    expect(limiter.facts.limit).toBe(limit);
    while (puts.ends.length > 0) await puts.endOne();
    await Promise.all(others);
  });

  test("releases every place, whether a put succeeds, fails, gives up or never begins", async () => {
    const step = fc.constantFrom("put", "reserve", "use", "drop", "end", "fail", "abort");
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 60 }),
        fc.integer({ min: 1, max: 6 }),
        async (steps, ceiling) => {
          const limiter = limiterOf(ceiling);
          const reservations: PutReservation[] = [];
          const ends: ((error?: Error) => void)[] = [];
          const stopper = new AbortController();
          const all: Promise<unknown>[] = [];
          const work = (): Promise<void> =>
            new Promise((resolve, reject) =>
              ends.push((error) => (error === undefined ? resolve() : reject(error))),
            );
          const put = (reservation?: PutReservation): void => {
            all.push(limiter.run(work, stopper.signal, { sizeBytes: MEGABYTE, reservation }).catch(() => {}));
          };
          for (const kind of steps) {
            if (kind === "put") put();
            if (kind === "reserve")
              all.push(
                limiter.reserve(stopper.signal).then(
                  (reservation) => reservations.push(reservation),
                  () => {},
                ),
              );
            if (kind === "use" && reservations.length > 0) put(reservations[0]);
            if (kind === "drop") reservations.shift()?.end();
            if (kind === "end") ends.shift()?.();
            if (kind === "fail") ends.shift()?.(new WalrustError("storage", "x", { retryable: true }));
            await settled();
            expect(limiter.facts.inFlight).toBeLessThanOrEqual(Math.max(ceiling, 4));
          }
          stopper.abort(new Error("stopped"));
          for (let round = 0; round < 80; round++) {
            for (const end of ends.splice(0)) end();
            for (const reservation of reservations.splice(0)) reservation.end();
            await settled();
          }
          await Promise.all(all);
          expect([limiter.facts.inFlight, limiter.facts.waiting]).toEqual([0, 0]);
        },
      ),
      cases(200),
    );
  });
});

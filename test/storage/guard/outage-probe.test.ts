/** OutageProbe: finds the end of an outage, and lifts the pause of each database at the right moment. */
import { expect, test } from "bun:test";
import { WalrustError } from "../../../src/errors.ts";
import { OutageProbe } from "../../../src/storage/guard/outage-probe.ts";
import { ManualTime } from "../../observability/manual-time.ts";

class World {
  readonly time = new ManualTime();
  readonly stopping = new AbortController();
  readonly lifted: string[] = [];
  looks = 0;
  /** The answer to a probe. */
  answer: () => Promise<unknown> = async () => {
    throw new WalrustError("storage", "unreachable", { retryable: true });
  };
  readonly outage = new OutageProbe(
    this.time.env,
    () => {
      this.looks++;
      return this.answer();
    },
    this.stopping.signal,
  );

  waiting(name: string) {
    return { lift: () => void this.lifted.push(name) };
  }

  async pass(seconds: number): Promise<void> {
    for (let i = 0; i < seconds * 2; i++) {
      this.time.pass(500);
      for (let turn = 0; turn < 20; turn++) await Promise.resolve();
    }
  }
}

const notFound = async (): Promise<never> => {
  throw new WalrustError("not-found", "there is none", { context: { status: 404 } });
};

test("OutageProbe lifts one database soon after an outage, and all after its success", async () => {
  const world = new World();
  const [a, b, c] = ["a", "b", "c"].map((name) => world.waiting(name));
  for (const one of [a, b, c]) world.outage.failed(one!);
  await world.pass(600);
  expect(world.lifted).toEqual([]);
  // Some 50 to 90 probes in ten minutes: cheap, but not idle.
  expect(world.looks).toBeGreaterThan(55);
  expect(world.looks).toBeLessThan(90);
  world.answer = notFound;
  let seconds = 0;
  for (; world.lifted.length === 0; seconds += 0.5) await world.pass(0.5);
  expect([world.lifted, seconds <= 10]).toEqual([["a"], true]);
  world.outage.succeeded(a!);
  expect(world.lifted).toEqual(["a", "b", "c"]);
  const { looks } = world;
  await world.pass(60);
  expect([world.looks, world.time.sleepsMs]).toEqual([looks, []]);
});

test("OutageProbe lifts all failing databases after the success of one, without a probe", async () => {
  const world = new World();
  const [a, b] = ["a", "b"].map((name) => world.waiting(name));
  world.outage.failed(a!);
  world.outage.failed(b!);
  world.outage.succeeded(b!);
  expect([world.lifted, world.looks]).toEqual([["a"], 0]);
});

test("OutageProbe lifts nobody after the success of a database that never failed", async () => {
  const world = new World();
  world.answer = async () => {};
  const own = world.waiting("own");
  const well = world.waiting("well");
  let seen = 0;
  world.outage.failed(own);
  for (let second = 0; second < 300; second++) {
    world.outage.succeeded(well);
    await world.pass(1);
    for (; seen < world.lifted.length; seen++) world.outage.failed(own);
  }
  // After 2, 4, 8 … s, and then once a minute.
  expect(world.lifted.length).toBeLessThan(11);
});

test("OutageProbe lifts ever more rarely if the store answers probes and refuses puts", async () => {
  const world = new World();
  world.answer = async () => {};
  const names = ["a", "b", "c"];
  const each = new Map(names.map((name) => [name, world.waiting(name)]));
  for (const one of each.values()) world.outage.failed(one);
  let seen = 0;
  for (let second = 0; second < 300; second++) {
    await world.pass(1);
    // A lifted database fails again.
    for (; seen < world.lifted.length; seen++) world.outage.failed(each.get(world.lifted[seen]!)!);
  }
  expect(world.lifted.slice(0, 4)).toEqual(["a", "b", "c", "a"]);
  expect(world.lifted.length).toBeLessThan(11);
});

test("OutageProbe gives up a probe that hangs, and lifts nobody", async () => {
  const world = new World();
  world.answer = () => new Promise(() => {});
  world.outage.failed(world.waiting("a"));
  await world.pass(2);
  expect(world.looks).toBe(1);
  await world.pass(8);
  expect(world.looks).toBe(2);
  expect(world.lifted).toEqual([]);
});

test("OutageProbe stops probing after a lifted database has nothing to send", async () => {
  const world = new World();
  world.answer = async () => {};
  world.outage.failed(world.waiting("a"));
  await world.pass(100);
  expect([world.looks, world.lifted, world.time.sleepsMs]).toEqual([1, ["a"], []]);
});

test("OutageProbe stops with its signal", async () => {
  const world = new World();
  world.outage.failed(world.waiting("a"));
  await world.pass(3);
  world.stopping.abort();
  await world.pass(20);
  const { looks } = world;
  world.outage.failed(world.waiting("b"));
  await world.pass(20);
  expect([world.looks, world.lifted]).toEqual([looks, []]);
});

/** How the end of an outage is found, and who is lifted when. */
import { expect, test } from "bun:test";
import { WalrustError } from "../../../src/errors.ts";
import { OutageProbe } from "../../../src/storage/guard/outage-probe.ts";
import { ManualTime } from "../../observability/manual-time.ts";

class World {
  readonly time = new ManualTime();
  readonly stopping = new AbortController();
  readonly lifted: string[] = [];
  looks = 0;
  /** How a look ends. */
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

test("the end of an outage is found within seconds: one goes first, its success lifts all", async () => {
  const world = new World();
  const [a, b, c] = ["a", "b", "c"].map((name) => world.waiting(name));
  for (const one of [a, b, c]) world.outage.failed(one!);
  await world.pass(600);
  expect(world.lifted).toEqual([]);
  // Some hundred looks in ten minutes: cheap, but not idle.
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

test("a success of one that failed lifts all that fail, without a look", async () => {
  const world = new World();
  const [a, b] = ["a", "b"].map((name) => world.waiting(name));
  world.outage.failed(a!);
  world.outage.failed(b!);
  world.outage.succeeded(b!);
  expect([world.lifted, world.looks]).toEqual([["a"], 0]);
});

test("a success of one that never failed lifts nobody: others fail for a reason of their own", async () => {
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

test("a store that answers looks and refuses puts is tried less and less often, one at a time", async () => {
  const world = new World();
  world.answer = async () => {};
  const names = ["a", "b", "c"];
  const each = new Map(names.map((name) => [name, world.waiting(name)]));
  for (const one of each.values()) world.outage.failed(one);
  let seen = 0;
  for (let second = 0; second < 300; second++) {
    await world.pass(1);
    // What was lifted fails again.
    for (; seen < world.lifted.length; seen++) world.outage.failed(each.get(world.lifted[seen]!)!);
  }
  expect(world.lifted.slice(0, 4)).toEqual(["a", "b", "c", "a"]);
  expect(world.lifted.length).toBeLessThan(11);
});

test("a look that hangs is given up, and nothing is lifted by it", async () => {
  const world = new World();
  world.answer = () => new Promise(() => {});
  world.outage.failed(world.waiting("a"));
  await world.pass(2);
  expect(world.looks).toBe(1);
  await world.pass(8);
  expect(world.looks).toBe(2);
  expect(world.lifted).toEqual([]);
});

test("a database that was lifted and has nothing to send keeps nobody looking", async () => {
  const world = new World();
  world.answer = async () => {};
  world.outage.failed(world.waiting("a"));
  await world.pass(100);
  expect([world.looks, world.lifted, world.time.sleepsMs]).toEqual([1, ["a"], []]);
});

test("stopping ends the looks", async () => {
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

/** The events and the end of a running child, as the application sees them. */
import { expect, test } from "bun:test";
import { RunningWalrust } from "../../src/library/running-walrust.ts";
import { failureOf } from "../support/failure-of.ts";
import { fakeWalrust } from "../support/library/fake-walrust.ts";

interface Event {
  readonly event: string;
  readonly n?: number;
}

/** Runs programs in turn: each child runs the next one, and the last one is repeated. */
function run(
  programs: readonly string[],
  signal?: AbortSignal,
): { running: RunningWalrust<Event>; starts(): number } {
  let count = 0;
  const start = () => fakeWalrust(programs[Math.min(count++, programs.length - 1)]!);
  return { running: new RunningWalrust<Event>(start, "watch", signal), starts: () => count };
}

const FAILURE = '{ error: { code: "storage", exit: 4, message: "away", hint: "h", context: {} } }';
const LOCKED = '{ error: { code: "locked", exit: 3, message: "held", hint: null, context: {} } }';

test("RunningWalrust gives each event once, and closes the child", async () => {
  const { running } = run(['say({ event: "a" }); say({ event: "b" }); await end; say({ event: "c" });']);
  await running.ready(0);
  const seen: string[] = [];
  for await (const { event } of running) {
    seen.push(event);
    if (event === "b") await running.close();
  }
  expect(seen).toEqual(["a", "b", "c"]);
  await running.ended;
});

test("RunningWalrust reads a child whose events nobody reads, and says how many were dropped", async () => {
  const { running } = run(['for (let n = 1; n <= 50000; n++) say({ event: "e", n }); await end;']);
  await running.ready(0);
  await running.close();
  const events = await Array.fromAsync(running);
  expect(events).toHaveLength(1_001);
  expect(events[0]).toEqual({ event: "dropped", count: 49_000 });
  expect(events.at(-1)).toEqual({ event: "e", n: 50_000 });
});

test("RunningWalrust gives the failure to the reader, to ended, and then not to close", async () => {
  const { running } = run([`say({ event: "a" }); say(${FAILURE}); process.exit(4);`]);
  const events = running[Symbol.asyncIterator]();
  expect((await events.next()).value).toEqual({ event: "a" });
  expect(await failureOf(events.next())).toMatchObject({ code: "storage", message: "away", hint: "h" });
  expect((await failureOf(running.ended)).code).toBe("storage");
  await running.close();
});

test("RunningWalrust gives the failure to close if no reader got it", async () => {
  const { running } = run([`say(${FAILURE}); process.exit(4);`]);
  expect((await failureOf(running.ready(0))).code).toBe("storage");
  const disposal = (async () => {
    await using _ = running;
  })();
  expect((await failureOf(disposal)).code).toBe("storage");
});

test("RunningWalrust reports a child that ends without an error document", async () => {
  const { running } = run([
    'say({ event: "a" }); log("oh no"); process.kill(process.pid, "SIGSEGV"); await end;',
  ]);
  const error = await failureOf(running.ended);
  expect(error.code).toBe("internal");
  expect(error.message).toStartWith("walrust watch was ended by SIG");
});

test("RunningWalrust ends a child that prints no JSON", async () => {
  const { running } = run(['process.stdout.write("hello\\n"); await end; await new Promise(() => {});']);
  expect((await failureOf(running.ended)).message).toBe("walrust watch printed a line that is no event");
});

test("RunningWalrust: an aborted signal closes the child", async () => {
  const stop = new AbortController();
  const { running } = run(['say({ event: "a" }); await end;'], stop.signal);
  await running.ready(0);
  stop.abort();
  await running.ended;
  const early = run(["await end; process.exit(143);"], AbortSignal.abort());
  await early.running.ended;
});

test("RunningWalrust: kill ends a child that does not stop, and is no failure", async () => {
  const { running } = run(['say({ event: "a" }); await new Promise(() => {});']);
  await running.ready(0);
  running.kill();
  await running.ended;
  await running.close();
});

test("RunningWalrust tries again while another walrust has the database", async () => {
  const locked = `say({ event: "stopped" }); say(${LOCKED}); process.exit(3);`;
  const { running, starts } = run([locked, locked, 'say({ event: "watching" }); await end;']);
  for await (const { event } of running) if (event === "watching") break;
  expect(starts()).toBe(3);
  await running.close();
});

test("RunningWalrust is ready at the event that says so, or after the limit", async () => {
  const start = () => fakeWalrust('say({ event: "a" }); await end; say({ event: "b" });');
  const running = new RunningWalrust<Event>(start, "watch", undefined, ({ event }) => event === "b");
  await running.ready(1);
  let isReady = false;
  const ready = running.ready(3_600_000).then(() => {
    isReady = true;
  });
  expect(await running[Symbol.asyncIterator]().next()).toEqual({ done: false, value: { event: "a" } });
  expect(isReady).toBe(false);
  await running.close();
  await ready;
});

test("RunningWalrust gives up waiting for a lock when the application closes it", async () => {
  const { running } = run([`say(${LOCKED}); process.exit(3);`]);
  await running.close().catch(() => {});
  expect((await failureOf(running.ended)).code).toBe("locked");
});

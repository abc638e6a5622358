/** The reports to a service manager, with a channel that records them. */
import { expect, test } from "bun:test";
import { ServiceManager, statusText } from "../../../src/commands/watch/service-manager.ts";
import type { DatabaseStatus } from "../../../src/replication/watch/watch-status.ts";
import { ManualTime } from "../../observability/manual-time.ts";
import { eventually } from "../../support/eventually.ts";

/** A service manager on a channel that records its messages. */
function recorded(watchdogMs: number | null) {
  const sent: string[] = [];
  const time = new ManualTime();
  const channel = {
    send: (text: string) => sent.push(text) > 0,
    monotonicUsec: () => 42_000_000n,
    close: () => sent.push("closed"),
  };
  return { sent, time, service: new ServiceManager(channel, watchdogMs, time.env) };
}

function statusOf(database: string, more: Partial<DatabaseStatus> = {}): DatabaseStatus {
  return { database, state: "watching", lagMs: 0, failure: null, ...more } as DatabaseStatus;
}

test("ServiceManager asks for time while the start goes on", async () => {
  const { sent, time, service } = recorded(null);
  const started = new AbortController();
  const done = service.starting(started.signal);
  await time.sleeping(10_000);
  time.pass(10_000);
  await eventually("the second request", async () => sent.length === 2);
  started.abort();
  await done;
  expect(sent).toEqual(Array(2).fill("EXTEND_TIMEOUT_USEC=60000000\nSTATUS=starting"));
});

test("ServiceManager feeds the watchdog at half its time, and only while the loop turns", async () => {
  const { sent, time, service } = recorded(8_000);
  const watch = { turnCount: 1, statuses: () => [statusOf("app")] };
  service.ready(watch);
  expect(sent.splice(0)).toEqual(["READY=1\nSTATUS=1 database replicated; up to 0.0 s behind"]);
  const fed: number[] = [];
  for (const turns of [1, 0, 0, 5]) {
    watch.turnCount += turns;
    await time.sleeping(4_000);
    time.pass(4_000);
    await time.sleeping(4_000);
    fed.push(sent.splice(0).filter((text) => text === "WATCHDOG=1").length);
  }
  expect(fed).toEqual([1, 0, 0, 1]);
  service.stopping();
  time.pass(4_000);
  await time.sleeping(4_000);
  expect(sent.splice(0)).toEqual([
    "STOPPING=1\nSTATUS=capturing and uploading the last commits",
    "WATCHDOG=1",
  ]);
  await service.close();
  expect(sent).toEqual(["closed"]);
});

test("ServiceManager shows another status when it changes, and brackets a reload", async () => {
  const { sent, time, service } = recorded(null);
  const statuses = [statusOf("app")];
  service.ready({ turnCount: 1, statuses: () => statuses });
  sent.splice(0);
  for (const lagMs of [0, 2_000]) {
    statuses[0] = statusOf("app", { lagMs });
    await time.sleeping(10_000);
    time.pass(10_000);
  }
  await time.sleeping(10_000);
  expect(sent.splice(0)).toEqual(["STATUS=1 database replicated; up to 2.0 s behind"]);
  service.reloading();
  service.reloaded();
  expect(sent.splice(0)).toEqual(["RELOADING=1\nMONOTONIC_USEC=42000000", "READY=1"]);
  await service.close();
});

test("ServiceManager.fromOrNull is null without NOTIFY_SOCKET, and for an address that it cannot use", () => {
  const { env, lines } = new ManualTime();
  expect(ServiceManager.fromOrNull({}, env)).toBeNull();
  expect(lines).toEqual([]);
  expect(ServiceManager.fromOrNull({ NOTIFY_SOCKET: "vsock:2:1" }, env)).toBeNull();
  expect(lines.map(({ level }) => level)).toEqual(["warn"]);
});

test("statusText names the first database with a problem, on one line of bounded length", () => {
  const failure = { code: "storage", hint: null, message: `no\nanswer ${"x".repeat(400)}` };
  const statuses = [
    statusOf("a", { lagMs: 12_400 }),
    statusOf("b", { state: "failing", failure }),
    statusOf("c", { state: "starting" }),
  ];
  const text = statusText(statuses);
  expect(text).toStartWith("1 of 3 databases replicated; up to 12 s behind; b is failing: no answer xxx");
  expect([text.length, text.includes("\n")]).toEqual([300, false]);
  expect(statusText([])).toBe("0 databases replicated; up to 0.0 s behind");
});

/** The datagram socket of a service manager, with Python at the other end. */
import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";
import { encodeAddressOrNull, NotifySocket } from "../../../src/commands/watch/notify-socket.ts";
import { NotifyListener } from "../../support/course/notify-listener.ts";
import { tempFolder } from "../../support/temp.ts";

const listeners: NotifyListener[] = [];
afterAll(() => Promise.all(listeners.map((listener) => listener.close())));

async function listen(address: string): Promise<NotifyListener> {
  const listener = await NotifyListener.start(address);
  listeners.push(listener);
  return listener;
}

test.skipIf(!NotifyListener.isAvailable).each(["path", "abstract"])(
  "NotifySocket reaches the %s address of a service manager",
  async (kind) => {
    const path = join(tempFolder("notify"), "socket");
    const address = kind === "path" ? path : `@walrust-test-${process.pid}`;
    const listener = await listen(address);
    const socket = NotifySocket.openOrNull(address)!;
    expect(socket.send("READY=1\nSTATUS=ä")).toBe(true);
    await listener.received("STATUS=ä");
    expect(listener.lines).toEqual(["READY=1", "STATUS=ä"]);
    socket.close();
  },
);

test("NotifySocket.send is false when nobody listens, and does not wait", () => {
  const socket = NotifySocket.openOrNull(join(tempFolder("notify"), "nobody"));
  if (process.platform !== "linux") return expect(socket).toBeNull();
  expect(socket?.send("READY=1")).toBe(false);
  socket?.close();
});

test.skipIf(process.platform !== "linux")("monotonicUsec is the clock of /proc/uptime", async () => {
  const socket = NotifySocket.openOrNull("/nobody")!;
  const [uptime = ""] = (await Bun.file("/proc/uptime").text()).split(" ");
  // A machine that has slept is up for longer than its monotonic clock shows.
  expect(Number(socket.monotonicUsec()) / 1e6).toBeLessThanOrEqual(Number(uptime) + 1);
  expect(Number(socket.monotonicUsec())).toBeGreaterThan(0);
  socket.close();
});

test.each([
  ["", null],
  ["relative", null],
  ["vsock:2:1", null],
  ["@", null],
  [`/${"x".repeat(107)}`, null],
  [`@${"x".repeat(108)}`, null],
])("encodeAddressOrNull refuses %j", (address, expected) => {
  expect(encodeAddressOrNull(address)).toBe(expected);
});

test("encodeAddressOrNull ends a path with 0, and begins an abstract name with 0", () => {
  const family = [...new Uint8Array(new Uint16Array([1]).buffer)];
  expect([...encodeAddressOrNull("/a")!]).toEqual([...family, 0x2f, 0x61, 0]);
  expect([...encodeAddressOrNull("@a")!]).toEqual([...family, 0, 0x61]);
  expect(encodeAddressOrNull(`/${"x".repeat(106)}`)?.length).toBe(110);
});

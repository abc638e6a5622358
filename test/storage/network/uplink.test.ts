/**
 * Uplink: how long an upload may stand still beside others. The clock and the kernel's answers are the
 * test's.
 */
import { describe, expect, test } from "bun:test";
import { connect, createServer, type Socket } from "node:net";
import { SocketAcks } from "../../../src/storage/network/socket-acks.ts";
import { Uplink, type UploadInFlight } from "../../../src/storage/network/uplink.ts";
import { eventually } from "../../support/eventually.ts";

const STALL_MS = 30_000;

/** A line and its clock. */
class Line {
  nowMs = 0;
  /** Whether the kernel saw an acknowledgement since the last poll. */
  hasAcks = false;
  /** Whether the kernel still holds unacknowledged bytes. */
  isWaiting = true;
  readonly uplink: Uplink;

  constructor() {
    this.uplink = new Uplink({ monotonicMs: () => this.nowMs }, this);
  }

  poll(): boolean {
    return this.hasAcks;
  }

  /** When an upload without visible progress is cut off, polled every ten seconds. */
  cutAfterMs(upload: UploadInFlight, limitMs = 3_600_000): number {
    const startMs = this.nowMs;
    while (this.nowMs - startMs < limitMs) {
      this.nowMs += 10_000;
      if (upload.graceMs(this.nowMs - startMs, STALL_MS) <= 0) return this.nowMs - startMs;
    }
    return Number.POSITIVE_INFINITY;
  }
}

describe("Uplink", () => {
  test.each([1, 4_000, 240_000, 16 << 20])(
    "an upload of %d bytes on a dead line ends after 30 s",
    (sizeBytes) => {
      const line = new Line();
      const upload = line.uplink.begin(sizeBytes);
      expect([line.cutAfterMs(upload), upload.isLineStill]).toEqual([STALL_MS, true]);
    },
  );

  test("while the kernel sees acknowledgements, an upload gets the time of all at 4 KB/s", () => {
    const line = new Line();
    line.hasAcks = true;
    const uploads = Array.from({ length: 8 }, () => line.uplink.begin(240_000));
    expect([line.cutAfterMs(uploads[0]!), uploads[0]!.isLineStill]).toEqual([510_000, false]);
  });

  test("an upload that hangs beside answered ones ends soon", () => {
    const line = new Line();
    const hung = line.uplink.begin(4_000);
    let cutMs = 0;
    while (cutMs === 0) {
      line.nowMs += 100;
      line.uplink.begin(4_000).answered();
      if (line.nowMs % 10_000 === 0 && hung.graceMs(line.nowMs, STALL_MS) <= 0) cutMs = line.nowMs;
    }
    expect([cutMs, hung.isLineStill]).toEqual([40_000, false]);
  });

  test("an upload swallowed by a proxy gets more time with each stall, until an answer", () => {
    const line = new Line();
    const next = (sizeBytes: number): number => line.cutAfterMs(line.uplink.begin(sizeBytes));
    expect([next(1_000_000), next(1_000_000), next(1_000_000), next(1_000_000), next(1_000_000)]).toEqual([
      30_000, 60_000, 120_000, 240_000, 480_000,
    ]);
    expect([next(240_000), next(4_000)]).toEqual([150_000, 40_000]);
    line.uplink.begin(4_000).answered();
    line.nowMs += STALL_MS;
    expect(next(1_000_000)).toBe(30_000);
  });

  test("an acknowledged upload without an answer gets the time of all uploads at 16 KB/s", () => {
    const line = new Line();
    line.isWaiting = false;
    const uploads = Array.from({ length: 8 }, () => line.uplink.begin(240_000));
    expect([line.cutAfterMs(uploads[0]!), uploads[0]!.isLineStill]).toEqual([150_000, true]);
    for (const upload of uploads) upload.ended();
    line.uplink.begin(1).answered();
    line.nowMs += STALL_MS;
    expect(line.cutAfterMs(line.uplink.begin(4_000))).toBe(40_000);
  });

  test("uploads that stand still together are one stall", () => {
    const line = new Line();
    const together = Array.from({ length: 8 }, () => line.uplink.begin(1_000_000));
    line.nowMs += STALL_MS;
    for (const upload of together) {
      expect(upload.graceMs(STALL_MS, STALL_MS)).toBeLessThanOrEqual(0);
      upload.ended();
    }
    expect(line.cutAfterMs(line.uplink.begin(1_000_000))).toBe(60_000);
  });

  test("an upload that ended takes no share of the line, however often its end is reported", () => {
    const line = new Line();
    for (let time = 0; time < 10; time++) {
      const upload = line.uplink.begin(10_000_000);
      if (time % 2 === 0) upload.answered();
      upload.ended();
      upload.ended();
    }
    line.nowMs += 600_000;
    line.hasAcks = true;
    expect(line.cutAfterMs(line.uplink.begin(40_000))).toBe(40_000);
  });
});

/** Polls in a row, some milliseconds apart, that see nothing move. */
const STILL_COUNT = 20;

describe.skipIf(process.platform !== "linux")("SocketAcks", () => {
  test("sees the bytes that the other side reads, and nothing while it does not read", async () => {
    let served: Socket | null = null;
    const server = createServer((socket) => {
      served = socket;
      socket.pause();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    const client = connect(address.port, "127.0.0.1");
    client.write(Buffer.alloc(40 << 20));
    await eventually("both ends to be there", async () => served !== null);
    const acks = new SocketAcks();
    // The kernel's buffers fill up, and then nothing moves. On a busy machine they fill up with pauses.
    let stillCount = 0;
    await eventually("a still line", async () => {
      stillCount = acks.poll() ? 0 : stillCount + 1;
      return stillCount === STILL_COUNT;
    });
    expect(acks.poll()).toBe(false);
    // Bytes in flight at a single poll may have been sent just now.
    const later = new SocketAcks();
    expect([later.poll(), later.isWaiting]).toEqual([false, false]);
    expect([later.poll(), later.isWaiting]).toEqual([false, true]);
    served!.resume();
    await eventually("movement", async () => acks.poll());
    client.destroy();
    server.close();
  });
});

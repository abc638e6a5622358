/** The points that --point-in-time accepts, and the TXID of each. */
import { describe, expect, test } from "bun:test";
import { WalrustError } from "../../../src/errors.ts";
import { encodeLtxHeader } from "../../../src/format/ltx.ts";
import { CHECKSUM_FLAG, NO_CHECKSUM, type Txid } from "../../../src/format/types.ts";
import { readTime } from "../../../src/recovery/object/check-object.ts";
import {
  type PointInTime,
  parsePointInTime,
  resolveTarget,
} from "../../../src/recovery/plan/restore-point.ts";
import { listObjects } from "../../../src/storage/bucket/catalog.ts";
import type { Manifest, ManifestReading } from "../../../src/storage/bucket/manifest.ts";
import { FaultyStore } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const T0 = Date.UTC(2026, 2, 1, 12);
const NONE: ManifestReading = { kind: "none" };

/**
 * A store with objects such as "level/min-max@seconds". They have headers only, because nothing else is read
 * here.
 */
async function storeOf(text: string): Promise<FaultyStore> {
  const store = new FaultyStore(new MemoryStore());
  for (const word of text.split(" ")) {
    const [level, min, max, seconds] = word.split(/[/@-]/).map(Number) as [number, number, number, number];
    const txid = (value: number): string => value.toString(16).padStart(16, "0");
    const header = encodeLtxHeader({
      flags: 0,
      pageSizeBytes: 4096,
      commit: 1,
      minTxid: min as Txid,
      maxTxid: max as Txid,
      timestampMs: T0 + seconds * 1000,
      preApplyChecksum: min === 1 ? NO_CHECKSUM : CHECKSUM_FLAG,
      walOffset: 0,
      walSizeBytes: 0,
      walSalt1: 0,
      walSalt2: 0,
      nodeId: 0n,
    });
    const metadata = { "litestream-timestamp": new Date(T0 + seconds * 1000).toISOString() };
    const key = `app/000${level}/${txid(min)}-${txid(max)}.ltx`;
    await store.inner.put(key, { kind: "bytes", bytes: header }, { metadata });
  }
  return store;
}

const HISTORY = "9/1-1@0 0/2-2@10 0/3-3@20 0/4-4@20 0/5-5@30 9/1-5@30 0/6-6@40";

async function resolve(
  point: PointInTime,
  text = HISTORY,
  manifest = NONE,
  nowMs = T0 + 1_000_000,
): Promise<string> {
  const store = await storeOf(text);
  const objects = await listObjects(store, "app");
  try {
    const { txid, notice } = await resolveTarget(
      point,
      objects,
      manifest,
      (object) => readTime(store, object),
      nowMs,
    );
    return notice === null ? `${txid}` : `${txid}: ${notice}`;
  } catch (error) {
    if (!(error instanceof WalrustError)) throw error;
    return `${error.exitCode} ${error.message} (${error.hint})`;
  }
}

const at = (seconds: number): PointInTime => ({ kind: "time", timeMs: T0 + seconds * 1000 });
const txid = (value: number): PointInTime => ({ kind: "txid", txid: value as Txid });
const aheadTo = (value: number): ManifestReading => ({
  kind: "manifest",
  manifest: { latest: { txid: value as Txid, time: "2026", chain: "" } } as Manifest,
});

describe("parsePointInTime", () => {
  test.each([
    [undefined, { kind: "latest" }],
    ["latest", { kind: "latest" }],
    ["txid:1", { kind: "txid", txid: 1 }],
    ["txid:9007199254740991", { kind: "txid", txid: 9007199254740991 }],
    ["2026-03-01T12:00:00Z", { kind: "time", timeMs: T0 }],
    ["2026-03-01 12:00:00Z", { kind: "time", timeMs: T0 }],
    ["2026-03-01T12:00Z", { kind: "time", timeMs: T0 }],
    ["2026-03-01T13:00:00+01:00", { kind: "time", timeMs: T0 }],
    ["2026-03-01T13:00:00+0100", { kind: "time", timeMs: T0 }],
    ["2026-03-01T12:00:00.250Z", { kind: "time", timeMs: T0 + 250 }],
    ["2026-03-01T12:00:00.250999999Z", { kind: "time", timeMs: T0 + 250 }],
    ["2026-03-01", { kind: "time", timeMs: Date.UTC(2026, 2, 1) }],
    ["now", { kind: "latest" }],
    ["1772366400", { kind: "time", timeMs: 1_772_366_400_000 }],
    ["1772366400.25", { kind: "time", timeMs: 1_772_366_400_250 }],
    ["-2h", { kind: "ago", durationMs: 7_200_000 }],
    ["-1h30m", { kind: "ago", durationMs: 5_400_000 }],
    ["90m", { kind: "ago", durationMs: 5_400_000 }],
    ["-0.5d", { kind: "ago", durationMs: 43_200_000 }],
    ["-1w", { kind: "ago", durationMs: 604_800_000 }],
    ["-250ms", { kind: "ago", durationMs: 250 }],
  ] as const)("parsePointInTime reads %p", (text, point) => {
    expect(parsePointInTime(text)).toEqual(point as PointInTime);
  });

  test.each([
    "",
    "txid:",
    "txid:0",
    "txid:-1",
    "txid:1.5",
    "txid:0x10",
    "txid:9007199254740992",
    "txid:1 ",
    "41",
    "yesterday",
    "2026-03-01T12:00:00",
    "2026-03-01T12:00:00z ",
    "2026-13-01",
    "2026-02-30",
    "2026-02-29T00:00:00Z",
    "2026-04-31T10:00:00+02:00",
    "2026-03-01T25:00:00Z",
    "2026-03-01T12:61:00Z",
    "1772366400000",
    "-",
    "-h",
    "-2",
    "-2x",
    "+2h",
    "--2h",
    "-2h ago",
    "tomorrow",
  ])("parsePointInTime refuses %p", (text) => {
    try {
      parsePointInTime(text);
      expect.unreachable(text);
    } catch (error) {
      expect(error instanceof WalrustError && error.code).toBe("usage");
      expect(String(error)).toContain(JSON.stringify(text));
    }
  });
});

describe("resolveTarget", () => {
  test("the latest is the newest object of the listing", async () => {
    expect(await resolve({ kind: "latest" })).toBe("6");
    expect(await resolve({ kind: "latest" }, HISTORY, aheadTo(6))).toBe("6");
    expect(await resolve({ kind: "latest" }, HISTORY, aheadTo(2))).toBe("6");
    expect(await resolve({ kind: "latest" }, HISTORY, { kind: "unreadable", reason: "torn" })).toBe("6");
  });

  test("a manifest that names a newer TXID is an integrity error with both TXIDs", async () => {
    const found = await resolve({ kind: "latest" }, HISTORY, aheadTo(8));
    expect(found).toStartWith("5 The manifest names TXID 8");
    expect(found).toContain("newest object is 6");
  });

  test("a TXID and a time before the loss can be requested explicitly", async () => {
    expect(await resolve(txid(3), HISTORY, aheadTo(8))).toBe("3");
    expect(await resolve(at(15), HISTORY, aheadTo(8))).toBe("2");
    expect(await resolve(txid(7), HISTORY, aheadTo(8))).toStartWith("5 ");
  });

  test("a time after the newest object is an integrity error if the manifest names a newer one", async () => {
    expect(await resolve(at(100), HISTORY, aheadTo(8))).toStartWith("5 ");
  });

  test.each([
    [0, "1"],
    [9.999, "1"],
    [10, "2"],
    [19, "2"],
    [20, "4"],
    [29.9, "4"],
    [30, "5"],
    [39, "5"],
  ] as const)("a time %p s after the first capture is TXID %s", async (seconds, expected) => {
    expect(await resolve(at(seconds))).toBe(expected);
  });

  test("a time at or after the newest capture is the newest, with a notice of its time", async () => {
    expect(await resolve(at(41))).toStartWith("6: the newest capture is of 2026-03-01T12:00:40.000Z");
    expect(await resolve(at(1000))).toStartWith("6: ");
  });

  test("a time before the oldest capture is not restorable, and the oldest is named", async () => {
    const found = await resolve(at(-0.001));
    expect(found).toStartWith("6 2026-03-01T11:59:59.999Z is before the oldest capture");
    expect(found).toContain("txid:1 of 2026-03-01T12:00:00.000Z");
  });

  test("a time skips captures that are ahead of the clock", async () => {
    const ahead = "9/1-1@0 0/2-2@10 0/3-3@9e6 0/4-4@20 0/5-5@9e6 0/6-6@9e6 0/7-7@30";
    const times = [5, 10, 19, 20, 29, 30].map((seconds) => resolve(at(seconds), ahead));
    const newest = "7: the newest capture is of 2026-03-01T12:00:30.000Z; there are no later captures";
    const wrong =
      "the captures after TXID N have times in the future (2026-06-13T16:00:00.000Z): " +
      "the clock of that machine was wrong, and they may belong before the requested time";
    const [after2, after4] = [2, 4].map((found) => `${found}: ${wrong.replace("N", `${found}`)}`);
    expect(await Promise.all(times)).toEqual(["1", after2!, after2!, after4!, after4!, newest]);
    const stuck = Array.from({ length: 200 }, (_, index) => `0/${index + 3}-${index + 3}@9e6`);
    const clock = `9/1-1@0 0/2-2@10 ${stuck.join(" ")}`;
    // A clock that jumped ahead: every later capture has the time of the jump, however long ago that was.
    const told = await resolve(at(500), clock);
    expect(told).toStartWith(
      "5 The requested capture cannot be told: the captures after TXID 2 have times in",
    );
    expect(told).toContain("txid:2 is the last before them, txid:202 the newest");
    expect(await resolve(at(5), clock)).toBe("1");
    expect(await resolve(at(15), "9/1-1@0 0/2-2@10 0/3-3@1001")).toBe("2");
    expect(await resolve(at(500), `${clock} 0/203-203@20`)).toStartWith("5 The times of the captures");
  });

  test("a time in the future is refused", async () => {
    expect(await resolve(at(1001))).toStartWith("6 2026-03-01T12:16:41.000Z is in the future");
  });

  test.each([
    [4, "6 TXID 4 is not restorable: it was merged (The nearest points are txid:1 and txid:6)"],
    [
      9,
      "6 TXID 9 is not restorable: it is newer than the newest " +
        "(The nearest points are txid:6 and none after)",
    ],
  ] as const)("a TXID %p that is no point names its neighbours", async (value, expected) => {
    expect(await resolve(txid(value), "9/1-1@0 1/2-6@20")).toBe(expected);
  });

  // Once the message claimed a merge, although the object was deleted.
  test("a TXID in a gap is an integrity error that names the gap", async () => {
    expect(await resolve(txid(3), "9/1-1@0 0/2-2@10 0/5-5@20 9/1-6@30")).toBe(
      "5 TXID 3 is missing: no object holds TXID 3 to 4 " +
        "(The nearest points are txid:2 and txid:6; objects were deleted, see `walrust verify`)",
    );
    expect(await resolve(txid(3), "9/1-1@0 0/2-2@10 0/4-4@20")).toStartWith(
      "5 TXID 3 is missing: no object holds TXID 3 (The nearest points are txid:2 and none after;",
    );
  });

  test("a TXID before the oldest point is an error that names the reason", async () => {
    const expected = "6 TXID 2 is not restorable: it is older than the oldest";
    expect(await resolve(txid(2), "9/1-5@0 0/6-6@20")).toStartWith(expected);
  });

  test("a time reads few headers of a long history", async () => {
    const words = ["9/1-1@0"];
    for (let value = 2; value <= 500; value++) words.push(`0/${value}-${value}@${value}`);
    const store = await storeOf(words.join(" "));
    const objects = await listObjects(store, "app");
    store.calls.length = 0;
    const { txid: found } = await resolveTarget(
      at(333.5),
      objects,
      NONE,
      (object) => readTime(store, object),
      T0 + 1_000_000,
    );
    expect(found).toBe(333 as Txid);
    expect(store.calls.length).toBeLessThanOrEqual(10);
  });
});

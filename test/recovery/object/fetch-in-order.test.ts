/** fetchInOrder: the order of objects and of sources, and the bounds on fetching ahead. */
import { describe, expect, test } from "bun:test";
import type { Txid } from "../../../src/format/types.ts";
import { fetchInOrder } from "../../../src/recovery/object/fetch-in-order.ts";
import {
  type FetchedObject,
  type ObjectSource,
  SMALL_OBJECT_SIZE,
} from "../../../src/recovery/object/object-source.ts";
import type { LtxObject } from "../../../src/storage/bucket/catalog.ts";
import { expectCode } from "../../storage/contract/store-helpers.ts";

const MB = 1 << 20;

function objectsOf(sizes: readonly number[]): LtxObject[] {
  return sizes.map((sizeBytes, index) => {
    const txid = (index + 1) as Txid;
    return { key: `${txid}`, level: 0, minTxid: txid, maxTxid: txid, sizeBytes, modifiedMs: 0 };
  });
}

/** A source that holds the objects in `keys` (all by default) and records its calls. */
class RecordingSource implements ObjectSource {
  readonly asked: string[] = [];
  readonly signals: AbortSignal[] = [];

  constructor(
    readonly kind: ObjectSource["kind"],
    readonly keys?: readonly string[],
  ) {}

  async list(): Promise<readonly LtxObject[]> {
    return [];
  }

  async openOrNull(object: LtxObject, signal?: AbortSignal): Promise<FetchedObject | null> {
    this.asked.push(object.key);
    if (signal !== undefined) this.signals.push(signal);
    if (this.keys !== undefined && !this.keys.includes(object.key)) return null;
    return { object, metadata: { from: this.kind }, chunks: [] };
  }
}

async function originsOf(
  sources: readonly ObjectSource[],
  objects: readonly LtxObject[],
): Promise<[string, string | undefined][]> {
  const origins: [string, string | undefined][] = [];
  for await (const { object, metadata } of fetchInOrder(sources, objects)) {
    origins.push([object.key, metadata["from"]]);
  }
  return origins;
}

describe("fetchInOrder asks its sources in order", () => {
  test("and takes each object from the first source that holds it", async () => {
    const spool = new RecordingSource("spool", ["2", "4"]);
    const bucket = new RecordingSource("bucket");
    const objects = objectsOf([10, 10, 2 * MB, 2 * MB]);
    expect(await originsOf([spool, bucket], objects)).toEqual([
      ["1", "bucket"],
      ["2", "spool"],
      ["3", "bucket"],
      ["4", "spool"],
    ]);
    expect(spool.asked.sort()).toEqual(["1", "2", "3", "4"]);
    expect(bucket.asked.sort()).toEqual(["1", "3"]);
  });

  test("and fails if no source holds an object", async () => {
    await expectCode(originsOf([new RecordingSource("spool", [])], objectsOf([10])), "not-found");
  });

  test("and does not ask the next source after an error of the previous one", async () => {
    const bucket = new RecordingSource("bucket");
    const broken = new RecordingSource("spool");
    broken.openOrNull = async () => Promise.reject(new Error("the disk is gone"));
    await expect(originsOf([broken, bucket], objectsOf([10]))).rejects.toThrow("the disk is gone");
    expect(bucket.asked).toEqual([]);
  });
});

describe("fetchInOrder fetches ahead", () => {
  const cases: [string, number[], string[]][] = [
    ["at most eight small objects", Array<number>(12).fill(10), ["1", "2", "3", "4", "5", "6", "7", "8"]],
    ["small objects past a large one, which waits for its turn", [10, 2 * MB, 10], ["1", "3"]],
    ["nothing beside a large object at its turn", [2 * MB, 10, 10], ["1"]],
    ["objects of the largest small size", Array<number>(9).fill(SMALL_OBJECT_SIZE), "12345678".split("")],
  ];
  for (const [title, sizes, asked] of cases) {
    test(title, async () => {
      const source = new RecordingSource("bucket");
      const fetching = fetchInOrder([source], objectsOf(sizes));
      await fetching.next();
      expect(source.asked).toEqual(asked);
      await fetching.return(undefined);
    });
  }

  test("and cancels fetches ahead when the iteration is abandoned or aborted", async () => {
    for (const end of ["return", "abort"] as const) {
      const source = new RecordingSource("bucket");
      const aborter = new AbortController();
      const fetching = fetchInOrder([source], objectsOf([10, 10]), aborter.signal);
      await fetching.next();
      expect(source.signals.map(({ aborted }) => aborted)).toEqual([false, false]);
      if (end === "abort") aborter.abort();
      else await fetching.return(undefined);
      expect(source.signals.map(({ aborted }) => aborted)).toEqual([true, true]);
      await fetching.return(undefined);
    }
  });
});

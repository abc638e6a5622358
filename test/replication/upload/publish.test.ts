/**
 * Publishing a file of the spool: the memory that it holds while it waits for the store. It never sends bytes
 * that differ from the captured ones.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import type { SpoolFile } from "../../../src/local/spool.ts";
import { publish } from "../../../src/replication/upload/publish.ts";
import type { PutBody, PutOptions } from "../../../src/storage/contract/store.ts";
import { spoolTiny, TINY_WRITER, TinyHistory } from "../../support/histories/tiny-history.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const KIB = 1024;
const TIME_MS = 1_700_000_000_123;

/** A store that keeps the bytes it receives. */
class KeepingStore extends MemoryStore {
  readonly bodies: PutBody[] = [];

  override async put(key: string, body: PutBody, options?: PutOptions): Promise<void> {
    this.bodies.push(body);
    await super.put(key, body, options);
  }
}

/** A file of the spool of this size; the bytes after its header do not matter here. */
function spoolFile(sizeBytes: number): SpoolFile {
  const object = new TinyHistory(seededRandom(sizeBytes)).commit(TIME_MS);
  const bytes = new Uint8Array(sizeBytes);
  bytes.set(object.bytes.subarray(0, sizeBytes));
  return spoolTiny(tempFolder("publish"), { ...object, bytes });
}

function publisher(store: KeepingStore) {
  return { store, name: "app", writer: TINY_WRITER, version: "test" };
}

const SIZES: readonly (readonly [sizeBytes: number, kind: PutBody["kind"]])[] = [
  [1 * KIB, "bytes"],
  [64 * KIB, "bytes"],
  [64 * KIB + 1, "file"],
  [4 * KIB * KIB, "file"],
  [4 * KIB * KIB + 1, "file"],
];

describe.each(SIZES)("publish of a file of %d bytes", (sizeBytes, kind) => {
  test(`publish sends it as ${kind}, with its time and without its footer`, async () => {
    const store = new KeepingStore();
    const file = spoolFile(sizeBytes);
    const expected = readFileSync(file.path).subarray(0, sizeBytes);
    const outcome = await publish(publisher(store), file);
    expect(outcome).toMatchObject({ kind: "published", timeMs: TIME_MS });
    expect(store.bodies.map((body) => body.kind)).toEqual([kind]);
    const { key } = outcome as { key: string };
    expect(Buffer.compare(await (await store.get(key)).bytes(), expected)).toBe(0);
  });

  test("publish does not send it when a byte differs, or when it is truncated or missing", async () => {
    const store = new KeepingStore();
    const file = spoolFile(sizeBytes);
    const whole = readFileSync(file.path);
    const damages: (() => void)[] = [
      () => writeFileSync(file.path, whole.with(sizeBytes - 1, whole[sizeBytes - 1]! ^ 1)),
      () => truncateSync(file.path, sizeBytes - 1),
      () => truncateSync(file.path, 0),
      () => rmSync(file.path),
    ];
    for (const damage of damages) {
      writeFileSync(file.path, whole);
      damage();
      // As after a restart: the bytes of the capture are not in memory any more.
      expect((await publish(publisher(store), { ...file })).kind).toBe("damaged");
    }
    expect(store.bodies).toEqual([]);
  });
});

test("publish sends the bytes of a capture from memory: its file is not read", async () => {
  const store = new KeepingStore();
  const file = spoolFile(KIB);
  const expected = readFileSync(file.path).subarray(0, KIB);
  rmSync(file.path);
  expect(await publish(publisher(store), file)).toMatchObject({ kind: "published", timeMs: TIME_MS });
  expect(store.bodies).toEqual([{ kind: "bytes", bytes: new Uint8Array(expected) }]);
});

/**
 * The corruption matrix: objects of a bucket are damaged, lost, swapped or edited. Restore either fails with
 * an error that names the object, or gives exactly the recorded bytes. It never gives other bytes.
 */
import { beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { WalrustError } from "../../../src/errors.ts";
import type { Txid } from "../../../src/format/types.ts";
import type { PointInTime } from "../../../src/recovery/plan/restore-point.ts";
import { restore } from "../../../src/recovery/restore/restore-database.ts";
import type { ObjectMetadata, ObjectStore } from "../../../src/storage/contract/store.ts";
import {
  cloneStore,
  ltxKeys,
  putObject,
  type RecordedBucket,
  recordBucket,
  withChanged,
} from "../../support/histories/recorded-bucket.ts";
import { readObject } from "../../support/oracles/history-oracle.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { tempFolder } from "../../support/temp.ts";

let bucket: RecordedBucket;
let keys: string[];
const NEWEST = 4;

beforeAll(async () => {
  bucket = await recordBucket([
    "INSERT INTO t(v) VALUES (randomblob(12000))",
    "UPDATE t SET v = 'changed' WHERE id = 1",
    "INSERT INTO t(v) VALUES (randomblob(3000))",
  ]);
  keys = await ltxKeys(bucket.store, "app");
});

/** Outcome of a restore: the TXID of the recorded bytes, an error, or (never) other bytes. */
type Ending = { readonly txid: number } | { readonly error: WalrustError } | { readonly wrong: string };

async function endingOf(store: ObjectStore, point: PointInTime = { kind: "latest" }): Promise<Ending> {
  const { env } = recordingEnv();
  const outputPath = join(tempFolder("damaged"), "out.db");
  const request = { name: "app", outputPath, point, force: false, dryRun: false };
  try {
    const { txid } = await restore(request, { store, env });
    const image = bucket.images.get(txid);
    const isRight = image !== undefined && Buffer.compare(readFileSync(outputPath), image) === 0;
    return isRight ? { txid } : { wrong: `other bytes as TXID ${txid}` };
  } catch (error) {
    expect([existsSync(outputPath), readdirSync(dirname(outputPath))]).toEqual([false, []]);
    if (error instanceof WalrustError) return { error };
    return { wrong: `an untyped error: ${error}` };
  }
}

/** Expects an integrity error that names `key`, if given. */
function expectRefused(what: string, ending: Ending, key?: string): void {
  const code = "error" in ending ? ending.error.code : JSON.stringify(ending);
  expect([what, ["integrity", "corrupt"].includes(code) ? "refused" : code]).toEqual([what, "refused"]);
  if (key !== undefined && "error" in ending) expect(ending.error.message).toContain(key);
}

function expectRefusedOr(what: string, ending: Ending, txid: number, key?: string): void {
  if ("txid" in ending) expect([what, ending.txid]).toEqual([what, txid]);
  else expectRefused(what, ending, key);
}

describe("restore of damaged objects", () => {
  test("every object with a bit flipped at many offsets", async () => {
    for (const key of keys) {
      const { bytes } = await readObject(bucket.store, key);
      const step = Math.max(1, Math.floor(bytes.length / 60));
      for (let at = 0; at < bytes.length; at += at < 110 || at > bytes.length - 40 ? 7 : step) {
        const store = await withChanged(bucket.store, key, (object) => {
          const damaged = object.bytes.slice();
          damaged[at] = damaged[at]! ^ (1 << (at % 8));
          return { ...object, bytes: damaged };
        });
        expectRefused(`${key} at ${at}`, await endingOf(store), key);
      }
    }
  });

  test("every object cut off at many lengths, and with bytes appended", async () => {
    for (const key of keys) {
      const { bytes } = await readObject(bucket.store, key);
      for (const length of [0, 1, 99, 100, 106, bytes.length >> 1, bytes.length - 16, bytes.length - 1]) {
        const store = await withChanged(bucket.store, key, (object) => ({
          ...object,
          bytes: object.bytes.slice(0, length),
        }));
        expectRefused(`${key} of ${length} bytes`, await endingOf(store), key);
      }
      const longer = await withChanged(bucket.store, key, (object) => ({
        ...object,
        bytes: Buffer.concat([object.bytes, new Uint8Array(3)]),
      }));
      expectRefused(`${key} with more bytes`, await endingOf(longer), key);
    }
  });

  test("every object lost: all but the newest leave a gap, and the manifest reveals the newest", async () => {
    for (const key of keys.slice(0, -1)) {
      const store = await withChanged(bucket.store, key, () => null);
      expectRefused(`without ${key}`, await endingOf(store));
    }
    const store = await withChanged(bucket.store, keys.at(-1)!, () => null);
    expectRefusedOr("without the newest", await endingOf(store), NEWEST - 1);
  });

  test("every object under the key of every other one", async () => {
    for (const from of keys) {
      for (const to of keys) {
        if (from === to) continue;
        const copy = await cloneStore(bucket.store);
        await putObject(copy, to, await readObject(bucket.store, from));
        expectRefused(`${from} as ${to}`, await endingOf(copy), to);
      }
    }
  });

  test("any two objects swapped", async () => {
    for (const [i, one] of keys.entries()) {
      for (const other of keys.slice(i + 1)) {
        const copy = await cloneStore(bucket.store);
        await putObject(copy, other, await readObject(bucket.store, one));
        await putObject(copy, one, await readObject(bucket.store, other));
        expectRefused(`${one} and ${other}`, await endingOf(copy));
      }
    }
  });

  test("every object copied to a key that walrust never wrote", async () => {
    const inventions = ["0000/0000000000000005-0000000000000005", "0009/0000000000000001-0000000000000004"];
    inventions.push("0001/0000000000000002-0000000000000004", "0002/0000000000000001-0000000000000009");
    for (const from of keys) {
      for (const invention of inventions) {
        const to = `app/${invention}.ltx`;
        const copy = await cloneStore(bucket.store);
        await putObject(copy, to, await readObject(bucket.store, from));
        expectRefusedOr(`${from} also as ${to}`, await endingOf(copy), NEWEST, to);
      }
    }
  });

  test("a sound object of another history in the place of the original", async () => {
    const other = await recordBucket(["INSERT INTO t(v) VALUES ('other')", "UPDATE t SET v = 'other'"]);
    for (const key of await ltxKeys(other.store, "app")) {
      const copy = await cloneStore(bucket.store);
      await putObject(copy, key, await readObject(other.store, key));
      expectRefused(`theirs as ${key}`, await endingOf(copy));
    }
  });
});

describe("restore of edited metadata", () => {
  const HASH = "5".repeat(64);
  const FIELDS: readonly [field: string, value: string][] = [
    ["litestream-timestamp", "2026-01-01T00:00:00.000Z"],
    ["litestream-timestamp", "yesterday"],
    ["sha256", HASH],
    ["sha256", "short"],
    ["chain", HASH],
    ["chain", HASH.toUpperCase()],
    ["prev-chain", HASH],
    ["prev-chain", ""],
    ["walrust-writer", "f".repeat(32)],
    ["walrust-version", "9"],
  ];

  test("every field of every object: refused, or the exact bytes if the field is only a label", async () => {
    const LABELS = new Set(["walrust-writer", "walrust-version"]);
    for (const key of keys) {
      for (const [field, value] of FIELDS) {
        const store = await withChanged(bucket.store, key, ({ bytes, metadata }) => ({
          bytes,
          metadata: { ...metadata, [field]: value },
        }));
        const ending = await endingOf(store);
        const what = `${field} of ${key} as ${value}`;
        if (LABELS.has(field)) expectRefusedOr(what, ending, NEWEST, key);
        else expectRefused(what, ending, key);
      }
    }
  });

  test("every field of every object removed, and all fields removed", async () => {
    const names = [
      "litestream-timestamp",
      "sha256",
      "chain",
      "prev-chain",
      "walrust-writer",
      "walrust-version",
    ];
    for (const key of keys) {
      for (const gone of [...names.map((name) => [name]), names]) {
        const store = await withChanged(bucket.store, key, ({ bytes, metadata }) => {
          const left: ObjectMetadata = Object.fromEntries(
            Object.entries(metadata).filter(([name]) => !gone.includes(name)),
          );
          return { bytes, metadata: left };
        });
        // A gateway that loses metadata does not affect the objects themselves.
        const what = `${key} without ${gone}`;
        expect([what, await endingOf(store)]).toMatchObject([what, { txid: NEWEST }]);
      }
    }
  });
});

describe("restore and the manifest", () => {
  const KEY = "app/manifest.json";

  async function withManifest(change: (text: string) => string | null): Promise<ObjectStore> {
    return withChanged(bucket.store, KEY, ({ bytes, metadata }) => {
      const text = change(new TextDecoder().decode(bytes));
      return text === null ? null : { bytes: Buffer.from(text), metadata };
    });
  }

  test("a missing, torn, garbled or outdated manifest does not matter", async () => {
    const changes: ((text: string) => string | null)[] = [
      () => null,
      () => "",
      () => "null",
      () => "[]",
      (text) => text.slice(0, 40),
      (text) => text.replace('"format": 1', '"format": 2'),
      (text) => text.replace(/"txid": \d+/, '"txid": "many"'),
    ];
    for (const change of changes) {
      const ending = await endingOf(await withManifest(change));
      expect("txid" in ending ? ending.txid : ending).toBe(NEWEST);
    }
  });

  async function ahead(): Promise<ObjectStore> {
    return withManifest((text) => {
      const manifest = JSON.parse(text);
      return JSON.stringify({ ...manifest, latest: { ...manifest.latest, txid: NEWEST + 1 } });
    });
  }

  test("a manifest that names a newer TXID makes the latest an integrity error", async () => {
    expectRefused("ahead", await endingOf(await ahead()));
  });

  test("an older point requested by its TXID is still restored, as the hint promises", async () => {
    const ending = await endingOf(await ahead(), { kind: "txid", txid: 2 as Txid });
    expect("txid" in ending ? ending.txid : ending).toBe(2);
  });
});

describe("restore of a time from damaged headers", () => {
  // The search for a point reads headers only: a damaged time in one must not silently select another point.
  test("a time is never read from a header that its metadata contradicts", async () => {
    const TIMESTAMP_OFFSET = 32;
    for (const key of keys) {
      for (const [txid, timeMs] of bucket.times) {
        for (const at of [TIMESTAMP_OFFSET + 3, TIMESTAMP_OFFSET + 7]) {
          const store = await withChanged(bucket.store, key, (object) => {
            const damaged = object.bytes.slice();
            damaged[at] = damaged[at]! ^ 0x20;
            return { ...object, bytes: damaged };
          });
          const ending = await endingOf(store, { kind: "time", timeMs });
          if ("error" in ending) expect([5, 6]).toContain(ending.error.exitCode);
          else expect([txid, key, ending]).toEqual([txid, key, { txid }]);
        }
      }
    }
  });
});

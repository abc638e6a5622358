/**
 * Publishing where the store proves less than usual: two writers on a store without create-only writes, and
 * gateways that lose metadata. If two writers conflict, at least one stops, and no writer stops for its own
 * object.
 */
import { describe, expect, test } from "bun:test";
import { hex, sha256 } from "../../../src/format/chain.ts";
import { type PublishedLink, publish } from "../../../src/replication/upload/publish.ts";
import type { ObjectBody, ObjectHead } from "../../../src/storage/contract/store.ts";
import type { S3Store } from "../../../src/storage/s3/s3-store.ts";
import { anyOrder, lockstep, ScheduledBucket } from "../../support/histories/scheduled-bucket.ts";
import {
  putTiny,
  spoolTiny,
  TINY_WRITER,
  TinyHistory,
  type TinyObject,
} from "../../support/histories/tiny-history.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const TIME_MS = 1_700_000_000_123;
const TXIDS = 5;

/** The outcome of one writer: its last acknowledgement, and the key that stopped it. */
interface Career {
  readonly acknowledged: { key: string; sha256: string }[];
  stoppedBy: string | null;
}

async function writeAll(store: S3Store, writer: string, objects: readonly TinyObject[]): Promise<Career> {
  const career: Career = { acknowledged: [], stoppedBy: null };
  const folder = tempFolder("weak");
  let lastLink: PublishedLink | null = null;
  for (const object of objects) {
    const file = spoolTiny(folder, object);
    const outcome = await publish({ store, name: "app", writer, version: "test", lastLink }, file);
    if (outcome.kind !== "published") {
      career.stoppedBy = outcome.kind === "taken" ? outcome.key : outcome.reason;
      return career;
    }
    lastLink = { ...file, sha256: hex(sha256(object.bytes)) };
    career.acknowledged.push({ key: outcome.key, sha256: lastLink.sha256 });
  }
  return career;
}

function historyOf(seed: number): TinyObject[] {
  const history = new TinyHistory(seededRandom(seed));
  return Array.from({ length: TXIDS }, (_, index) => history.commit(TIME_MS + seed + index));
}

describe("publish of two writers on a store without create-only writes", () => {
  test("at least one writer stops in every order of their requests", async () => {
    let overwritten = 0;
    for (let seed = 0; seed <= 200; seed++) {
      const bucket = new ScheduledBucket(seed === 0 ? lockstep : anyOrder(seededRandom(seed)));
      const stores = [bucket.open(), bucket.open()];
      for (const store of stores) {
        const probing = store.probe(`probe-${stores.indexOf(store)}`);
        await bucket.run([probing]);
        expect((await probing).conditionalPut).toBe("no");
      }
      bucket.objects.clear();
      const works = stores.map((store, index) => {
        return writeAll(store, String(index).repeat(32), historyOf(2 * seed + index));
      });
      await bucket.run(works);
      const careers = await Promise.all(works);
      expect([seed, careers.filter(({ stoppedBy }) => stoppedBy !== null).length]).not.toEqual([seed, 0]);
      for (const { acknowledged } of careers) {
        for (const { key, sha256 } of acknowledged) {
          if (bucket.objects.get(key)?.headers["x-amz-meta-sha256"] !== sha256) overwritten++;
        }
      }
    }
    // The conflict must occur, or this test would prove nothing.
    expect(overwritten).toBeGreaterThan(0);
  });

  test("a single writer never stops", async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const bucket = new ScheduledBucket(anyOrder(seededRandom(seed)));
      const store = bucket.open();
      await bucket.run([store.probe("probe")]);
      bucket.objects.clear();
      const work = writeAll(store, TINY_WRITER, historyOf(seed));
      await bucket.run([work]);
      const { acknowledged, stoppedBy } = await work;
      expect([acknowledged.length, stoppedBy, bucket.objects.size]).toEqual([TXIDS, null, TXIDS]);
    }
  });
});

/** A store behind a gateway that loses metadata. */
class ForgetfulStore extends MemoryStore {
  override async head(key: string): Promise<ObjectHead> {
    return { ...(await super.head(key)), metadata: {} };
  }

  override async get(key: string, options = {}): Promise<ObjectBody> {
    return { ...(await super.get(key, options)), metadata: {} };
  }
}

describe("publish through a gateway that loses metadata", () => {
  const publisher = (store: MemoryStore) => ({ store, name: "app", writer: TINY_WRITER, version: "test" });

  test("an object of the same bytes is ours, because its first put took effect", async () => {
    const store = new ForgetfulStore();
    const history = new TinyHistory(seededRandom(1));
    for (const object of [history.commit(TIME_MS), history.commit(TIME_MS + 1)]) {
      await putTiny(store, "app", object);
      const outcome = await publish(publisher(store), spoolTiny(tempFolder("forgetful"), object));
      expect(outcome.kind).toBe("published");
    }
  });

  test("an object of other bytes is taken, by an unknown writer", async () => {
    const store = new ForgetfulStore();
    await putTiny(store, "app", new TinyHistory(seededRandom(1)).commit(TIME_MS));
    const other = new TinyHistory(seededRandom(2)).commit(TIME_MS);
    const outcome = await publish(publisher(store), spoolTiny(tempFolder("forgetful"), other));
    expect(outcome).toMatchObject({ kind: "taken", writer: null });
  });

  test("a later snapshot of the same state is ours, and one of another state is taken", async () => {
    const store = new ForgetfulStore();
    const history = new TinyHistory(seededRandom(1));
    for (let txid = 1; txid <= 3; txid++) history.commit(TIME_MS + txid);
    const snapshot = history.snapshot();
    await putTiny(store, "app", snapshot);
    // Another capture time gives other bytes of the same database.
    history.times.set(3, TIME_MS + 500);
    const again = history.snapshot();
    expect(Buffer.compare(again.bytes, snapshot.bytes)).not.toBe(0);
    const folder = tempFolder("forgetful");
    expect((await publish(publisher(store), spoolTiny(folder, again))).kind).toBe("published");
    const other = new TinyHistory(seededRandom(2));
    for (let txid = 1; txid <= 3; txid++) other.commit(TIME_MS + txid);
    expect((await publish(publisher(store), spoolTiny(folder, other.snapshot()))).kind).toBe("taken");
  });
});

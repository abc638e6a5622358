/** verify: the parts of large objects that it reads, its limits, and a bucket that changes meanwhile. */
import { describe, expect, test } from "bun:test";
import { hasCode, WalrustError } from "../../../src/errors.ts";
import { type VerifyOptions, verifyDatabase } from "../../../src/recovery/verify/verify-database.ts";
import { FINDINGS_MAX, Findings } from "../../../src/recovery/verify/verify-report.ts";
import type { ObjectBody, ObjectStore } from "../../../src/storage/contract/store.ts";
import { History, verifyEnv } from "./verify-history.ts";

/** A store whose gets go through `get`. */
function withGet(store: ObjectStore, get: ObjectStore["get"]): ObjectStore {
  return new Proxy(store, {
    get(target, name) {
      if (name === "get") return get;
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

function codes(
  store: ObjectStore,
  history: History,
  options: VerifyOptions = {},
  seed = 1,
): Promise<string[]> {
  return verifyDatabase(store, history.name, options, verifyEnv(seed)).then(({ findings }) =>
    findings.map(({ code }) => code),
  );
}

/** A snapshot of some 50 KB and a manifest. */
async function largeHistory(): Promise<History> {
  const history = await History.begin({ pageCount: 200 });
  await history.manifest();
  return history;
}

function flipMiddle(history: History): Promise<void> {
  return history.edit(history.key(9, 1), ({ bytes }) => {
    const damaged = bytes.slice();
    damaged[bytes.length >> 1]! ^= 1;
    return { bytes: damaged };
  });
}

describe("verifyDatabase of a large object", () => {
  test("reads the header and trailer only", async () => {
    const history = await largeHistory();
    let readBytes = 0;
    const store = withGet(history.store, async (key, options) => {
      const body = await history.store.get(key, options);
      if (key.endsWith(".ltx")) readBytes += options?.range?.length ?? body.sizeBytes;
      return body;
    });
    const report = await verifyDatabase(store, history.name, {}, verifyEnv());
    expect([report.status, readBytes, report.checked.readObjects]).toEqual(["ok", 124, 0]);
  });

  test("finds a damaged page only if it reads the data", async () => {
    const history = await largeHistory();
    await flipMiddle(history);
    expect(await codes(history.store, history)).toEqual([]);
    expect(await codes(history.store, history, { readPercent: 100 })).toEqual(["corrupt-object"]);
  });

  test("reads at least one object of a share, and every object eventually", async () => {
    const history = await largeHistory();
    await history.increments(30);
    await flipMiddle(history);
    const found = [];
    for (let seed = 1; seed <= 40; seed++) {
      found.push((await codes(history.store, history, { readPercent: 10 }, seed)).length);
    }
    // Each run draws an object with probability 0.1: 40 runs miss one with probability 1.5 %, but not with
    // these seeds.
    expect(found.filter((count) => count > 0).length).toBeWithin(1, 20);
  });

  test.each([
    ["bytes follow the trailer", 0, 7],
    ["bytes are missing in the middle", 1000, 0],
  ])("finds that %s from its header and trailer", async (_, cut, added) => {
    const history = await largeHistory();
    await history.edit(history.key(9, 1), ({ bytes }) => {
      const parts = [bytes.slice(0, bytes.length - 500 - cut), bytes.slice(bytes.length - 500)];
      return { bytes: new Uint8Array(Buffer.concat([...parts, new Uint8Array(added)])) };
    });
    const found = await codes(history.store, history, { readPercent: added > 0 ? 0 : 100 });
    expect(found).toContain("corrupt-object");
  });

  test("finds an index that cannot fit into the file without reading the data", async () => {
    const history = await largeHistory();
    await history.edit(history.key(9, 1), ({ bytes }) => {
      const damaged = bytes.slice();
      new DataView(damaged.buffer).setBigUint64(bytes.length - 24, BigInt(bytes.length));
      return { bytes: damaged };
    });
    expect(await codes(history.store, history)).toEqual(["corrupt-object"]);
  });

  test("finds an object of another length than listed", async () => {
    const history = await History.begin();
    await history.increments(1);
    await history.manifest();
    const store: ObjectStore = new Proxy(history.store, {
      get(target, name) {
        const value = Reflect.get(target, name, target);
        if (name !== "list") return typeof value === "function" ? value.bind(target) : value;
        return async function* (...words: Parameters<ObjectStore["list"]>) {
          for await (const info of target.list(...words)) {
            const isGrown = info.key === history.key(0, 2);
            yield isGrown ? { ...info, sizeBytes: info.sizeBytes + 1 } : info;
          }
        };
      },
    });
    expect(await codes(store, history)).toEqual(["bad-size"]);
  });

  test("finds an impossible page count without reading the data", async () => {
    const history = await largeHistory();
    await history.edit(history.key(9, 1), ({ bytes }) => {
      const parts = [bytes.slice(0, 2000), bytes.slice(bytes.length - 6500)];
      const shorter = new Uint8Array(Buffer.concat(parts));
      // More pages than ever fit into so few bytes.
      new DataView(shorter.buffer).setUint32(12, 5000);
      return { bytes: shorter };
    });
    expect(await codes(history.store, history)).toContain("bad-size");
  });
});

describe("verifyDatabase keeps its limits", () => {
  test("never more than `concurrency` concurrent requests", async () => {
    const history = await History.begin();
    await history.increments(40);
    await history.manifest();
    let underWay = 0;
    let most = 0;
    const store = withGet(history.store, async (key, options): Promise<ObjectBody> => {
      most = Math.max(most, ++underWay);
      try {
        await verifyEnv().turn();
        return await history.store.get(key, options);
      } finally {
        underWay--;
      }
    });
    expect(await codes(store, history, { concurrency: 3 })).toEqual([]);
    expect(most).toBe(3);
  });

  test("Findings keeps a thousand of each severity, counts the others, and lists errors first", () => {
    const findings = new Findings();
    for (let txid = 0; txid < FINDINGS_MAX + 5; txid++) findings.add("unknown-key", "k", txid, "m");
    findings.add("gap", null, 7, "m");
    expect([findings.list().length, findings.omitted, findings.status]).toEqual([
      FINDINGS_MAX + 1,
      5,
      "errors",
    ]);
    expect(findings.list()[0]).toMatchObject({ code: "gap", severity: "error" });
  });

  test("a storage failure is thrown, not reported as a finding", async () => {
    const history = await largeHistory();
    const store = withGet(history.store, async (key, options) => {
      if (key.endsWith(".ltx")) throw new WalrustError("auth", "refused");
      return history.store.get(key, options);
    });
    const thrown = await codes(store, history).catch((error) => error);
    expect(hasCode(thrown, "auth")).toBe(true);
  });

  test("an aborted signal ends it", async () => {
    const history = await largeHistory();
    const thrown = await codes(history.store, history, { signal: AbortSignal.abort() }).catch(
      (error) => error,
    );
    expect(thrown).toBeInstanceOf(Error);
  });

  test("an empty bucket is an error with code restore", async () => {
    const history = await largeHistory();
    const thrown = await verifyDatabase(history.store, "other", {}, verifyEnv()).catch((error) => error);
    expect(hasCode(thrown, "restore")).toBe(true);
  });
});

describe("verifyDatabase beside a running retention", () => {
  test("lists again if an object disappears after the listing", async () => {
    const history = await History.begin();
    await history.increments(11);
    await history.snapshot();
    await history.increments(3);
    await history.manifest();
    let isPruned = false;
    const store = withGet(history.store, async (key, options) => {
      if (key.endsWith(".ltx") && !isPruned) {
        isPruned = true;
        await history.delete(history.key(9, 1));
        for (let txid = 2; txid <= 12; txid++) await history.delete(history.key(0, txid));
        await history.manifest();
      }
      return history.store.get(key, options);
    });
    const report = await verifyDatabase(store, history.name, {}, verifyEnv());
    expect(report.findings).toEqual([]);
    expect(report.checked).toMatchObject({ objects: 4, minTxid: 12, maxTxid: 15 });
  });

  test("does not list again for an object that stays listed, and reports it as missing", async () => {
    const history = await History.begin();
    await history.increments(3);
    await history.manifest();
    let gets = 0;
    const store = withGet(history.store, async (key, options) => {
      if (key !== history.key(0, 3)) return history.store.get(key, options);
      gets++;
      throw new WalrustError("not-found", "no such object");
    });
    expect([await codes(store, history), gets]).toEqual([["missing-object"], 1]);
  });

  test("an increment and a snapshot put between two listings are no hole", async () => {
    const history = await History.begin();
    await history.increments(3);
    await history.manifest();
    const grow = async (): Promise<void> => {
      await history.increments(2);
      await history.snapshot();
    };
    const store: ObjectStore = new Proxy(history.store, {
      get(target, name) {
        const value = Reflect.get(target, name, target);
        if (name !== "list") return typeof value === "function" ? value.bind(target) : value;
        return async function* (...words: Parameters<ObjectStore["list"]>) {
          yield* target.list(...words);
          await grow();
        };
      },
    });
    expect(await codes(store, history)).toEqual([]);
  });
});

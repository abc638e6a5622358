/** BreakerStore passes the contract, suspends every kind of call, and counts each call once, at its end. */

import { describe, expect, test } from "bun:test";
import { type Env, SILENT_LOG, systemEnv } from "../../../src/env.ts";
import type { WalrustError } from "../../../src/errors.ts";
import { type CircuitChange, isSuspension } from "../../../src/storage/contract/circuit.ts";
import { objectBody } from "../../../src/storage/contract/object-body.ts";
import type { ObjectBody, ObjectStore } from "../../../src/storage/contract/store.ts";
import { BreakerStore } from "../../../src/storage/guard/breaker-store.ts";
import { CircuitBreaker } from "../../../src/storage/guard/circuit-breaker.ts";
import { RetryingStore } from "../../../src/storage/guard/retrying-store.ts";
import { breakerOf, DEFAULT_CONFIG } from "../../support/config.ts";
import { FaultyStore, gate, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { storeContract } from "../contract/contract.ts";
import { expectCode, keysOf, quickEnv, textBody } from "../contract/store-helpers.ts";

const THRESHOLD = 2;
const COOLDOWN_MS = 60_000;
const BREAKER = breakerOf(THRESHOLD, COOLDOWN_MS);
const BIG = { kind: "bytes", bytes: new Uint8Array(5 << 20) } as const;

function guarded(inner: ObjectStore): BreakerStore {
  const env = systemEnv(SILENT_LOG);
  return new BreakerStore(
    new RetryingStore(inner, env, DEFAULT_CONFIG.retry),
    new CircuitBreaker(DEFAULT_CONFIG.retry, env, { changed: () => {} }),
  );
}

storeContract("BreakerStore", {
  open: () => guarded(new MemoryStore()),
  openMissing: () => guarded(new MemoryStore({ bucketExists: false })),
});

/** A store whose bodies break off after one chunk while `breaks` is set. */
class BreakingStore extends FaultyStore {
  breaks = false;

  override async get(key: string, options: Parameters<ObjectStore["get"]>[1] = {}): Promise<ObjectBody> {
    const { chunks: _, bytes: __, ...head } = await super.get(key, options);
    const breaks = this.breaks;
    async function* chunks(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(2);
      if (breaks) throw unreachable();
      yield new Uint8Array(head.sizeBytes - 2);
    }
    return objectBody(head, chunks());
  }
}

/** A guarded, retrying store whose waits take no time, on a clock that the test moves. */
class Subject {
  readonly inner = new BreakingStore(new MemoryStore());
  readonly changes: CircuitChange[] = [];
  readonly breaker: CircuitBreaker;
  readonly store: BreakerStore;
  nowMs = 0;

  constructor() {
    const env: Env = { ...quickEnv(SILENT_LOG).env, monotonicMs: () => this.nowMs };
    this.breaker = new CircuitBreaker(BREAKER, env, { changed: (change) => void this.changes.push(change) });
    this.store = new BreakerStore(new RetryingStore(this.inner, env, DEFAULT_CONFIG.retry), this.breaker);
  }

  /** Sets whether every later call to the store fails. */
  fail(isFailing: boolean): void {
    this.inner.before = () => {
      if (isFailing) throw unreachable();
    };
  }

  /** Opens the circuit. */
  async opened(): Promise<this> {
    this.fail(true);
    for (let call = 0; call < THRESHOLD; call++) await expectCode(this.store.head("k"), "storage");
    expect(this.breaker.state).toBe("open");
    this.inner.calls.length = 0;
    return this;
  }

  /** Opens the circuit and passes the cooldown. */
  async halfOpen(): Promise<this> {
    await this.opened();
    this.nowMs += COOLDOWN_MS;
    return this;
  }
}

const CALLS: readonly (readonly [name: string, call: (store: ObjectStore) => Promise<unknown>])[] = [
  ["put", (store) => store.put("k", textBody("x"))],
  ["put of a big object", (store) => store.put("k", BIG)],
  ["get", (store) => store.get("k")],
  ["head", (store) => store.head("k")],
  ["list", (store) => keysOf(store, "")],
  ["listFolders", (store) => store.listFolders("")],
  ["delete", (store) => store.delete(["k"])],
  ["probe", (store) => store.probe("p")],
  ["leftovers", async (store) => store.leftovers?.("")],
  ["removeLeftovers", async (store) => store.removeLeftovers?.([])],
];

async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(
    () => null,
    (error) => error,
  );
}

describe("BreakerStore", () => {
  test.each(CALLS)("%s fails at once while the circuit is open, and nothing is sent", async (_, call) => {
    const { store, inner } = await new Subject().opened();
    expect(isSuspension(await errorOf(call(store)))).toBe(true);
    expect(inner.calls).toEqual([]);
  });

  test.each(CALLS.slice(0, 7))(
    "%s is one attempt as a trial, and opens the circuit again",
    async (_, call) => {
      const subject = await new Subject().halfOpen();
      const error = await errorOf(call(subject.store));
      expect([isSuspension(error), (error as WalrustError).code]).toEqual([false, "storage"]);
      expect([subject.inner.calls.length, subject.breaker.state]).toEqual([1, "open"]);
      expect(subject.changes.map((change) => change.kind === "opened" && change.isFirst)).toEqual([
        true,
        false,
      ]);
    },
  );

  test.each(CALLS)("%s closes the circuit when its trial succeeds", async (_, call) => {
    const subject = await new Subject().halfOpen();
    subject.fail(false);
    await subject.inner.inner.put("k", textBody("abc"));
    await call(subject.store);
    expect([subject.breaker.state, subject.changes.at(-1)]).toEqual(["closed", { kind: "closed" }]);
  });

  test("a call is counted once, after all its retries", async () => {
    const subject = new Subject();
    subject.fail(true);
    await expectCode(subject.store.head("k"), "storage");
    expect([subject.inner.calls.length, subject.breaker.state]).toEqual([6, "closed"]);
    await expectCode(subject.store.head("k"), "storage");
    expect([subject.inner.calls.length, subject.breaker.state]).toEqual([12, "open"]);
  });

  test("each retry of a put is counted, and no retry of another call", async () => {
    const subject = new Subject();
    let failures = 2;
    subject.inner.before = () => {
      if (failures-- > 0) throw unreachable();
    };
    await subject.store.put("k", textBody("x"));
    expect([subject.inner.calls.length, subject.breaker.retryCount]).toEqual([3, 2]);
    failures = 2;
    await subject.store.head("k");
    expect([subject.inner.calls.length, subject.breaker.retryCount]).toEqual([6, 2]);
    subject.fail(true);
    await expectCode(subject.store.put("k", textBody("x")), "storage");
    expect(subject.breaker.retryCount).toBe(2 + DEFAULT_CONFIG.retry.maxRetries);
  });

  test("a definite refusal between two failures proves that the store works", async () => {
    const subject = new Subject();
    for (let round = 0; round < 3; round++) {
      subject.fail(true);
      await expectCode(subject.store.head("k"), "storage");
      subject.fail(false);
      await expectCode(subject.store.head("none"), "not-found");
    }
    expect(subject.breaker.state).toBe("closed");
  });

  test("bodies that break off count as failures, although each begins well", async () => {
    const subject = new Subject();
    await subject.store.put("k", textBody("abcdef"));
    subject.inner.breaks = true;
    for (let call = 0; call < THRESHOLD; call++) {
      const body = await subject.store.get("k");
      subject.inner.before = (operation) => {
        if (operation === "get") throw unreachable();
      };
      await expectCode(body.bytes(), "storage");
      subject.inner.before = () => {};
    }
    expect(subject.breaker.state).toBe("open");
  });

  test("a body or a listing that its reader abandons counts as a success", async () => {
    const subject = new Subject();
    for (let round = 0; round < THRESHOLD; round++) {
      subject.fail(true);
      await expectCode(subject.store.head("k"), "storage");
      subject.fail(false);
      for (const key of ["a", "b"]) await subject.inner.inner.put(key, textBody("abc"));
      if (round === 0) for await (const _ of subject.store.list("")) break;
      else for await (const _ of (await subject.store.get("a")).chunks) break;
    }
    expect(subject.breaker.state).toBe("closed");
  });

  test("a body that is being read when the circuit opens is read to its end", async () => {
    const subject = new Subject();
    await subject.store.put("k", textBody("abcdef"));
    const body = await subject.store.get("k");
    await subject.opened();
    expect((await body.bytes()).length).toBe(6);
    expect(subject.breaker.state).toBe("open");
  });

  test("other calls fail during a trial; a slow reader ends the trial", async () => {
    const subject = await new Subject().halfOpen();
    const { passed, open } = gate();
    subject.inner.before = () => passed;
    for (const key of ["a", "b"]) await subject.inner.inner.put(key, textBody(key));
    const entries = subject.store.list("")[Symbol.asyncIterator]();
    const first = entries.next();
    expect(isSuspension(await errorOf(subject.store.head("a")))).toBe(true);
    expect(isSuspension(await errorOf(subject.store.put("c", BIG)))).toBe(true);
    open();
    expect((await first).value?.key).toBe("a");
    expect((await subject.store.head("b")).sizeBytes).toBe(1);
  });

  test("an aborted trial decides nothing", async () => {
    const subject = await new Subject().halfOpen();
    const signal = AbortSignal.abort(new Error("stopped"));
    await expect(subject.store.put("k", textBody("x"), { signal })).rejects.toThrow("stopped");
    expect([subject.breaker.state, subject.breaker.isPassable]).toEqual(["half-open", true]);
    subject.fail(false);
    await subject.store.put("k", textBody("x"));
    expect(subject.breaker.state).toBe("closed");
  });

  test("a big put checks its key first as the trial, then puts with retries", async () => {
    const subject = await new Subject().halfOpen();
    let failures = 2;
    subject.inner.before = (operation) => {
      if (operation === "put" && failures-- > 0) throw unreachable();
    };
    await subject.store.put("k", BIG);
    expect(subject.inner.calls).toEqual(["head k", "put k", "put k", "put k"]);
    expect(subject.changes.map(({ kind }) => kind)).toEqual(["opened", "closed"]);
  });

  test("big puts that fail although the store answers are one outage", async () => {
    const subject = await new Subject().halfOpen();
    subject.inner.before = (operation) => {
      if (operation === "put") throw unreachable();
    };
    for (let round = 0; round < 5; round++) {
      await expectCode(subject.store.put("k", BIG), "storage");
      expect(subject.breaker.state).toBe("open");
      subject.nowMs += COOLDOWN_MS;
    }
    const firsts = subject.changes.map((change) => change.kind === "opened" && change.isFirst);
    expect(firsts).toEqual([true, false, false, false, false, false]);
    subject.inner.before = () => {};
    await subject.store.put("k", BIG);
    expect([subject.breaker.state, subject.changes.at(-1)]).toEqual(["closed", { kind: "closed" }]);
  });

  test("one database's circuit suspends no other database", async () => {
    const one = new Subject();
    const env = systemEnv(SILENT_LOG);
    const other = new BreakerStore(one.inner, new CircuitBreaker(BREAKER, env, { changed: () => {} }));
    await one.opened();
    one.fail(false);
    await other.put("k", textBody("fine"));
    expect((await other.head("k")).sizeBytes).toBe(4);
    expect(isSuspension(await errorOf(one.store.head("k")))).toBe(true);
  });
});

test("a call without a signal ends with the signal that its source gives when the call begins", async () => {
  const source = { signal: new AbortController().signal };
  const env = systemEnv(SILENT_LOG);
  const inner = new RetryingStore(new MemoryStore(), env, DEFAULT_CONFIG.retry);
  const breaker = new CircuitBreaker(DEFAULT_CONFIG.retry, env, { changed: () => {} });
  const store = new BreakerStore(inner, breaker, source);
  await store.put("k", textBody("x"));
  source.signal = AbortSignal.abort(new Error("closed"));
  await expect(store.put("k", textBody("x"))).rejects.toThrow("closed");
});

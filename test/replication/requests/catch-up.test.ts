/** The wait for everything committed, with databases of the test's making. */
import { expect, test } from "bun:test";
import { WalrustError } from "../../../src/errors.ts";
import type { SpoolFile } from "../../../src/local/spool.ts";
import type { ProvableDatabase, Prover } from "../../../src/replication/requests/bucket-proof.ts";
import { catchUp } from "../../../src/replication/requests/catch-up.ts";
import type { RequestFacts } from "../../../src/replication/requests/requests.ts";
import type { SyncableDatabase } from "../../../src/replication/requests/sync-request.ts";
import { ManualTime } from "../../observability/manual-time.ts";

const INTERVAL_MS = 20;

const FACTS: RequestFacts = {
  givenUp: null,
  isClosing: false,
  failure: null,
  isSuspended: false,
  isAttached: true,
  isReadable: true,
  isJobRunning: false,
  isAdopting: false,
  pending: [],
  taken: null,
  refused: null,
  isLeaving: false,
  hidden: null,
  isSpoolFull: false,
  isSettled: true,
  uploadedTxid: 1,
  whole: null,
  generation: 0,
};

/** A database whose facts a test changes. */
class TestDatabase implements SyncableDatabase {
  requestFacts = FACTS;
  requests = 0;
  readonly target: SyncableDatabase["target"];
  readonly circuit = { lift: () => {} };
  // Only a proof reads these.
  declare readonly live: ProvableDatabase["live"];
  declare readonly context: ProvableDatabase["context"];
  declare readonly record: ProvableDatabase["record"];
  readonly poller = { request: () => void this.requests++ };

  constructor(name: string) {
    this.target = { name, path: `/${name}.db` } as SyncableDatabase["target"];
  }

  set(facts: Partial<RequestFacts>): void {
    this.requestFacts = { ...FACTS, ...facts };
  }

  /** Everything is captured up to a TXID. */
  capture(txid: number, facts: Partial<RequestFacts> = {}): void {
    this.set({ whole: { txid, generation: 0 }, uploadedTxid: txid - 1, pending: pendingOf(txid), ...facts });
  }
}

function pendingOf(...minTxids: number[]): readonly SpoolFile[] {
  return minTxids.map((minTxid) => ({ minTxid, maxTxid: minTxid }) as unknown as SpoolFile);
}

/** Whether the bucket can be listed; it holds every object then. */
let listingFailure: WalrustError | null = null;

const prover: Prover = {
  of: () => ({
    poll: () => (listingFailure === null ? "proven" : "open"),
    missing: null,
    get failure() {
      return listingFailure;
    },
    delay: () => new WalrustError("storage", "late"),
  }),
};

/** Starts a wait. @returns a function that makes one more check, and the result once there is one */
function start(databases: readonly TestDatabase[]) {
  const time = new ManualTime();
  const ending = new AbortController();
  let result: readonly (readonly [string, string])[] | null = null;
  const done = catchUp(databases, time.env, ending.signal, prover).then((lagging) => {
    result = lagging.map(({ database, error }) => [database, error.message]);
  });
  return {
    time,
    ending,
    done,
    result: () => result,
    pass: async (durationMs = INTERVAL_MS) => {
      await time.sleeping(INTERVAL_MS);
      time.pass(durationMs);
    },
  };
}

test("catchUp waits for a capture that follows the call, and for its upload", async () => {
  const app = new TestDatabase("app");
  app.set({ isSettled: false, isReadable: false, isJobRunning: true, pending: null });
  const { pass, result, done } = start([app]);
  await pass();
  expect(app.requests).toBeGreaterThan(0);
  app.capture(3);
  await pass();
  expect(result()).toBeNull();
  // Later commits are not waited for.
  app.capture(3, { uploadedTxid: 3, pending: pendingOf(4) });
  await pass();
  await done;
  expect(result()).toEqual([]);
});

test("catchUp names those given up, set aside or suspended, and waits for the others", async () => {
  const names = ["stopped", "aside", "suspended", "good"];
  const databases = names.map((name) => new TestDatabase(name));
  const [stopped, aside, suspended, good] = databases;
  stopped!.set({ givenUp: new WalrustError("foreign-writer", "another writer") });
  aside!.set({ refused: new WalrustError("not-wal", "no WAL") });
  suspended!.set({ isSuspended: true, isAttached: false, isReadable: false, pending: null });
  const { pass, result, done } = start(databases);
  await pass();
  expect(result()).toBeNull();
  good!.capture(2, { uploadedTxid: 2 });
  await pass();
  await done;
  expect(result()).toEqual([
    ["stopped", "another writer"],
    ["aside", "no WAL"],
    ["suspended", expect.stringContaining("suspended")],
  ]);
});

test("catchUp ends at the second failed call to the store", async () => {
  const app = new TestDatabase("app");
  const { pass, result, done } = start([app]);
  const refused = (): WalrustError => new WalrustError("storage", "refused", { retryable: true });
  app.capture(2, { failure: refused() });
  await pass();
  await pass();
  expect(result()).toBeNull();
  app.capture(2, { failure: refused() });
  await pass();
  await done;
  expect(result()).toEqual([["app", "refused"]]);
});

test("catchUp ends at the second listing that fails, and not at the first", async () => {
  const app = new TestDatabase("app");
  const failure = (): WalrustError => new WalrustError("storage", "not listed", { retryable: true });
  listingFailure = failure();
  try {
    const { pass, result, done } = start([app]);
    await pass();
    app.capture(2, { uploadedTxid: 2, pending: [] });
    await pass();
    await pass();
    expect(result()).toBeNull();
    listingFailure = failure();
    await pass();
    await done;
    expect(result()).toEqual([["app", "not listed"]]);
  } finally {
    listingFailure = null;
  }
});

test("catchUp ends with its signal", async () => {
  const app = new TestDatabase("app");
  const { ending, done, result } = start([app]);
  ending.abort();
  await done;
  expect(result()).toEqual([]);
});

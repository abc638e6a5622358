/** A status server over databases that a test makes up, and fleets of them as operators have them. */
import { afterEach } from "bun:test";
import type { Condition } from "../../../src/errors.ts";
import { type Observer, startObservability } from "../../../src/observability/observer.ts";
import type { DatabaseStatus } from "../../../src/replication/watch/watch-status.ts";
import { DEFAULT_CONFIG } from "../../support/config.ts";
import { ManualTime } from "../manual-time.ts";
import { failed, statusOf, uploaded } from "../samples.ts";

const observers = new Set<Observer>();

afterEach(async () => {
  for (const observer of observers) await observer.close();
  observers.clear();
});

/** A dashboard of databases that the test may exchange at any time. */
export class ServedDashboard {
  readonly time = new ManualTime();
  storeConditions: readonly Condition[] = [];
  readonly observer: Observer;
  #statuses: readonly DatabaseStatus[] = [];

  constructor(statuses: readonly DatabaseStatus[], version = "0.4.0", port = 0) {
    const source = {
      statuses: () => this.#statuses,
      storeConditions: () => this.storeConditions,
      writerOf: () => null,
    };
    const metrics = { ...DEFAULT_CONFIG.metrics, enabled: true, address: "127.0.0.1", port };
    this.observer = startObservability({ ...DEFAULT_CONFIG, metrics }, source, this.time.env, version);
    observers.add(this.observer);
    this.time.pass(7_500_000);
    this.observer.observe(uploaded("snapshot"));
    this.statuses = statuses;
  }

  get url(): string {
    return `${this.observer.metricsUrl}/`;
  }

  /** Failures become events, as in a watch; another database is uploaded after them. */
  set statuses(statuses: readonly DatabaseStatus[]) {
    this.#statuses = statuses;
    for (const { database, failure } of statuses) {
      if (failure !== null) this.observer.observe(failed(failure.code, database));
    }
    this.time.pass(1);
    this.observer.observe(uploaded());
  }

  get statuses(): readonly DatabaseStatus[] {
    return this.#statuses;
  }

  close(): Promise<void> {
    return this.observer.close();
  }
}

/** Databases that are all replicated, busy and quiet ones. */
export function healthyFleet(count: number, nowMs: number): DatabaseStatus[] {
  return Array.from({ length: count }, (_, index) => {
    const isBusy = index % 3 === 0;
    return statusOf({
      database: count < 10 ? ["shop", "accounts", "events"][index]! : `tenants/customer-${index + 1}/app`,
      txid: 4_211 + index * 97,
      uploadedTxid: 4_211 + index * 97 - (isBusy ? 1 : 0),
      uploadedTimeMs: nowMs - 700 - index * 1_300,
      snapshotTimeMs: nowMs - 60_000 - ((index * 47_000) % 3_500_000),
      pendingCount: isBusy ? 1 : 0,
      pendingBytes: isBusy ? 4_300 + index * 11 : 0,
      lagMs: isBusy ? 180 + (index % 7) * 90 : 0,
      walFrames: 40,
    });
  });
}

/** The same with failures of several kinds; most of them when the store is away. */
export function failingFleet(count: number, nowMs: number): DatabaseStatus[] {
  return healthyFleet(count, nowMs).map((status, index) => {
    if (index === 1) return { ...status, ...NOT_SHARED };
    if (index % 40 === 2) return { ...status, ...FOREIGN_WRITER };
    if (index % 25 === 7) return { ...status, ...NOT_WAL };
    if (index % 2 === 0) return status;
    const key = `${status.database}/0000/0000000000001073-0000000000001073.ltx`;
    const message = `Cannot put ${key}: the store answered 503 SlowDown`;
    return {
      ...status,
      state: "failing",
      circuit: "open",
      lagMs: 41_000 + index * 70,
      pendingCount: 41,
      pendingBytes: 180_000 + index * 900,
      failure: { code: "storage", message, hint: null },
    };
  });
}

const NOT_SHARED = {
  conditions: [
    {
      code: "not-shared",
      health: "unhealthy",
      message:
        "The application uses another wal-index: app.db-shm was deleted while the application had it open",
      hint: "Stop the application with SIGTERM and start it again",
    },
  ],
} satisfies Partial<DatabaseStatus>;

const FOREIGN_WRITER = {
  state: "stopped",
  lagMs: 7_300_000,
  failure: {
    code: "foreign-writer",
    message: "Another writer (9f2c51d07e) has written TXID 4405 to this prefix",
    hint: null,
  },
} satisfies Partial<DatabaseStatus>;

const NOT_WAL = {
  state: "failing",
  lagMs: 0,
  txid: 0,
  uploadedTxid: 0,
  uploadedTimeMs: null,
  snapshotTimeMs: null,
  failure: {
    code: "not-wal",
    message: "app.db is not in WAL mode (journal_mode is delete)",
    hint: "Run PRAGMA journal_mode = WAL on the database",
  },
} satisfies Partial<DatabaseStatus>;

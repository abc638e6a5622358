/**
 * A process of the application: commits to its databases, and from time to time a large transaction, a VACUUM
 * after a table has grown and shrunk the file, a close of the last connection, and checkpoints of databases
 * that another process writes to. The argument is a JSON file with ShareOptions.
 *
 * Prints "ready" when all databases are open, and at SIGTERM a line of JSON with the ActionCounts. The file
 * of a database does not grow in the long run: commits only change rows.
 */
import { Database } from "bun:sqlite";
import { readFileSync } from "node:fs";
import { openAsApplication, prepareCommit, seededRandom } from "../measure/databases.ts";
import type { ActionCounts, SharedDatabase, ShareOptions } from "./application.ts";
import type { Rate } from "./load-plan.ts";

/** Something that happens again and again. */
interface Action {
  dueMs: number;
  /** Acts. @returns the time to the next act in ms */
  readonly act: () => number;
}

const MAX_PAUSE_MS = 20;
const CLOSED_MS = 1_000;
const BURST_COMMITS = 200;
/** Commits of a burst between two turns of the event loop. */
const BURST_TURN = 10;
const CHECKPOINT_BUSY_MS = 2_000;
/** Mean time between two commits, or between two bursts; null for none. */
const GAPS_MS: Readonly<Record<Rate, number | null>> = {
  idle: null,
  rare: 20_000,
  steady: 1_000,
  fast: 100,
  bursts: 25_000,
};

const counts: Record<keyof ActionCounts, number> = {
  ...{ commit: 0, large: 0, vacuum: 0, reopen: 0, checkpoint: 0, blocked: 0, busy: 0 },
};

/** Runs SQL that another connection may block. @returns whether it was done */
function attempt(name: keyof ActionCounts, work: () => void): boolean {
  try {
    work();
    counts[name]++;
    return true;
  } catch (error) {
    const { code } = error as { code?: string };
    if (!/^SQLITE_(BUSY|LOCKED)/.test(code ?? "")) throw error;
    counts.busy++;
    return false;
  }
}

/** One database with its connection, which is null while the database is closed. */
class Tenant {
  #connection: Database | null = null;
  #commit: () => void = () => {};
  #burstLeft = 0;
  readonly #seed: number;

  constructor(
    readonly plan: SharedDatabase,
    readonly random: () => number,
  ) {
    this.#seed = Math.floor(random() * 2 ** 31);
    this.#open();
  }

  actions(nowMs: number): Action[] {
    const { rate, largeEveryMs, vacuumEveryMs, reopenEveryMs, phase } = this.plan;
    const gapMs = GAPS_MS[rate];
    const action = (everyMs: number | null, act: () => number): Action[] =>
      everyMs === null ? [] : [{ dueMs: nowMs + everyMs * phase, act }];
    return [
      ...action(gapMs, () => (rate === "bursts" ? this.#burst(gapMs!) : this.#commitOnce(gapMs!))),
      ...action(largeEveryMs, () => this.#large(largeEveryMs!)),
      ...action(vacuumEveryMs, () => this.#vacuum(vacuumEveryMs!)),
      ...action(reopenEveryMs, () => this.#reopen(reopenEveryMs!)),
    ];
  }

  close(): void {
    this.#connection?.close(true);
    this.#connection = null;
  }

  #open(): void {
    const connection = openAsApplication(this.plan.path);
    connection.run(`PRAGMA wal_autocheckpoint = ${this.plan.autocheckpointPages}`);
    this.#connection = connection;
    // The rows after a reopening differ from those before: each opening has a seed of its own.
    this.#commit = prepareCommit(connection, this.#seed + counts.reopen);
  }

  #commitOnce(gapMs: number): number {
    if (this.#connection !== null) attempt("commit", this.#commit);
    return gapMs * (0.5 + this.random());
  }

  #burst(gapMs: number): number {
    if (this.#burstLeft <= 0) this.#burstLeft = BURST_COMMITS;
    for (let count = 0; count < BURST_TURN && this.#connection !== null; count++) {
      attempt("commit", this.#commit);
    }
    this.#burstLeft -= BURST_TURN;
    return this.#burstLeft > 0 ? 0 : gapMs * (0.5 + this.random());
  }

  #large(everyMs: number): number {
    const connection = this.#connection;
    if (connection !== null) {
      attempt("large", () => connection.run("UPDATE item SET version = version + 1 WHERE id % 2 = 0"));
    }
    return everyMs;
  }

  #vacuum(everyMs: number): number {
    const connection = this.#connection;
    if (connection !== null) {
      attempt("vacuum", () => {
        connection.run("CREATE TABLE IF NOT EXISTS scratch AS SELECT * FROM item WHERE id % 3 = 0");
        connection.run("DROP TABLE scratch");
        connection.run("VACUUM");
      });
    }
    return everyMs;
  }

  #reopen(everyMs: number): number {
    if (this.#connection === null) {
      this.#open();
      return everyMs;
    }
    this.close();
    counts.reopen++;
    return CLOSED_MS;
  }
}

/** Checkpoints a database of another process, with a connection of its own for each checkpoint. */
function checkpointAction({ path, checkpoint, phase }: SharedDatabase, nowMs: number): Action[] {
  if (checkpoint === null) return [];
  const { mode, everyMs } = checkpoint;
  const act = (): number => {
    const connection = new Database(path, { readwrite: true, create: false });
    try {
      connection.run(`PRAGMA busy_timeout = ${CHECKPOINT_BUSY_MS}`);
      attempt("checkpoint", () => {
        const row = connection.query<{ busy: number }, []>(`PRAGMA wal_checkpoint(${mode})`).get();
        if (row?.busy === 1) counts.blocked++;
      });
    } finally {
      connection.close();
    }
    return everyMs;
  };
  return [{ dueMs: nowMs + everyMs * phase, act }];
}

let isStopping = false;
process.on("SIGTERM", () => {
  isStopping = true;
});
const { databases, checkpointed, seed } = JSON.parse(
  readFileSync(process.argv[2] ?? "", "utf8"),
) as ShareOptions;
const random = seededRandom(seed);
const tenants = databases.map((plan) => new Tenant(plan, random));
const actions = [
  ...tenants.flatMap((tenant) => tenant.actions(performance.now())),
  ...checkpointed.flatMap((plan) => checkpointAction(plan, performance.now())),
];
console.log("ready");
while (!isStopping) {
  for (const action of actions) {
    if (isStopping || action.dueMs > performance.now()) continue;
    const waitMs = action.act();
    action.dueMs = performance.now() + waitMs;
    // Signals arrive only between two turns of the event loop.
    await new Promise((resolve) => setImmediate(resolve));
  }
  const nextMs = Math.min(...actions.map(({ dueMs }) => dueMs));
  await Bun.sleep(Math.max(0, Math.min(MAX_PAUSE_MS, nextMs - performance.now())));
}
for (const tenant of tenants) tenant.close();
console.log(JSON.stringify(counts));

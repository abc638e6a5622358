/**
 * One run: the watch of the databases of a plan, beside their application, a store, a disk and a clock that
 * all follow the seed. Everything that goes wrong by plan is healed at the end; then walrust has to catch up,
 * stop cleanly, and restore.
 *
 * A violation ends the run with a `Violation`, whose message names the invariant.
 */
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { stateFolderOf } from "../../src/local/state-folder.ts";
import { Histories, type Point } from "./oracle/history.ts";
import { LookFaults } from "./oracle/observed.ts";
import { checkRestores } from "./oracle/restores.ts";
import { look, simulateTimes } from "./seam/file-times.ts";
import { Crashed, setJudge } from "./seam/gate.ts";
import { closeAll, openNow } from "./seam/process-files.ts";
import { setSurroundings } from "./seam/surroundings.ts";
import { act, calm, meddle } from "./world/actions.ts";
import type { Application } from "./world/application.ts";
import { Bucket } from "./world/bucket.ts";
import { Chance } from "./world/chance.ts";
import { SimDatabase } from "./world/databases.ts";
import { cutDatabase, Disk } from "./world/disk.ts";
import { Interventions } from "./world/interventions.ts";
import { type Plan, planOf } from "./world/plan.ts";
import { SimProcess } from "./world/process.ts";
import { Scheduler, WORLD } from "./world/scheduler.ts";
import { type Spell, StoreFaults } from "./world/store-faults.ts";
import type { Trace } from "./world/trace.ts";

/** An invariant that does not hold. */
export class Violation extends Error {
  override readonly name = "Violation";
}

/** Facts of a run that went well. */
export interface RunReport {
  readonly plan: Plan;
  readonly events: number;
  readonly operations: number;
  readonly crashes: number;
  readonly points: number;
  readonly restores: number;
  /** Judged looks at everything that the processes show. */
  readonly looks: number;
}

/** After the last fault, this long on the clock of the run, everything has to be uploaded. */
const SETTLE_MS = 240_000;
const STOP_MS = 120_000;
const STEPS_MAX = 400_000;
/** Mean time between two looks at the pages of the process. */
const LOOK_MEAN_MS = 1_500;
/** The chances of looks are another seed's: a look changes nothing for the rest of the run. */
const LOOK_SEEDS = 0x1_0000_0000;
const SPELLS: readonly Spell[] = ["away", "throttled", "slow", "refused"];

/** One run of the simulator. */
export class Simulation {
  readonly #chance: Chance;
  readonly #plan: Plan;
  readonly #scheduler: Scheduler;
  readonly #databases: SimDatabase[];
  readonly #histories: Histories;
  readonly #bucket: Bucket;
  readonly #faults: StoreFaults;
  readonly #disk: Disk;
  readonly #judge: Interventions;
  readonly #lookChance: Chance;
  readonly #lookFaults: LookFaults;
  #nextLookMs = 0;
  #lookCount = 0;
  #process: SimProcess | null = null;
  #violation: string | null = null;
  #bootId = 1;
  /** The crashed processes since the last power cut, and those before that one until the next start. */
  readonly #thisBoot: SimProcess[] = [];
  readonly #lastBoot: SimProcess[] = [];
  #crashCount = 0;
  #pointCount = 0;
  #isPowerCutDue = false;
  /** The database whose prefix another writer has taken; null: none. */
  #intruded: string | null = null;
  #hasYielded = false;
  /** Databases with deleted objects that no sync has proven since. */
  readonly #unproven = new Set<string>();
  /** Whether the plan's trouble is over. */
  #isHealed = false;

  constructor(
    seed: number,
    readonly folder: string,
    application: Application,
    readonly trace: Trace,
  ) {
    const chance = new Chance(seed);
    this.#chance = chance;
    this.#plan = planOf(seed, chance, folder);
    const plan = this.#plan;
    this.#lookChance = new Chance(seed + LOOK_SEEDS);
    this.#lookFaults = new LookFaults(this.#lookChance, plan.mayFailDisk);
    this.#scheduler = new Scheduler(chance.fork(), trace);
    this.#faults = new StoreFaults(chance.fork(), plan.store);
    this.#databases = plan.databases.map(
      (one) => new SimDatabase(one, application, trace, () => this.#process?.hints ?? null),
    );
    const isCommitted = (name: string, digest: string): boolean => this.#of(name).isCommitted(digest);
    const fail = (text: string): void => this.#fail(text);
    this.#histories = new Histories(isCommitted, fail, (name, point) => this.#reached(name, point));
    this.#bucket = new Bucket(this.#histories);
    this.#disk = new Disk(plan.databases.map(({ path }) => stateFolderOf(path).folder));
    this.#judge = new Interventions(plan, chance.fork(), this.#scheduler, () => this.#actSomewhere());
  }

  /** Runs everything. @throws Violation */
  async run(): Promise<RunReport> {
    const { seed, profile, databases } = this.#plan;
    this.trace.add(`seed ${seed}: ${profile}, ${databases.length} databases`);
    this.trace.note(() => JSON.stringify(this.#plan, null, 1));
    simulateTimes(this.folder, () => this.#scheduler.wallMs);
    for (const database of this.#databases) {
      mkdirSync(dirname(database.path), { recursive: true, mode: 0o700 });
      database.create();
    }
    setJudge(this.#judge);
    setSurroundings(this.#surroundings());
    try {
      this.#start();
      this.#planTrouble();
      this.#runUntil(() => this.#scheduler.nowMs >= this.#plan.durationMs, "the end of the plan");
      this.#heal();
      this.#settle();
      this.#stop();
      const restores = await this.#restore();
      const { eventCount: events } = this.#scheduler;
      const { count: operations } = this.#judge;
      const [crashes, points, looks] = [this.#crashCount, this.#pointCount, this.#lookCount];
      return { plan: this.#plan, events, operations, crashes, points, restores, looks };
    } finally {
      this.#judge.isDead = true;
      this.#process?.crash();
      setJudge(null);
      setSurroundings(null);
      closeAll();
    }
  }

  #of(name: string): SimDatabase {
    const found = this.#databases.find(({ plan }) => plan.name === name);
    if (found === undefined) throw new Error(`there is no database ${name}`);
    return found;
  }

  #fail(text: string): void {
    this.#violation ??= text;
  }

  #surroundings() {
    const judge = this.#judge;
    const bootIdOf = (): string => `boot-${this.#bootId}`;
    return {
      defer: (work: () => void) => {
        const owner = this.#process ?? WORLD;
        this.#scheduler.after(this.#chance.wait(1), "pool thread", owner, () => this.#guarded(work));
      },
      synced: (path: string) => this.#disk.synced(path),
      shortened: (_path: string, length: number) => judge.shortened(length),
      get bootId(): string {
        return bootIdOf();
      },
    };
  }

  #start(): void {
    const { config, databases, hasEvents } = this.#plan;
    this.#judge.revive();
    this.trace.add(`${this.#scheduler.nowMs.toFixed(2)} walrust starts`);
    for (const process of this.#lastBoot.splice(0)) process.hasNoRequests = true;
    this.#guarded(() => {
      this.#process = new SimProcess({
        scheduler: this.#scheduler,
        chance: this.#chance.fork(),
        bucket: this.#bucket,
        faults: this.#faults,
        config,
        databases,
        hasEvents,
        onLine: (level, message, database) => {
          if (level !== "debug") this.trace.add(`  ${level} ${database ?? ""}: ${this.#timeless(message)}`);
          else this.trace.note(() => `  debug ${database ?? ""}: ${message}`);
          if (/another writer/.test(message) && !this.#plan.mayCutPower && database !== this.#intruded)
            this.#fail(`a false alarm about another writer: ${message}`);
        },
        onEvent: (event) => {
          this.trace.note(() => `  event ${JSON.stringify(event)}`);
          // Other reasons set a database aside, and it is tried again.
          const isStopped = event.event === "stopped" && event.code === "foreign-writer";
          if (isStopped) this.#stopped(event.database, event.message);
          if (event.event === "re-anchored") this.#reanchored(event.database, event.reason);
        },
        onBlocked: () => this.#judge.blocked(),
      });
    });
    this.#scheduler.settle();
  }

  /** Paths, writers and digests of one run are not those of the next. */
  #timeless(message: string): string {
    const own = message.replaceAll(this.folder, "").replaceAll(dirname(this.folder), "");
    return own.replace(/[0-9a-f]{16,}/g, "…");
  }

  /** Runs code of walrust outside a promise. */
  #guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof Crashed)) throw error;
    }
  }

  #runUntil(isDone: () => boolean, what: string): void {
    for (let steps = 0; !isDone(); steps++) {
      if (steps > STEPS_MAX) throw new Violation(`${what} did not come within ${STEPS_MAX} events`);
      this.#guarded(() => {
        if (!this.#scheduler.step()) throw new Violation(`nothing is left to do before ${what}`);
      });
      this.#check();
      if (this.#judge.isDead) this.#crashed();
      else if (this.#scheduler.nowMs >= this.#nextLookMs) this.#look();
    }
  }

  /** Looks at everything that the process shows, between two events. */
  #look(): void {
    this.#nextLookMs = this.#scheduler.nowMs + this.#lookChance.wait(LOOK_MEAN_MS);
    const process = this.#process;
    if (process === null) return;
    setJudge(this.#lookFaults);
    try {
      const newestTxid = (name: string): number => this.#histories.of(name).head?.txid ?? 0;
      const { faults, text } = process.look(newestTxid);
      this.#lookCount++;
      this.trace.add(`  seen: ${text}`);
      if (faults.length > 0) throw new Violation(`what is shown is wrong: ${faults.join("; ")}`);
    } catch (error) {
      if (error instanceof Violation) throw error;
      throw new Violation(`a page fails: ${error instanceof Error ? error.stack : String(error)}`);
    } finally {
      setJudge(this.#judge);
    }
  }

  #check(): void {
    if (this.#violation !== null) throw new Violation(this.#violation);
    const { process } = this.#state();
    if (process?.failure) throw new Violation(`the watch ended with ${String(process.failure)}`);
  }

  #state(): { readonly process: SimProcess | null } {
    return { process: this.#process };
  }

  /** The process is dead: cuts the power if that is due, and starts the next one after a while. */
  #crashed(): void {
    this.#crashCount++;
    this.#process?.crash();
    if (this.#process !== null) this.#thisBoot.push(this.#process);
    this.#process = null;
    setJudge(null);
    if (this.#isPowerCutDue) this.#cutPower();
    setJudge(this.#judge);
    const pauseMs = this.#isHealed ? 0 : this.#chance.of([0, 50, 1_000]);
    // Nobody calls an operation before the start.
    this.#judge.isDead = false;
    this.#scheduler.after(pauseMs, "start", WORLD, () => this.#start());
  }

  #cutPower(): void {
    this.#isPowerCutDue = false;
    this.#bootId++;
    this.#lastBoot.push(...this.#thisBoot.splice(0));
    this.trace.add("  the power is cut");
    for (const database of this.#databases) {
      database.kill();
      const { path, plan } = database;
      const lost = cutDatabase(path, plan.isFullySynced, this.#chance);
      this.trace.add(`  ${plan.name} loses ${lost}`);
    }
    for (const line of this.#disk.cut(this.#chance)) this.trace.add(`  ${this.#timeless(line)}`);
    for (const database of this.#databases) {
      database.reread();
      look(database.path);
    }
  }

  #actSomewhere(): void {
    const database = this.#chance.of(this.#databases);
    if (!this.#isHealed) act(database, this.#chance, this.#plan.profile !== "clean");
  }

  /** Lets the world act from time to time until the plan is over. */
  #planTrouble(): void {
    const { actionMeanMs, mayMeddle, mayCutPower, mayCrash, hasIntruder, durationMs, hasSyncs } = this.#plan;
    const { mayLoseObjects } = this.#plan;
    const repeat = (label: string, meanMs: number, run: () => void): void => {
      const next = (): void => {
        this.#scheduler.after(this.#chance.wait(meanMs), label, WORLD, () => {
          if (this.#isHealed) return;
          run();
          next();
        });
      };
      next();
    };
    repeat("application", actionMeanMs, () => this.#actSomewhere());
    repeat("spell", 4_000, () => {
      this.#faults.spell = this.#chance.is(0.5) ? "none" : this.#chance.of(SPELLS);
      this.trace.add(`  the store is ${this.#faults.spell}`);
    });
    repeat("wall clock", 8_000, () => this.#jump());
    repeat("write back", 3_000, () => this.#disk.writeBack());
    if (hasSyncs) repeat("sync", 700, () => this.#sync(this.#chance.of(this.#databases)));
    if (mayLoseObjects) repeat("loss", 3_000, () => this.#lose());
    if (hasIntruder) this.#scheduler.after(durationMs / 2, "intruder", WORLD, () => this.#intrude());
    if (mayMeddle) repeat("meddling", 1_500, () => meddle(this.#chance.of(this.#databases), this.#chance));
    if (mayCrash) repeat("kill", 6_000, () => this.#kill());
    if (mayCutPower)
      repeat("power cut", 3_000, () => {
        this.#isPowerCutDue = true;
        this.#kill();
      });
  }

  /** Demands of a sync that the bucket has everything that was committed before. */
  #sync(database: SimDatabase): void {
    const { name } = database.plan;
    // Nobody knows what a database stands for whose files were changed and not read since.
    if (database.isUnread) return;
    const { registrations } = database;
    const history = this.#histories.of(name);
    const { lostCount } = history;
    this.trace.add(`  sync of ${name} at ${database.digest}`);
    this.#process?.sync(name, this.#chance.of([500, 5_000]), () => {
      const { head } = history;
      this.trace.add(`  ${name} is synced`);
      if (!database.isSince(head?.committed ?? null, registrations))
        this.#fail(`${name} was called synced, and the bucket is at TXID ${head?.txid} ${head?.digest}`);
      // Objects that were deleted while the sync ran may be deleted after its listing.
      if (history.lostCount !== lostCount) return;
      if (history.isReachable(head?.txid ?? 0)) this.#unproven.delete(name);
      else this.#fail(`${name} was called synced, and the bucket does not lead to TXID ${head?.txid}`);
    });
  }

  /** Somebody deletes all objects of a database, or some of them. */
  #lose(): void {
    const { name } = this.#chance.of(this.#databases).plan;
    // The first snapshot is a link of the chain: a database that has nothing else puts it a second time.
    if ((this.#histories.of(name).head?.txid ?? 0) < 2) return;
    const share = this.#chance.of([1, 1, 0.5, 0.1]);
    const keys = this.#bucket.keys(`${name}/`, Number.POSITIVE_INFINITY);
    const lost = keys.filter((key) => key.endsWith(".ltx") && this.#chance.is(share));
    for (const key of lost) this.#bucket.lose(key);
    this.#unproven.add(name);
    this.trace.add(`  somebody deletes ${lost.length} of ${keys.length} objects of ${name}`);
  }

  /** Another writer puts its object where the next one of a database would go. */
  #intrude(): void {
    const { name } = this.#plan.databases[0]!;
    const head = this.#histories.of(name).head?.txid ?? 0;
    if (head === 0) return;
    this.#intruded = name;
    const txid = (head + 1).toString(16).padStart(16, "0");
    const metadata = { sha256: "0".repeat(64), "walrust-writer": "f".repeat(32), chain: "0".repeat(64) };
    const object = { bytes: new Uint8Array(200), metadata, modifiedMs: Math.floor(this.#scheduler.wallMs) };
    // Past the observer: the judge of the history knows one writer only.
    this.#bucket.objects.set(`${name}/0000/${txid}-${txid}.ltx`, object);
    this.trace.add(`  another writer takes ${name} at TXID ${head + 1}`);
  }

  #stopped(name: string, message: string): void {
    if (name === this.#intruded) this.#hasYielded = true;
    else this.#fail(`${name} was stopped: ${message}`);
  }

  #jump(): void {
    const offsetMs = this.#chance.of([-3_600_000, -5_000, 5_000, 60_000]);
    this.#scheduler.jump(offsetMs);
    this.trace.add(`  the wall clock jumps by ${offsetMs} ms`);
  }

  #kill(): void {
    if (this.#process !== null) this.#judge.isDead = true;
  }

  /** A state that the store accepted. */
  #reached(name: string, point: Point): void {
    this.#pointCount++;
    const kind = point.isFull ? "full" : "increment";
    this.trace.add(
      `  ${name} reaches TXID ${point.txid} (${kind}, ${point.changedCount} pages) ${point.digest}`,
    );
  }

  /**
   * Without crashes, faults of the disk and meddling, nothing may break a history. A crash of the process
   * alone loses no file that it has written.
   */
  #reanchored(name: string, reason: string): void {
    this.trace.add(`  ${name} is anchored anew: ${this.#timeless(reason)}`);
    // The pin is released where it would hurt the application: with a short limit of the WAL, often.
    const isExpected =
      reason === "a new history begins" || /^the pin was released|the spool was full/.test(reason);
    const isLoss = /^(captured files are|the local state is) lost/.test(reason);
    const { profile } = this.#plan;
    if (profile === "clean" ? !isExpected : profile === "crash" && isLoss) {
      this.#fail(`${name} was anchored anew: ${reason}`);
    }
  }

  #heal(): void {
    this.#isHealed = true;
    this.#faults.isEnabled = false;
    this.#judge.isEnabled = false;
    this.trace.add("all trouble is over");
    const calmAll = (): void => {
      for (const database of this.#databases) calm(database);
      if (this.#databases.some(({ isUnread }) => isUnread))
        this.#scheduler.after(500, "calm", WORLD, calmAll);
    };
    calmAll();
    // The daily check would find the deleted objects much later.
    const prove = (): void => {
      for (const database of this.#databases)
        if (this.#unproven.has(database.plan.name)) this.#sync(database);
      if (this.#unproven.size > 0) this.#scheduler.after(6_000, "sync", WORLD, prove);
    };
    prove();
  }

  /** Everything committed has to get into the bucket. */
  #settle(): void {
    const deadlineMs = this.#scheduler.nowMs + SETTLE_MS;
    const behind = (): SimDatabase | undefined =>
      this.#databases.find((database) => this.#isBehind(database));
    this.#runUntil(() => behind() === undefined || this.#scheduler.nowMs > deadlineMs, "the last upload");
    const left = behind();
    if (left === undefined) return;
    const status = this.#process?.statuses.find(({ database }) => database === left.plan.name);
    const head = this.#histories.of(left.plan.name).head;
    throw new Violation(
      `${left.plan.name} is at ${left.digest}, the bucket at TXID ${head?.txid} ${head?.digest} after ` +
        `${SETTLE_MS / 1000} s without trouble: ${JSON.stringify(status)}`,
    );
  }

  #isBehind({ plan, digest, isUnread }: SimDatabase): boolean {
    // Another writer is met by the next upload, and not sooner.
    if (plan.name === this.#intruded && this.#hasYielded) return false;
    const { head } = this.#histories.of(plan.name);
    const status = this.#process?.statuses.find(({ database }) => database === plan.name);
    const isWatched = status?.state === "watching" && status.pendingCount === 0;
    if (this.#unproven.has(plan.name)) return true;
    return isUnread || !isWatched || head?.committed !== digest || status.uploadedTxid !== head.txid;
  }

  #stop(): void {
    const process = this.#process;
    if (process === null) throw new Violation("no process runs at the end");
    const deadlineMs = this.#scheduler.nowMs + STOP_MS;
    process.stop();
    this.#scheduler.settle();
    this.#runUntil(() => process.result !== null || this.#scheduler.nowMs > deadlineMs, "the stop");
    if (process.result === null) throw new Violation("the watch does not stop");
    const { stopped, undrained, uncaptured } = process.result;
    const left = JSON.stringify({ stopped, undrained, uncaptured });
    const others = stopped.filter(({ database }) => database !== this.#intruded);
    if (others.length + undrained.length + uncaptured.length > 0) throw new Violation(`left behind: ${left}`);
    this.#scheduler.settle();
    const open = openNow();
    if (open.paths.length + open.connectionCount > 0) {
      throw new Violation(`the watch stopped and left open ${JSON.stringify(open)}`);
    }
  }

  async #restore(): Promise<number> {
    setJudge(null);
    setSurroundings(null);
    const folder = join(this.folder, "restored");
    if (!existsSync(folder)) mkdirSync(folder, { mode: 0o700 });
    const all = this.#databases.map(({ plan }) => plan.name);
    const names = all.filter((name) => name !== this.#intruded);
    const result = await checkRestores(names, this.#histories, this.#bucket, this.#chance, folder);
    rmSync(folder, { recursive: true });
    if (result.violation !== null) throw new Violation(result.violation);
    return result.count;
  }
}

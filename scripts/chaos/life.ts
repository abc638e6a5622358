/**
 * One life of a chaos run: a site whose watch, storage, line and machine fail by the plan of its seed.
 *
 * Invariants, checked in the calm at the end of each segment: the watch runs unless this file killed it;
 * every commit reaches the bucket in time (no silent stop); every restore has the bytes of its source and
 * every journalled commit; descriptors, memory and local files have not grown. The first broken one ends the
 * life.
 */
import { join } from "node:path";
import { sizeOfFolder } from "../measure/folders.ts";
import { planDatabases } from "../measure/journal/planned-databases.ts";
import { Site } from "../measure/journal/site.ts";
import { Observations } from "../measure/observed/observations.ts";
import { sampleProcess } from "../measure/proc.ts";
import { bucketDestination } from "../measure/storage/destination.ts";
import { FaultLine } from "../measure/storage/fault-line.ts";
import type { Store } from "../measure/storage/storage.ts";
import { WatchProcess } from "../measure/watch-process.ts";
import { assertAlive, describeLog, type Workspace } from "../measure/workspace.ts";
import type { Machine } from "./machine/machine.ts";
import { SmallDisk } from "./machine/small-disk.ts";
import { type Life, planSegments, type Segment, type Trouble, type WeatherSpell } from "./plan.ts";
import type { LifeResult } from "./report.ts";

/** Everything that a life needs from its caller. */
export interface LifeSurroundings {
  readonly workspace: Workspace;
  readonly binary: string;
  readonly store: Store;
  readonly machine: Machine;
  readonly databaseCount: number;
  /** The command that repeats the life. */
  readonly replay: string;
  /** Whether somebody observes each watch. */
  readonly isObserved: boolean;
  readonly report: (text: string) => void;
}

/** Upkeep comes often, and retries give up soon, so that a breaker opens and closes in a spell. */
const SECTIONS = {
  sync: {
    ...{ wal_sync_interval: 0.2, checkpoint_interval: 10, min_checkpoint_page_count: 300 },
    ...{ snapshot_interval: 20, compact_after_snapshot: true, shutdown_timeout: 60 },
  },
  cache: { retention: "30s", max_size: "60MB" },
  compaction: { levels: ["2s", "10s", "30s"] },
  retention: { hourly: 1, daily: 1, weekly: 0, monthly: 0 },
  retry: {
    ...{ max_retries: 3, base_delay_ms: 50, max_delay_ms: 1_000 },
    ...{ circuit_breaker_threshold: 3, circuit_breaker_cooldown_ms: 2_000 },
  },
};
const VACUUM_SHARE = 0.002;
const RECOVERY_WAIT_MS = 60_000;
const DRAIN_LIMIT_MS = 90_000;
const STEP_MS = 50;
/** Memory that the watch gets beyond the anonymous memory that it holds. */
const MEMORY_MARGIN_BYTES = 12 << 20;
/** Growth that no segment explains. */
const DESCRIPTORS_MARGIN = 25;
const RSS_MAX_BYTES = 400e6;
const LOCAL_MAX_BYTES = 40e6;
/** A shorter reading of the CPU time says little: its unit is 10 ms. */
const CPU_READING_MS = 1_000;

/** One life. */
export class ChaosLife {
  readonly #surroundings: LifeSurroundings;
  readonly #life: Life;
  readonly #line: FaultLine;
  readonly #site: Site;
  readonly #observations: Observations | null;
  #watch: WatchProcess | null = null;
  #disk: SmallDisk | null = null;
  #isMemoryLimited = false;
  #isTroubled = false;
  #firstDescriptorCount: number | null = null;
  readonly #faults: Record<string, number> = {};
  readonly #recoveriesMs: number[] = [];
  readonly #stormyRecoveriesMs: number[] = [];
  readonly #stormCpuShares: number[] = [];
  readonly #calmCpuShares: number[] = [];
  #memoryKillCount = 0;
  #checkCount = 0;
  #comparedCount = 0;
  readonly #warnings: string[] = [];

  private constructor(life: Life, surroundings: LifeSurroundings, line: FaultLine) {
    const { workspace, binary, machine, store, databaseCount, isObserved, report } = surroundings;
    this.#life = life;
    this.#surroundings = surroundings;
    this.#line = line;
    const label = `life-${life.seed}`;
    const nearUrl = `http://127.0.0.1:${store.port}`;
    this.#observations = isObserved ? new Observations((text) => report(`seed ${life.seed}: ${text}`)) : null;
    this.#site = new Site({
      ...{ workspace, binary, folder: join(workspace.folder, label), sections: SECTIONS },
      destination: bucketDestination(label, machine.urlOf(line.port), nearUrl),
      nearDestination: bucketDestination(label, nearUrl),
      databases: planDatabases(life.seed, databaseCount, VACUUM_SHARE),
      watchEnv: machine.watchEnv,
      observations: this.#observations,
    });
  }

  /** Makes the site of a life. */
  static async begin(life: Life, surroundings: LifeSurroundings): Promise<ChaosLife> {
    const line = await FaultLine.start(surroundings.store.port, life.seed);
    return new ChaosLife(life, surroundings, line);
  }

  /** Lives the life, to its end or to its first failure. */
  async run(): Promise<LifeResult> {
    const startMs = performance.now();
    const failures: string[] = [];
    try {
      await this.#live();
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error));
    } finally {
      this.#calm();
      this.#line.stop();
    }
    failures.push(...(this.#observations?.violations ?? []));
    return {
      ...{ seed: this.#life.seed, replay: this.#surroundings.replay, failures },
      livedMs: performance.now() - startMs,
      faults: this.#faults,
      hits: this.#line.counts.faults,
      ...{ recoveriesMs: this.#recoveriesMs, stormyRecoveriesMs: this.#stormyRecoveriesMs },
      ...{ stormCpuShares: this.#stormCpuShares, calmCpuShares: this.#calmCpuShares },
      ...{ memoryKillCount: this.#memoryKillCount, commitCount: this.#site.commitCount },
      ...{ checkCount: this.#checkCount, comparedCount: this.#comparedCount, warnings: this.#warnings },
      observed: this.#observations?.counts ?? null,
    };
  }

  /** Releases what outlives the processes of the life. Call when they have ended. */
  async end(): Promise<void> {
    await this.#disk?.unmount();
  }

  async #live(): Promise<void> {
    const { machine, report } = this.#surroundings;
    if (machine.hasDisk) {
      const disk = await SmallDisk.mount(this.#site.place("state"));
      if (typeof disk === "string") throw new Error(disk);
      this.#disk = disk;
    }
    const segments = planSegments(this.#life.seed, this.#life.durationMs);
    for (const [index, segment] of segments.entries()) {
      await this.#liveSegment(segment);
      report(`seed ${this.#life.seed}: segment ${index + 1} of ${segments.length}, all restores compared`);
      if (this.#observations?.isSound === false) return;
    }
  }

  async #liveSegment({ faultMs, spells, troubles }: Segment): Promise<void> {
    this.#startWatch();
    await this.#site.startWriters();
    await this.#running().recovered(this.#site.names, RECOVERY_WAIT_MS);
    const endMs = performance.now() + faultMs;
    await Promise.all([this.#passSpells(spells, endMs), this.#passTroubles(troubles, endMs)]);
    this.#calm();
    await this.#assertRunning();
    await this.#killInCalm();
    await this.#check();
  }

  #running(): WatchProcess {
    if (this.#watch === null) throw new Error("no watch runs");
    return this.#watch;
  }

  #startWatch(): void {
    const { machine, workspace } = this.#surroundings;
    this.#watch = new WatchProcess(workspace, this.#site.setup, machine.clock?.offsetMs ?? 0);
    machine.memory?.enter(this.#watch.child.pid);
  }

  #count(kind: string): void {
    this.#faults[kind] = (this.#faults[kind] ?? 0) + 1;
  }

  async #passSpells(spells: readonly WeatherSpell[], endMs: number): Promise<void> {
    for (const { kind, weather, pauseMs, durationMs } of spells) {
      await this.#readCpu(this.#calmCpuShares, () => pauseUntil(pauseMs, endMs));
      if (performance.now() >= endMs) return;
      this.#count(kind);
      this.#line.set(weather);
      const pass = (): Promise<void> => pauseUntil(durationMs, endMs);
      if (kind === "storm") await this.#readCpu(this.#stormCpuShares, pass);
      else await pass();
      this.#line.set(null);
    }
  }

  /** Reads the share of a core that the watch takes meanwhile, second by second, except in a trouble. */
  async #readCpu(shares: number[], action: () => Promise<void>): Promise<void> {
    let isOver = false;
    const acting = action().finally(() => {
      isOver = true;
    });
    while (!isOver) {
      const [watch, startMs, cpuMs] = [this.#watch, performance.now(), this.#cpuMsOrNull()];
      await Promise.race([acting, Bun.sleep(CPU_READING_MS)]);
      const tookMs = performance.now() - startMs;
      const afterMs = this.#watch === watch && tookMs >= CPU_READING_MS ? this.#cpuMsOrNull() : null;
      if (cpuMs !== null && afterMs !== null) shares.push((afterMs - cpuMs) / tookMs);
    }
    await acting;
  }

  /** CPU time of the watch; null while a trouble changes what the watch does. */
  #cpuMsOrNull(): number | null {
    if (this.#isTroubled) return null;
    try {
      return sampleProcess(this.#running().child.pid).cpuMs;
    } catch {
      return null;
    }
  }

  async #passTroubles(troubles: readonly Trouble[], endMs: number): Promise<void> {
    for (const trouble of troubles) {
      await pauseUntil(trouble.pauseMs, endMs);
      if (performance.now() >= endMs) return;
      this.#isTroubled = trouble.kind !== "clock";
      const isPossible = await this.#pass(trouble, endMs);
      this.#isTroubled = false;
      if (isPossible) this.#count(trouble.kind);
      await this.#assertRunning();
    }
  }

  /** @returns whether this machine permits the trouble */
  async #pass({ kind, durationMs, offsetMs }: Trouble, endMs: number): Promise<boolean> {
    const { machine, store } = this.#surroundings;
    const last = (): Promise<void> => pauseUntil(durationMs, endMs);
    switch (kind) {
      case "kill":
        await this.#kill(this.#stormyRecoveriesMs);
        await last();
        this.#startWatch();
        return true;
      case "suspend":
        this.#running().child.process.kill("SIGSTOP");
        await last();
        this.#running().child.process.kill("SIGCONT");
        return true;
      case "clock":
        machine.clock?.jump(offsetMs);
        return machine.clock !== null;
      case "memory":
        return this.#limitMemory(last);
      case "disk":
        this.#disk?.fill();
        if (this.#disk !== null) await last();
        this.#disk?.empty();
        return this.#disk !== null;
      case "store":
        if (store.restart === null) return false;
        await store.restart(last);
        return true;
      case "dns":
        if (machine.storeName === null) return false;
        machine.storeName.stop();
        this.#line.cutAll();
        await last();
        machine.storeName.start();
        return true;
    }
  }

  async #limitMemory(last: () => Promise<void>): Promise<boolean> {
    const { memory } = this.#surroundings.machine;
    if (memory === null) return false;
    memory.set(sampleProcess(this.#running().child.pid).anonymousBytes + MEMORY_MARGIN_BYTES);
    this.#isMemoryLimited = true;
    await last();
    await this.#assertRunning();
    memory.clear();
    this.#isMemoryLimited = false;
    return true;
  }

  /** Ends everything that may still fail. */
  #calm(): void {
    const { machine } = this.#surroundings;
    this.#line.set(null);
    machine.storeName?.start();
    machine.memory?.clear();
    this.#isMemoryLimited = false;
    this.#disk?.empty();
    this.#watch?.child.process.kill("SIGCONT");
  }

  /**
   * @throws Error when the watch has ended by itself. After a SIGKILL by the kernel under a limit of memory,
   * the watch starts again.
   */
  async #assertRunning(): Promise<void> {
    const { child } = this.#running();
    const { exitCode, signalCode } = child.process;
    if (exitCode === null && signalCode === null) return;
    if (signalCode !== "SIGKILL" || !this.#isMemoryLimited) {
      throw new Error(`DIED: the watch ended with ${signalCode ?? exitCode}; ${describeLog(child)}`);
    }
    this.#memoryKillCount++;
    this.#surroundings.machine.memory?.clear();
    this.#startWatch();
  }

  /** Kills the watch. @param recoveriesMs receives the recoveries that this process completed */
  async #kill(recoveriesMs: number[]): Promise<void> {
    const watch = this.#running();
    assertAlive(watch.child);
    recoveriesMs.push(...watch.recoveriesMs(this.#site.names).filter((recovery) => recovery !== null));
    await watch.kill();
  }

  async #killInCalm(): Promise<void> {
    await this.#kill(this.#stormyRecoveriesMs);
    this.#count("kill");
    this.#startWatch();
    this.#recoveriesMs.push(...(await this.#running().recovered(this.#site.names, RECOVERY_WAIT_MS)));
  }

  async #check(): Promise<void> {
    const watch = this.#running();
    await this.#site.stopWriters();
    await watch.drained(DRAIN_LIMIT_MS);
    this.#assertNotGrown(watch.child.pid);
    await watch.stop();
    this.#watch = null;
    this.#site.assertNothingUnfinished();
    const { restoredCount, failures, warnings } = await this.#site.compareAll();
    if (failures.length > 0)
      throw new Error(`${failures.join("; ")}; the watch: ${describeLog(watch.child)}`);
    this.#comparedCount += restoredCount;
    this.#warnings.push(...warnings.map((text) => `seed ${this.#life.seed}: ${text}`));
    this.#checkCount++;
  }

  /** @throws Error when a figure has grown beyond what a segment explains */
  #assertNotGrown(pid: number): void {
    const { descriptorCount, rssBytes } = sampleProcess(pid);
    const localBytes = sizeOfFolder(this.#site.place("state"), (path) => !/\/sent\//.test(path));
    this.#firstDescriptorCount ??= descriptorCount;
    const grown = [
      ...(descriptorCount > this.#firstDescriptorCount + DESCRIPTORS_MARGIN
        ? [`${descriptorCount} descriptors, ${this.#firstDescriptorCount} before`]
        : []),
      ...(rssBytes > RSS_MAX_BYTES ? [`${Math.round(rssBytes / 1e6)} MB of memory`] : []),
      ...(localBytes > LOCAL_MAX_BYTES ? [`${Math.round(localBytes / 1e6)} MB of local files`] : []),
    ];
    if (grown.length > 0) throw new Error(`GROWTH: ${grown.join(", ")}`);
  }
}

/** Waits for a time, but not beyond `endMs`. */
async function pauseUntil(durationMs: number, endMs: number): Promise<void> {
  const untilMs = Math.min(endMs, performance.now() + durationMs);
  while (performance.now() < untilMs) await Bun.sleep(Math.min(STEP_MS, untilMs - performance.now()));
}

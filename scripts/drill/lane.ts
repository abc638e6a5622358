/**
 * The drill of one destination: kills `watch` beside its writers, and compares everything at intervals.
 *
 * A kill never takes the writers' databases along. At a check, the writers stop, the watch uploads the rest
 * and ends by SIGTERM. Then every restore must have the bytes of its source, and every journalled commit; the
 * bucket must have no gap, and no snapshot more than before the kills.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { seededRandom } from "../measure/databases.ts";
import type { PlannedDatabase } from "../measure/journal/planned-databases.ts";
import { Site } from "../measure/journal/site.ts";
import { Observations } from "../measure/observed/observations.ts";
import { type Destination, historyFaultOrNull } from "../measure/storage/destination.ts";
import { WatchProcess } from "../measure/watch-process.ts";
import { assertAlive, type Child, type Workspace } from "../measure/workspace.ts";
import type { Kill } from "./plan.ts";
import type { LaneResult } from "./report.ts";
import { VerbDrill } from "./verbs.ts";

/** Everything that a lane needs from its caller. */
export interface LaneSurroundings {
  readonly workspace: Workspace;
  readonly binary: string;
  readonly destination: Destination;
  readonly databases: readonly PlannedDatabase[];
  readonly seed: number;
  readonly killsPerCheck: number;
  /** Whether somebody observes each watch. */
  readonly isObserved: boolean;
  readonly report: (text: string) => void;
}

/** A silent stop, not a slow start: the limit on the recovery itself is in report.ts. */
const RECOVERY_WAIT_MS = 60_000;
const DRAIN_LIMIT_MS = 120_000;
/** Kills of each verb at a check. */
const VERB_KILLS = 2;
const REPLICA_KILL_SHARE = 0.3;
/** Captures, checkpoints and merges come often; scheduled snapshots never. */
const SECTIONS = {
  sync: {
    ...{ wal_sync_interval: 0.1, checkpoint_interval: 10, min_checkpoint_page_count: 300 },
    ...{ snapshot_interval: 0, shutdown_timeout: 60 },
  },
  compaction: { levels: ["2s", "10s", "30s"] },
};

/** The drill of one destination. */
export class Lane {
  readonly #surroundings: LaneSurroundings;
  readonly #site: Site;
  readonly #observations: Observations | null;
  readonly #verbs: VerbDrill;
  readonly #random: () => number;
  readonly #snapshotCounts = new Map<string, number>();
  readonly #kills = { starting: 0, working: 0 };
  readonly #recoveriesMs: number[] = [];
  #writerKillCount = 0;
  #checkCount = 0;
  #comparedCount = 0;
  #objectCount = 0;
  #temporaryObjectCount = 0;
  #replica: Child | null = null;

  constructor(surroundings: LaneSurroundings) {
    const { workspace, binary, destination, databases, seed } = surroundings;
    this.#surroundings = surroundings;
    this.#random = seededRandom(seed ^ 0x1a4e);
    const folder = join(workspace.folder, destination.label);
    const { isObserved, report } = surroundings;
    this.#observations = isObserved ? new Observations((text) => report(`seed ${seed}: ${text}`)) : null;
    this.#site = new Site({
      ...{ workspace, binary, folder, destination, databases, sections: SECTIONS },
      observations: this.#observations,
    });
    mkdirSync(this.#site.place("replica"));
    this.#verbs = new VerbDrill({
      ...{ workspace, walrust: this.#site.walrust, bucket: destination.bucket, random: this.#random },
      ...{ stateFolder: this.#site.place("state"), tempFolder: this.#site.place("temp") },
    });
  }

  /** Runs the kills and the checks. Ends at the first failure, which is part of the result. */
  async run(kills: readonly Kill[]): Promise<LaneResult> {
    const failures: string[] = [];
    try {
      await this.#drill(kills);
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error));
    }
    failures.push(...(this.#observations?.violations ?? []));
    return {
      ...{ label: this.#surroundings.destination.label, kills: this.#kills, failures },
      ...{ writerKillCount: this.#writerKillCount, recoveriesMs: this.#recoveriesMs },
      commitCount: this.#site.commitCount,
      ...{ objectCount: this.#objectCount, checkCount: this.#checkCount, comparedCount: this.#comparedCount },
      verbs: this.#verbs.counts,
      temporaryObjectCount: this.#temporaryObjectCount,
      observed: this.#observations?.counts ?? null,
    };
  }

  async #drill(kills: readonly Kill[]): Promise<void> {
    const { workspace, killsPerCheck, report, destination } = this.#surroundings;
    let watch = new WatchProcess(workspace, this.#site.setup);
    await this.#site.startWriters();
    await watch.recovered(this.#site.names, RECOVERY_WAIT_MS);
    await this.#countSnapshots();
    this.#startReplica();
    let isAfterKill = false;
    for (const [index, kill] of kills.entries()) {
      await this.#kill(watch, kill, isAfterKill);
      isAfterKill = true;
      if (this.#observations?.isSound === false) return;
      watch = new WatchProcess(workspace, this.#site.setup);
      const isLast = index === kills.length - 1;
      if (!isLast && (index + 1) % killsPerCheck !== 0) continue;
      this.#recoveriesMs.push(...(await watch.recovered(this.#site.names, RECOVERY_WAIT_MS)));
      await this.#check(watch);
      report(`${destination.label}: ${index + 1} of ${kills.length} kills, all restores compared`);
      if (isLast) return;
      await this.#site.startWriters();
      this.#startReplica();
      watch = new WatchProcess(workspace, this.#site.setup);
      isAfterKill = false;
    }
  }

  #startReplica(): void {
    const { workspace } = this.#surroundings;
    const words = this.#verbs.replicaWords(this.#site.sources[0]!, this.#replicaPath());
    this.#replica = workspace.start("replica", { words, env: this.#site.setup.env });
  }

  #replicaPath(): string {
    return this.#site.place("replica/replica.db");
  }

  /** Kills the watch at the planned moment, and waits for the time without a watch. */
  async #kill(watch: WatchProcess, kill: Kill, isAfterKill: boolean): Promise<void> {
    if (kill.moment === "working") {
      const recoveriesMs = await watch.recovered(this.#site.names, RECOVERY_WAIT_MS);
      if (isAfterKill) this.#recoveriesMs.push(...recoveriesMs);
    }
    await Bun.sleep(kill.delayMs);
    for (const child of [watch.child, this.#replica]) if (child !== null) assertAlive(child);
    await watch.kill();
    this.#assertNoFullCopy(watch);
    this.#kills[kill.moment]++;
    if (kill.writerIndex !== null) {
      this.#writerKillCount++;
      await this.#site.writers[kill.writerIndex]!.killAndRestart();
    }
    if (this.#replica !== null && this.#random() < REPLICA_KILL_SHARE) {
      await this.#surroundings.workspace.kill(this.#replica);
      this.#startReplica();
    }
    await Bun.sleep(kill.downMs);
  }

  /** @throws Error when the log of a watch reports a copy of a whole database */
  #assertNoFullCopy(watch: WatchProcess): void {
    const [line] = watch.logLines(/re-anchored with \d+ pages \(full\)/);
    if (line !== undefined) throw new Error(`FULL COPY: ${line}`);
  }

  async #check(watch: WatchProcess): Promise<void> {
    const { workspace } = this.#surroundings;
    await this.#site.stopWriters();
    await watch.drained(DRAIN_LIMIT_MS);
    await watch.stop();
    this.#assertNoFullCopy(watch);
    this.#site.assertNothingUnfinished();
    if (this.#replica !== null) await workspace.kill(this.#replica);
    this.#replica = null;
    const { restoredCount, failures, warnings } = await this.#site.compareAll();
    if (failures.length > 0) throw new Error(failures.join("; "));
    this.#comparedCount += restoredCount;
    this.#temporaryObjectCount = Math.max(this.#temporaryObjectCount, warnings.length);
    await this.#assertHistories();
    await this.#verbs.compareReplica(this.#site.sources[0]!, this.#replicaPath());
    await this.#killVerbs();
    await this.#countSnapshots();
    this.#checkCount++;
  }

  async #countSnapshots(): Promise<void> {
    for (const name of this.#site.names) {
      this.#snapshotCounts.set(name, snapshotsIn(await this.#surroundings.destination.objects(name)));
    }
  }

  /** @throws Error when a kill led to a snapshot, or when level 0 has a gap */
  async #assertHistories(): Promise<void> {
    this.#objectCount = 0;
    for (const name of this.#site.names) {
      const objects = await this.#surroundings.destination.objects(name);
      this.#objectCount += objects.length;
      const fault = historyFaultOrNull(objects);
      if (fault !== null) throw new Error(`GAP: ${name}: ${fault}`);
      const [found, before] = [snapshotsIn(objects), this.#snapshotCounts.get(name)!];
      if (found > before) throw new Error(`FULL SNAPSHOT: ${name} has ${found} snapshots, ${before} before`);
    }
  }

  async #killVerbs(): Promise<void> {
    const source = this.#site.sources[this.#checkCount % this.#site.sources.length]!;
    const other = this.#site.sources[(this.#checkCount + 1) % this.#site.sources.length]!;
    await this.#verbs.killRestores(source, VERB_KILLS);
    await this.#verbs.killForcedRestores(source, other.path, VERB_KILLS);
    await this.#verbs.killSnapshots(source, VERB_KILLS);
    await this.#verbs.killCompactions(source, VERB_KILLS);
    await this.#verbs.killReplicas(source, VERB_KILLS);
  }
}

function snapshotsIn(objects: readonly { readonly level: number }[]): number {
  return objects.filter(({ level }) => level === 9).length;
}

/**
 * SIGKILLs of the verbs that end by themselves, and of `replicate`. After each kill, the same verb must work,
 * and its result must be right. The sources are settled, and no watch runs.
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { assertSame, firstDifference, settleDatabase } from "../measure/comparison.ts";
import type { SourceDatabase, Walrust } from "../measure/restores.ts";
import { verifyAll } from "../measure/restores.ts";
import { describeLog, type Workspace } from "../measure/workspace.ts";
import type { VerbCounts, VerbName } from "./report.ts";

/** Parts of the drill that the verbs need. */
export interface VerbSurroundings {
  readonly workspace: Workspace;
  readonly walrust: Walrust;
  /** URL of the destination. */
  readonly bucket: string;
  readonly stateFolder: string;
  /** Folder for temporary files of walrust. */
  readonly tempFolder: string;
  readonly random: () => number;
}

const RUN_LIMIT_MS = 120_000;
/** A kill comes up to this share of the time that an undisturbed run takes. */
const KILL_SHARE_MAX = 1.1;
/** Typical duration of a compaction of a small database, and of the start of a replica. */
const KILLED_COMPACTION_MS = 250;
const KILLED_REPLICA_MS = 1_200;

/** Kills verbs, and counts the kills. */
export class VerbDrill {
  readonly #surroundings: VerbSurroundings;
  readonly #counts = new Map<VerbName, { killed: number; finished: number }>();

  constructor(surroundings: VerbSurroundings) {
    this.#surroundings = surroundings;
  }

  get counts(): Record<VerbName, VerbCounts> {
    const of = (name: VerbName): VerbCounts => this.#counts.get(name) ?? { killed: 0, finished: 0 };
    return {
      restore: of("restore"),
      "restore --force": of("restore --force"),
      snapshot: of("snapshot"),
      compact: of("compact"),
      replicate: of("replicate"),
    };
  }

  /** Kills restores into an empty folder: the target is absent or whole, and the next restore works. */
  async killRestores(source: SourceDatabase, count: number): Promise<void> {
    await this.#inFolder("restore", async (folder) => {
      const target = join(folder, "restored.db");
      const wholeMs = await this.#restore(source, target);
      for (let round = 0; round < count; round++) {
        this.#clear(folder);
        await this.#killDuring("restore", this.#restoreWords(source, target), wholeMs);
        if (existsSync(target)) assertSame(source.path, target);
        await this.#restore(source, target, existsSync(target) ? ["--force"] : []);
        const isDraft = (name: string): boolean => /\.restore-[0-9a-f]+$/.test(name);
        assertEmpty("a restore", readdirSync(folder).filter(isDraft));
      }
    });
  }

  /**
   * Kills restores over an older file: the target is the old file or the whole new one, or the old file lies
   * beside it under the name that keeps it.
   */
  async killForcedRestores(source: SourceDatabase, old: string, count: number): Promise<void> {
    await this.#inFolder("restore-force", async (folder) => {
      const target = join(folder, "restored.db");
      const wholeMs = await this.#restore(source, target);
      for (let round = 0; round < count; round++) {
        this.#clear(folder);
        copyFileSync(old, target);
        await this.#killDuring(
          "restore --force",
          [...this.#restoreWords(source, target), "--force"],
          wholeMs,
        );
        const kept = readdirSync(folder).find((name) => name.startsWith("restored.db.pre-restore-"));
        const left = existsSync(target) ? target : kept === undefined ? null : join(folder, kept);
        if (left === null) throw new Error(`RESTORE LOST ITS TARGET: nothing is left in ${folder}`);
        if (firstDifference(old, left) !== null) assertSame(source.path, left);
        await this.#restore(source, target, existsSync(target) ? ["--force"] : []);
      }
    });
  }

  /** Kills snapshots: the bucket is sound, and the next snapshot works. */
  async killSnapshots(source: SourceDatabase, count: number): Promise<void> {
    const { walrust, stateFolder } = this.#surroundings;
    const words = [
      ...[walrust.binary, "snapshot", source.path, ...walrust.destination],
      ...["--state-dir", stateFolder],
    ];
    const wholeMs = await this.#run("snapshot", words);
    for (let round = 0; round < count; round++) {
      await this.#killDuring("snapshot", words, wholeMs);
      await this.#assertSound("snapshot");
      await this.#run("snapshot", words);
    }
    await this.#compareRestore("snapshot", source);
  }

  /** Kills compactions: the bucket is sound, and the next compaction works. */
  async killCompactions(source: SourceDatabase, count: number): Promise<void> {
    const { walrust, tempFolder } = this.#surroundings;
    const words = [walrust.binary, "compact", source.name, "--force", ...walrust.destination];
    for (let round = 0; round < count; round++) {
      await this.#killDuring("compact", words, KILLED_COMPACTION_MS);
      await this.#assertSound("compact");
      await this.#run("compact", words);
      assertEmpty("a compaction", readdirSync(tempFolder));
    }
    await this.#compareRestore("compact", source);
  }

  /** Kills replicas: the next `replicate --once` gives the bytes of the source. */
  async killReplicas(source: SourceDatabase, count: number): Promise<void> {
    await this.#inFolder("replica", async (folder) => {
      const local = join(folder, "replica.db");
      for (let round = 0; round < count; round++) {
        // Half of the rounds begin without a replica.
        if (this.#surroundings.random() < 0.5) this.#clear(folder);
        await this.#killDuring("replicate", this.replicaWords(source, local), KILLED_REPLICA_MS);
        await this.compareReplica(source, local);
      }
    });
  }

  /** The command that follows a database. */
  replicaWords(source: SourceDatabase, local: string): string[] {
    const { walrust, bucket } = this.#surroundings;
    const [, , ...endpoint] = walrust.destination;
    return [walrust.binary, "replicate", `${bucket}/${source.name}`, "--local", local, ...endpoint];
  }

  /** Brings a replica up to date, and compares a copy with the settled source. @throws Error */
  async compareReplica(source: SourceDatabase, local: string): Promise<void> {
    await this.#run("replicate", [...this.replicaWords(source, local), "--once"]);
    const copy = `${local}.copy`;
    for (const suffix of ["", "-wal"]) {
      if (existsSync(`${local}${suffix}`)) copyFileSync(`${local}${suffix}`, `${copy}${suffix}`);
    }
    settleDatabase(copy);
    assertSame(source.path, copy);
    for (const suffix of ["", "-wal", "-shm"]) rmSync(`${copy}${suffix}`, { force: true });
  }

  #restoreWords({ name }: SourceDatabase, target: string): string[] {
    const { walrust } = this.#surroundings;
    return [walrust.binary, "restore", name, "-o", target, ...walrust.destination];
  }

  /** Restores and compares. @returns the duration in ms */
  async #restore(source: SourceDatabase, target: string, more: readonly string[] = []): Promise<number> {
    const durationMs = await this.#run("restore", [...this.#restoreWords(source, target), ...more]);
    assertSame(source.path, target);
    return durationMs;
  }

  async #compareRestore(after: string, source: SourceDatabase): Promise<void> {
    await this.#inFolder(`after-${after}`, async (folder) => {
      await this.#restore(source, join(folder, "restored.db"));
    });
  }

  async #assertSound(verb: string): Promise<void> {
    const { workspace, walrust } = this.#surroundings;
    const { failures } = await verifyAll(workspace, walrust);
    if (failures.length > 0) throw new Error(`after a kill of ${verb}: ${failures.join("; ")}`);
  }

  /** Runs a command to its end. @returns the duration in ms @throws Error when it fails */
  async #run(label: string, words: readonly string[]): Promise<number> {
    const { workspace, walrust } = this.#surroundings;
    const startMs = performance.now();
    await workspace.finish(workspace.start(label, { words, env: walrust.env }), RUN_LIMIT_MS);
    return performance.now() - startMs;
  }

  /** Kills a command at a random moment. @throws Error when it fails before */
  async #killDuring(verb: VerbName, words: readonly string[], wholeMs: number): Promise<void> {
    const { workspace, walrust, random } = this.#surroundings;
    const child = workspace.start(basename(verb), { words, env: walrust.env });
    await Promise.race([child.process.exited, Bun.sleep(random() * KILL_SHARE_MAX * wholeMs)]);
    const { exitCode } = child.process;
    await workspace.kill(child);
    if (exitCode !== null && exitCode !== 0) {
      throw new Error(`${verb} ended with ${exitCode}; ${describeLog(child)}`);
    }
    const counts = this.#counts.get(verb) ?? { killed: 0, finished: 0 };
    counts[exitCode === null ? "killed" : "finished"]++;
    this.#counts.set(verb, counts);
  }

  async #inFolder(name: string, action: (folder: string) => Promise<void>): Promise<void> {
    const folder = join(this.#surroundings.workspace.folder, `verb-${name}`);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    await action(folder);
    rmSync(folder, { recursive: true, force: true });
  }

  #clear(folder: string): void {
    for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true, force: true });
  }
}

/** @throws Error when the run after a kill has not removed what the killed one left */
function assertEmpty(verb: string, names: readonly string[]): void {
  if (names.length > 0) throw new Error(`LEFT BEHIND: ${verb} left ${names.join(", ")}`);
}

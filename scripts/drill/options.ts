/**
 * Options of the drill: from words of the command line to checked settings. PURE, except that paths become
 * absolute.
 */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { parseNumber, parseWhole, SEED_MAX } from "../measure/options.ts";

/** Checked options. */
export interface Settings {
  /** SIGKILLs of `watch`, over all destinations. */
  readonly killCount: number;
  readonly databaseCount: number;
  /** Kills between two comparisons of everything. */
  readonly killsPerCheck: number;
  readonly seed: number;
  /** A slower recovery fails the run. */
  readonly recoveryLimitMs: number;
  /** The walrust to run; null for a fresh build. */
  readonly binary: string | null;
  /** Folder that receives all files of a run that failed; null to remove them. */
  readonly keepPath: string | null;
  /** Whether the pages of each watch are asked for, and judged. */
  readonly isObserved: boolean;
}

const DEFAULT_KILLS = 200;
const KILLS_MAX = 100_000;
const DEFAULT_DATABASES = 4;
const DATABASES_MAX = 50;
/** Typical databases recover in a second; the rest is for a busy machine. */
const RECOVERY_SECONDS = 5;
const DEFAULT_KILLS_PER_CHECK = 20;

/**
 * Reads the words of the command line.
 * @param randomSeed the seed if the words name none
 * @throws Error for an unknown option or an impossible value
 */
export function parseSettings(words: readonly string[], randomSeed: number): Settings {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    args: [...words],
    options: {
      ...{
        kills: text,
        databases: text,
        "kills-per-check": text,
        seed: text,
        "recovery-secs": text,
        binary: text,
        keep: text,
        observed: { type: "boolean" },
      },
    },
  });
  return {
    killCount: parseWhole("kills", values.kills, DEFAULT_KILLS, 2, KILLS_MAX),
    databaseCount: parseWhole("databases", values.databases, DEFAULT_DATABASES, 1, DATABASES_MAX),
    killsPerCheck: parseWhole(
      "kills-per-check",
      values["kills-per-check"],
      DEFAULT_KILLS_PER_CHECK,
      1,
      KILLS_MAX,
    ),
    seed: parseWhole("seed", values.seed, randomSeed, 0, SEED_MAX),
    recoveryLimitMs: parseNumber("recovery-secs", values["recovery-secs"], RECOVERY_SECONDS, 0) * 1_000,
    binary: values.binary === undefined ? null : resolve(values.binary),
    keepPath: values.keep === undefined ? null : resolve(values.keep),
    isObserved: values.observed === true,
  };
}

/** The command that repeats a run with the same kills and the same load. */
export function replayLine(settings: Settings): string {
  const { killCount, databaseCount, killsPerCheck, seed, isObserved } = settings;
  return (
    `bun run drill --kills ${killCount} --databases ${databaseCount} ` +
    `--kills-per-check ${killsPerCheck} --seed ${seed}${isObserved ? " --observed" : ""}`
  );
}

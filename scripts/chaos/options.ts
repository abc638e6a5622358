/**
 * Options of the chaos run: from words of the command line to checked settings. PURE, except that paths
 * become absolute.
 */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { parseNumber, parseWhole, SEED_MAX } from "../measure/options.ts";

/** Checked options. */
export interface Settings {
  readonly durationMs: number;
  readonly databaseCount: number;
  readonly seed: number;
  /** A slower recovery in calm weather fails the run. */
  readonly recoveryLimitMs: number;
  /** The walrust to run; null for a fresh build. */
  readonly binary: string | null;
  /** Folder that receives all files of a life that failed; null to remove them. */
  readonly keepPath: string | null;
  /** Whether the pages of each watch are asked for, and judged. */
  readonly isObserved: boolean;
}

const DEFAULT_MINUTES = 10;
const MINUTES_MIN = 0.25;
const DEFAULT_DATABASES = 4;
const DATABASES_MAX = 50;
/** Typical databases recover in a second; the rest is for a busy machine. */
const RECOVERY_SECONDS = 5;

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
      ...{ minutes: text, databases: text, seed: text, "recovery-secs": text, binary: text, keep: text },
      observed: { type: "boolean" },
    },
  });
  return {
    durationMs: parseNumber("minutes", values.minutes, DEFAULT_MINUTES, MINUTES_MIN) * 60_000,
    databaseCount: parseWhole("databases", values.databases, DEFAULT_DATABASES, 1, DATABASES_MAX),
    seed: parseWhole("seed", values.seed, randomSeed, 0, SEED_MAX),
    recoveryLimitMs: parseNumber("recovery-secs", values["recovery-secs"], RECOVERY_SECONDS, 0) * 1_000,
    binary: values.binary === undefined ? null : resolve(values.binary),
    keepPath: values.keep === undefined ? null : resolve(values.keep),
    isObserved: values.observed === true,
  };
}

/** The command that repeats one life with the same faults and the same load. */
export function replayLine({
  durationMs,
  databaseCount,
  seed,
  isObserved,
}: Pick<Settings, "durationMs" | "databaseCount" | "seed" | "isObserved">): string {
  return (
    `bun run chaos --minutes ${durationMs / 60_000} --databases ${databaseCount} ` +
    `--seed ${seed}${isObserved ? " --observed" : ""}`
  );
}

/**
 * Options of the soak: from words of the command line to checked settings. PURE, except that paths become
 * absolute.
 */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { parseNumber, parseWhole, SEED_MAX } from "../measure/options.ts";

/** Checked options. */
export interface Settings {
  readonly durationMs: number;
  readonly warmUpMs: number;
  readonly databaseCount: number;
  /** Seed of the load and of the faults. */
  readonly seed: number;
  /** The walrust to run; null for a fresh build. */
  readonly binary: string | null;
  readonly jsonPath: string | null;
  /** Whether the pages of the watch are asked for, and judged. */
  readonly isObserved: boolean;
}

const DEFAULT_MINUTES = 45;
const DEFAULT_WARM_UP_SECONDS = 60;
const DEFAULT_DATABASES = 50;
const DATABASES_MAX = 1_000;
/** A trend needs this much time after the warm-up. */
const JUDGED_MS_MIN = 60_000;

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
      ...{ minutes: text, "warmup-secs": text, seed: text, databases: text, binary: text, json: text },
      observed: { type: "boolean" },
    },
  });
  const minutes = parseNumber("minutes", values.minutes, DEFAULT_MINUTES, 0);
  const warmUpSeconds = parseNumber("warmup-secs", values["warmup-secs"], DEFAULT_WARM_UP_SECONDS, 0);
  const durationMs = minutes * 60_000;
  const warmUpMs = warmUpSeconds * 1_000;
  if (durationMs - warmUpMs < JUDGED_MS_MIN) {
    throw new Error(
      `--minutes ${minutes} is too short: a trend needs ${JUDGED_MS_MIN / 1000} s after the ` +
        `warm-up of ${warmUpSeconds} s`,
    );
  }
  return {
    ...{ durationMs, warmUpMs },
    databaseCount: parseWhole("databases", values.databases, DEFAULT_DATABASES, 1, DATABASES_MAX),
    seed: parseWhole("seed", values.seed, randomSeed, 0, SEED_MAX),
    binary: values.binary === undefined ? null : resolve(values.binary),
    jsonPath: values.json === undefined ? null : resolve(values.json),
    isObserved: values.observed === true,
  };
}

/** The command that repeats a run with the same load and the same faults. */
export function replayLine({ durationMs, warmUpMs, databaseCount, seed, isObserved }: Settings): string {
  return (
    `bun run soak --minutes ${durationMs / 60_000} --warmup-secs ${warmUpMs / 1_000} ` +
    `--databases ${databaseCount} --seed ${seed}${isObserved ? " --observed" : ""}`
  );
}

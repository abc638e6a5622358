/**
 * Plans the faults of the line to the storage. PURE: the same seed gives the same episodes.
 *
 * Each round holds every kind once, in an order of its own, with calm time between the episodes; only every
 * third round has an outage. The last seconds of a run are calm, so that the uploads catch up.
 */
import { seededRandom, shuffled } from "../measure/databases.ts";
import type { Episode, WeatherKind } from "../measure/storage/weather.ts";

const KINDS: readonly WeatherKind[] = ["errors", "resets", "latency", "stall", "outage"];
const ROUNDS_PER_OUTAGE = 3;
const FIRST_MS = 10_000;
const CALM_END_MS = 20_000;
const OUTAGE_MS = 30_000;
const EPISODE_MS = [4_000, 12_000] as const;
const PAUSE_MS = [8_000, 25_000] as const;

/** Plans the episodes of a run. */
export function planFaults(seed: number, durationMs: number): Episode[] {
  const random = seededRandom(seed ^ 0x5eed);
  const between = ([min, max]: readonly [number, number]): number => Math.round(min + random() * (max - min));
  const episodes: Episode[] = [];
  for (let startMs = FIRST_MS, round = 0; ; round++) {
    const kinds = KINDS.filter((kind) => kind !== "outage" || round % ROUNDS_PER_OUTAGE === 0);
    for (const kind of shuffled(kinds, random)) {
      const lengthMs = kind === "outage" ? OUTAGE_MS : between(EPISODE_MS);
      const endMs = startMs + lengthMs;
      if (endMs > durationMs - CALM_END_MS) return episodes;
      const share = 0.2 + random() * 0.6;
      const delayMs = kind === "latency" ? between([20, 200]) : 0;
      episodes.push({ kind, startMs, endMs, share, delayMs });
      startMs = endMs + between(PAUSE_MS);
    }
  }
}

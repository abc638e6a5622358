/**
 * Plans a chaos run. PURE: the same seed gives the same plan.
 *
 * A run is a row of lives, each with databases, a bucket and a seed of its own, so that a failure counts once
 * and one short command repeats it. A life is a row of segments. In a segment, weather on the line to the
 * storage and troubles of the machine follow each other independently; a calm comparison of everything ends
 * it.
 */
import { seededRandom, shuffled } from "../measure/databases.ts";
import type { Weather, WeatherKind } from "../measure/storage/weather.ts";

/** One life: the command line with this seed and duration repeats it. */
export interface Life {
  readonly seed: number;
  readonly durationMs: number;
}

/** Weather of the line for a time; "storm" refuses every request. */
export interface WeatherSpell {
  readonly kind: WeatherKind | "storm";
  readonly weather: Weather;
  /** Calm before the spell. */
  readonly pauseMs: number;
  readonly durationMs: number;
}

/**
 * - kill: SIGKILL of the watch, and a restart
 * - suspend: SIGSTOP, and SIGCONT after the duration
 * - clock: the wall clock jumps, and stays there until the next jump
 * - memory: the memory of the watch is limited to little more than it holds
 * - disk: the disk with walrust's local files is full
 * - store: the storage is killed, and restarted after the duration
 * - dns: the name of the storage does not resolve, and all connections are cut
 */
export type TroubleKind = "kill" | "suspend" | "clock" | "memory" | "disk" | "store" | "dns";

/** One trouble of the machine. */
export interface Trouble {
  readonly kind: TroubleKind;
  /** Time without trouble before this one. */
  readonly pauseMs: number;
  /** Time until the trouble ends; for a kill, the time without a watch. */
  readonly durationMs: number;
  /** For the clock: the offset from the true time. */
  readonly offsetMs: number;
}

/** One segment. The faults end after `faultMs`, whatever is left of the plan. */
export interface Segment {
  readonly faultMs: number;
  readonly spells: readonly WeatherSpell[];
  readonly troubles: readonly Trouble[];
}

const LIFE_MS = 5 * 60_000;
const SEGMENT_MS = 75_000;
/** Time of a segment for its comparison. */
const COMPARISON_MS = 15_000;
const FAULT_MS_MIN = 8_000;
const WEATHERS: readonly (WeatherKind | "storm")[] = [
  ...["errors", "throttling", "resets", "truncation", "skew", "latency", "stall", "outage", "storm"],
] as const;
const TROUBLES: readonly TroubleKind[] = ["kill", "suspend", "clock", "memory", "disk", "store", "dns"];
const MINUTE_MS = 60_000;
const CLOCK_JUMPS_MS = [
  ...[-24 * 60 * MINUTE_MS, -20 * MINUTE_MS, -30_000, 0],
  ...[30_000, 20 * MINUTE_MS, 24 * 60 * MINUTE_MS],
];

/** Cuts a run into lives. The first life has the seed of the run. */
export function planLives(seed: number, durationMs: number): Life[] {
  const count = Math.max(1, Math.round(durationMs / LIFE_MS));
  return Array.from({ length: count }, (_, index) => ({
    seed: seed + index,
    durationMs: Math.round(durationMs / count),
  }));
}

/** Plans the segments of a life. */
export function planSegments(seed: number, durationMs: number): Segment[] {
  const random = seededRandom(seed ^ 0xc4a05);
  const count = Math.max(1, Math.round(durationMs / SEGMENT_MS));
  const faultMs = Math.max(FAULT_MS_MIN, Math.round(durationMs / count - COMPARISON_MS));
  const nextWeather = dealer(WEATHERS, random);
  const nextTrouble = dealer(TROUBLES, random);
  return Array.from({ length: count }, () => ({
    faultMs,
    spells: until(faultMs, () => planSpell(nextWeather(), random)),
    troubles: until(faultMs, () => planTrouble(nextTrouble(), random)),
  }));
}

/** Deals all cards in a random order, then all cards again. */
function dealer<Card>(cards: readonly Card[], random: () => number): () => Card {
  let hand: Card[] = [];
  return () => {
    if (hand.length === 0) hand = shuffled(cards, random);
    return hand.pop()!;
  };
}

function until<Item extends { readonly pauseMs: number; readonly durationMs: number }>(
  limitMs: number,
  next: () => Item,
): Item[] {
  const items: Item[] = [];
  for (let atMs = 0; atMs < limitMs; ) {
    const item = next();
    items.push(item);
    atMs += item.pauseMs + item.durationMs;
  }
  return items;
}

function planSpell(kind: WeatherKind | "storm", random: () => number): WeatherSpell {
  const between = (min: number, max: number): number => Math.round(min + random() * (max - min));
  const share = kind === "storm" ? 1 : 0.2 + random() * 0.8;
  const delayMs = kind === "latency" ? between(20, 400) : 0;
  return {
    kind,
    weather: { kind: kind === "storm" ? "errors" : kind, share, delayMs },
    pauseMs: between(500, 4_000),
    durationMs: kind === "storm" ? 8_000 : between(2_000, 7_000),
  };
}

function planTrouble(kind: TroubleKind, random: () => number): Trouble {
  const between = (min: number, max: number): number => Math.round(min + random() * (max - min));
  const offsetMs = CLOCK_JUMPS_MS[Math.floor(random() * CLOCK_JUMPS_MS.length)]!;
  return {
    kind,
    pauseMs: between(500, 4_000),
    durationMs: kind === "kill" ? between(0, 1_000) : between(1_000, 6_000),
    offsetMs: kind === "clock" ? offsetMs : 0,
  };
}

/**
 * Resolves a point in time to a TXID: the latest, a given TXID, or the newest capture at or before a time.
 *
 * "Latest" is the newest TXID of the listing. If the manifest names a newer one, objects were deleted: an
 * integrity error, never a silently older state. A time is found by binary search in the LTX headers of the
 * points (capture times never decrease, except for captures that are ahead of the clock). The search passes
 * over damaged objects, unless they are among the first after the answer.
 */
import { hasCode, WalrustError } from "../../errors.ts";
import type { Txid } from "../../format/types.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import type { ManifestReading } from "../../storage/bucket/manifest.ts";
import { type Hole, holeOrNull, neighbours, newestTxid, plannableTxids } from "./restore-plan.ts";

/** The most captures in a row with a time in the future that a lookup by time skips. */
const AHEAD_POINTS_MAX = 64;
/** The most that two clocks may differ by. */
const AHEAD_MAX_MS = 24 * 3_600_000;

/** So many points after the one that was found have to be later than the requested time. */
const LATER_POINTS = 3;

const TXID_HINT = "Give a point as txid:N; `walrust list` shows the range";

/** A point in time, as a user gives it. */
export type PointInTime =
  | { readonly kind: "latest" }
  | { readonly kind: "txid"; readonly txid: Txid }
  | { readonly kind: "time"; readonly timeMs: number }
  /** A duration before now. */
  | { readonly kind: "ago"; readonly durationMs: number };

/** ISO 8601 with a zone, or a date alone (UTC). */
const ISO_TIME = /^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2}))?$/;

/** Seconds since 1970, with or without a fraction. */
const EPOCH = /^\d{9,11}(\.\d{1,9})?$/;
/** A duration ago: `-2h`, `-1h30m`; the sign is optional. */
const AGO = /^-?((\d{1,9}(\.\d{1,3})?)(w|d|h|m|s|ms))+$/;
const AGO_PART = /(\d+(?:\.\d+)?)(ms|w|d|h|m|s)/g;
const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;
const POINT_HINT =
  "Give a time with its zone such as 2026-03-01T12:00:00Z, a duration ago such as -2h, now, " +
  "seconds since 1970, or txid:N (decimal)";

/** Parses `--point-in-time`. @throws WalrustError code "usage" */
export function parsePointInTime(text: string | undefined): PointInTime {
  if (text === undefined || text === "latest" || text === "now") return { kind: "latest" };
  const txid = /^txid:(\d{1,16})$/.exec(text);
  if (txid) {
    const value = Number(txid[1]);
    if (value >= 1 && Number.isSafeInteger(value)) return { kind: "txid", txid: value as Txid };
  }
  if (EPOCH.test(text)) return { kind: "time", timeMs: Math.floor(Number(text) * 1000) };
  if (AGO.test(text)) return { kind: "ago", durationMs: durationOf(text) };
  const timeMs = ISO_TIME.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(timeMs) || !isCalendarDay(text.slice(0, 10))) {
    const isMilliseconds = /^\d{12,14}$/.test(text);
    throw new WalrustError("usage", `Cannot read --point-in-time ${JSON.stringify(text)}`, {
      hint: isMilliseconds ? "An epoch is in seconds, not in milliseconds" : POINT_HINT,
    });
  }
  return { kind: "time", timeMs };
}

function durationOf(text: string): number {
  let durationMs = 0;
  for (const [, amount, unit] of text.matchAll(AGO_PART)) {
    durationMs += Number(amount) * UNIT_MS[unit as keyof typeof UNIT_MS];
  }
  return durationMs;
}

/** Converts a duration ago to a fixed time. */
export function fixedPoint(point: PointInTime, nowMs: number): Exclude<PointInTime, { kind: "ago" }> {
  if (point.kind !== "ago") return point;
  return { kind: "time", timeMs: Math.max(0, Math.floor(nowMs - point.durationMs)) };
}

/** Whether a date exists: Date.parse takes 30 February for 2 March. */
function isCalendarDay(date: string): boolean {
  return new Date(`${date}T00:00:00Z`).toISOString().startsWith(date);
}

/**
 * Reads the capture time of an object. Throws WalrustError "corrupt" or "integrity" when the object is
 * damaged, or a storage code.
 */
export type ReadTime = (object: LtxObject) => Promise<number>;

/** The TXID to restore, and a notice for the user. */
export interface ResolvedTarget {
  readonly txid: Txid;
  readonly notice: string | null;
  /** The points around a requested time, by whose times the TXID was found; null for other requests. */
  readonly found: LtxObject | null;
  readonly next: LtxObject | null;
}

/**
 * Resolves a point in time against a listing.
 * @throws WalrustError code "restore" (no objects, out of range) or "integrity" (objects are missing)
 */
export async function resolveTarget(
  asked: PointInTime,
  objects: readonly LtxObject[],
  manifest: ManifestReading,
  readPointTime: ReadTime,
  nowMs: number,
): Promise<ResolvedTarget> {
  const point = fixedPoint(asked, nowMs);
  const newest = newestTxid(objects);
  // An explicit older point does not depend on objects that were deleted after it.
  const isNewest = point.kind === "latest" || newest === 0 || (point.kind === "txid" && point.txid > newest);
  if (isNewest) assertNothingDeleted(newest, manifest);
  if (newest === 0)
    throw new WalrustError(
      "restore",
      "There is nothing to restore: the bucket holds no object of this database",
    );
  if (point.kind === "latest") return { txid: newest, notice: null, found: null, next: null };
  if (point.kind === "txid") {
    return { txid: resolveTxid(point.txid, objects), notice: null, found: null, next: null };
  }
  const resolved = await resolveTime(point.timeMs, objects, readPointTime, nowMs);
  if (resolved.txid === newest) assertNothingDeleted(newest, manifest);
  return resolved;
}

function assertNothingDeleted(newest: Txid | 0, manifest: ManifestReading): void {
  if (manifest.kind !== "manifest") return;
  const { txid, time } = manifest.manifest.latest;
  if (txid <= newest) return;
  throw new WalrustError(
    "integrity",
    `The manifest names TXID ${txid} of ${time}, the newest object is ${newest}`,
    {
      hint: "Objects were deleted: recover them, or restore an older point with --point-in-time",
      context: { manifestTxid: txid, newestTxid: newest },
    },
  );
}

function resolveTxid(txid: Txid, objects: readonly LtxObject[]): Txid {
  if (objects.some((object) => object.maxTxid === txid)) return txid;
  const { below, above } = neighbours(objects, txid);
  const hint = `The nearest points are ${below === null ? "none before" : `txid:${below}`} and ${
    above === null ? "none after" : `txid:${above}`
  }`;
  const context = { txid, ...(below === null ? {} : { below }), ...(above === null ? {} : { above }) };
  const hole = holeOrNull(objects, txid);
  if (hole !== null) {
    throw new WalrustError("integrity", `TXID ${txid} is missing: no object holds ${formatHole(hole)}`, {
      hint: `${hint}; objects were deleted, see \`walrust verify\``,
      context,
    });
  }
  const bases = objects.filter(({ minTxid }) => minTxid === 1);
  const isMerged = objects.some(({ minTxid, maxTxid }) => minTxid <= txid && txid < maxTxid);
  const isOlder = !isMerged || (bases.length > 0 && bases.every(({ maxTxid }) => maxTxid > txid));
  const reason =
    txid > newestTxid(objects)
      ? "it is newer than the newest"
      : isOlder
        ? "it is older than the oldest"
        : "it was merged";
  throw new WalrustError("restore", `TXID ${txid} is not restorable: ${reason}`, { hint, context });
}

async function resolveTime(
  timeMs: number,
  objects: readonly LtxObject[],
  readPointTime: ReadTime,
  nowMs: number,
): Promise<ResolvedTarget> {
  if (timeMs > nowMs) {
    throw new WalrustError("restore", `${new Date(timeMs).toISOString()} is in the future`, {
      hint: "Leave out --point-in-time to restore the newest state",
    });
  }
  const points = pointsOf(objects);
  const times = new PointTimes(points, readPointTime);
  let low = 0;
  let high = points.length - 1;
  let found = -1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const present = await firstPresentOrNull(times, middle, high, nowMs);
    if (present !== null && (await times.atOrNull(present))! <= timeMs) {
      found = present;
      low = present + 1;
    } else high = middle - 1;
  }
  if (found === -1) throw times.firstDamage ?? (await beforeOldest(timeMs, objects, points, times));
  const { maxTxid: txid } = points[found]!;
  const next = points[found + 1] ?? null;
  if (next === null) {
    const notice = `the newest capture is of ${isoTime(await times.at(found))}; there are no later captures`;
    return { txid, notice, found: points[found]!, next };
  }
  assertNothingBetween(txid, timeMs, objects);
  for (let later = found + 1; later <= Math.min(found + LATER_POINTS, points.length - 1); later++) {
    if ((await times.at(later)) <= timeMs)
      throw contradictingTimes(points[later]!.key, points[later - 1]!.key);
  }
  return { txid, notice: await aheadNotice(times, found, nowMs), found: points[found]!, next };
}

/** An object of another history may have a time that misleads the search. */
function contradictingTimes(key: string, before: string): WalrustError {
  const message = `The times of the captures contradict each other: ${key} is earlier than ${before}`;
  return new WalrustError("integrity", message, { hint: TXID_HINT, context: { key } });
}

/** The error about a time before all captures. */
async function beforeOldest(
  timeMs: number,
  objects: readonly LtxObject[],
  points: readonly LtxObject[],
  times: PointTimes,
): Promise<WalrustError> {
  const [oldestTxid] = plannableTxids(objects);
  const index = points.findIndex(({ maxTxid }) => maxTxid === oldestTxid);
  const oldestMs = index === -1 ? null : await times.atOrNull(index);
  const oldest =
    oldestMs === null
      ? "no point is restorable"
      : `the oldest restorable point is txid:${oldestTxid} of ${isoTime(oldestMs)}`;
  return new WalrustError("restore", `${isoTime(timeMs)} is before the oldest capture`, {
    hint: `Nothing comes before; ${oldest}`,
  });
}

/**
 * The notice about captures after the found one whose times are wrong, or null.
 * @throws WalrustError code "integrity" when all later captures are far ahead of the clock: most of them were
 * made before the requested time
 */
async function aheadNotice(times: PointTimes, found: number, nowMs: number): Promise<string | null> {
  const { maxTxid: txid } = times.points[found]!;
  const nextMs = await times.at(found + 1);
  if (nextMs <= nowMs + AHEAD_MAX_MS) return null;
  const message = `the captures after TXID ${txid} have times in the future (${isoTime(nextMs)})`;
  const last = times.points.length - 1;
  const lastMs = await times.atOrNull(last);
  if (lastMs !== null && lastMs <= nowMs + AHEAD_MAX_MS) {
    return `${message}: the clock of that machine was wrong, and they may belong before the requested time`;
  }
  const { maxTxid: newest } = times.points[last]!;
  throw new WalrustError("integrity", `The requested capture cannot be told: ${message}`, {
    hint: `Give a point: txid:${txid} is the last before them, txid:${newest} the newest`,
    context: { txid },
  });
}

/** The capture that was asked for may be in a hole after the one that was found. */
function assertNothingBetween(found: Txid, timeMs: number, objects: readonly LtxObject[]): void {
  const hole = holeOrNull(objects, (found + 1) as Txid);
  if (hole === null) return;
  const message = `The newest capture at or before ${isoTime(timeMs)} may be missing`;
  throw new WalrustError("integrity", `${message}: no object holds ${formatHole(hole)}`, {
    hint: `The last point before the hole is txid:${found}; objects were deleted, see \`walrust verify\``,
    context: { firstTxid: hole.firstTxid, lastTxid: hole.lastTxid },
  });
}

function formatHole({ firstTxid, lastTxid }: Hole): string {
  return firstTxid === lastTxid ? `TXID ${firstTxid}` : `TXID ${firstTxid} to ${lastTxid}`;
}

/**
 * The first index from `from` to `last` whose time is known and not in the future, or null. After a capture
 * that is ahead of the clock, later captures may have right times again.
 */
async function firstPresentOrNull(
  times: PointTimes,
  from: number,
  last: number,
  nowMs: number,
): Promise<number | null> {
  const isPresent = async (index: number): Promise<boolean> => {
    const timeMs = await times.atOrNull(index);
    return timeMs !== null && timeMs <= nowMs;
  };
  for (let index = from; index <= Math.min(last, from + AHEAD_POINTS_MAX); index++) {
    if (await isPresent(index)) return index;
  }
  if (last <= from + AHEAD_POINTS_MAX || !(await isPresent(last))) return null;
  throw new WalrustError(
    "integrity",
    "The times of the captures contradict each other: many are in the future",
    { hint: TXID_HINT },
  );
}

function isoTime(timeMs: number): string {
  return new Date(timeMs).toISOString();
}

/** One object for each TXID at which an object ends, ascending. */
function pointsOf(objects: readonly LtxObject[]): LtxObject[] {
  const byTxid = new Map<number, LtxObject>();
  for (const object of objects) {
    const known = byTxid.get(object.maxTxid);
    if (known === undefined || object.level < known.level) byTxid.set(object.maxTxid, object);
  }
  return [...byTxid.values()].sort((a, b) => a.maxTxid - b.maxTxid);
}

/** The times of points, each read once. */
class PointTimes {
  readonly points: readonly LtxObject[];
  readonly #readTime: ReadTime;
  readonly #times = new Map<number, number>();
  readonly #damage = new Map<number, WalrustError>();

  constructor(points: readonly LtxObject[], readPointTime: ReadTime) {
    this.points = points;
    this.#readTime = readPointTime;
  }

  /** The first damage that the search has found, or null. */
  get firstDamage(): WalrustError | null {
    const [first = null] = this.#damage.values();
    return first;
  }

  /** The time of a point; null when its object is damaged. @throws WalrustError with a storage code */
  async atOrNull(index: number): Promise<number | null> {
    if (!this.#times.has(index) && !this.#damage.has(index)) await this.#read(index);
    return this.#times.get(index) ?? null;
  }

  /** The time of a point. @throws WalrustError "corrupt" or "integrity" when its object is damaged */
  async at(index: number): Promise<number> {
    const timeMs = await this.atOrNull(index);
    if (timeMs === null) throw this.#damage.get(index)!;
    return timeMs;
  }

  async #read(index: number): Promise<void> {
    try {
      this.#times.set(index, await this.#readTime(this.points[index]!));
    } catch (error) {
      if (!hasCode(error, "corrupt") && !hasCode(error, "integrity")) throw error;
      this.#damage.set(index, error);
    }
  }
}

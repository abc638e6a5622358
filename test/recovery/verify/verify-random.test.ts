/**
 * verify over random histories of all increments, snapshots, compactions, expiries and prunings that a watch
 * may make. It finds nothing in an undamaged history, and finds one random damage.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { SNAPSHOT_LEVEL } from "../../../src/format/keys.ts";
import { verifyDatabase } from "../../../src/recovery/verify/verify-database.ts";
import type { VerifyReport } from "../../../src/recovery/verify/verify-report.ts";
import type { LtxObject } from "../../../src/storage/bucket/catalog.ts";
import { cases } from "../../support/property-cases.ts";
import { History, verifyEnv } from "./verify-history.ts";

type Step =
  | { readonly kind: "increments"; readonly count: number }
  | { readonly kind: "snapshot" }
  | { readonly kind: "compact"; readonly level: number; readonly count: number }
  | { readonly kind: "expire"; readonly level: number; readonly count: number }
  | { readonly kind: "prune"; readonly kept: number }
  | { readonly kind: "manifest" };

const level = fc.integer({ min: 1, max: 3 });
const count = fc.integer({ min: 1, max: 6 });
const STEP: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("increments" as const), count }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("snapshot" as const) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("compact" as const), level, count }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("expire" as const), level, count }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("prune" as const), kept: fc.integer({ min: 1, max: 3 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("manifest" as const) }) },
);
const STEPS = fc.array(STEP, { minLength: 3, maxLength: 20 });

async function play(steps: readonly Step[], seed: number): Promise<History> {
  const history = await History.begin({ seed });
  for (const step of steps) await take(history, step);
  await history.manifest();
  return history;
}

async function take(history: History, step: Step): Promise<void> {
  switch (step.kind) {
    case "increments":
      return history.increments(step.count);
    case "snapshot":
      if ((await history.level(SNAPSHOT_LEVEL)).some(({ maxTxid }) => maxTxid === history.txid)) return;
      return history.snapshot();
    case "compact":
      return compact(history, step.level, step.count);
    case "expire":
      return expire(history, step.level, step.count);
    case "prune":
      return prune(history, step.kept);
    case "manifest":
      return history.manifest();
  }
}

/** Merges the next `count` objects of the level below. */
async function compact(history: History, level: number, count: number): Promise<void> {
  const covered = (await history.level(level)).at(-1)?.maxTxid ?? 0;
  const sources = (await history.level(level - 1)).filter(({ minTxid }) => minTxid > covered).slice(0, count);
  const isNext = covered === 0 || sources[0]?.minTxid === covered + 1;
  if (sources.length > 0 && isNext) await history.compact(level, sources);
}

/** Deletes the oldest `count` covered objects of the level below. */
async function expire(history: History, level: number, count: number): Promise<void> {
  const covered = await history.level(level);
  const isCovered = (object: LtxObject): boolean =>
    covered.some(({ minTxid, maxTxid }) => minTxid <= object.minTxid && object.maxTxid <= maxTxid);
  const expired = (await history.level(level - 1)).filter(isCovered).slice(0, count);
  await history.delete(...expired.map(({ key }) => key));
}

/** Keeps the newest `kept` snapshots, and the objects that end after the oldest of them. */
async function prune(history: History, kept: number): Promise<void> {
  const snapshots = await history.level(SNAPSHOT_LEVEL);
  const oldest = snapshots.at(-kept);
  if (oldest === undefined) return;
  const gone = (await history.objects()).filter((object) =>
    object.level === SNAPSHOT_LEVEL ? object.maxTxid < oldest.maxTxid : object.maxTxid <= oldest.maxTxid,
  );
  await history.delete(...gone.map(({ key }) => key));
}

function verify(history: History): Promise<VerifyReport> {
  return verifyDatabase(history.store, history.name, {}, verifyEnv());
}

/**
 * Whether objects still hold every TXID after the oldest snapshot, including the newest one of the manifest.
 */
function isWhole(objects: readonly LtxObject[], newest: number): boolean {
  const bases = objects.filter(({ level }) => level === SNAPSHOT_LEVEL).map(({ maxTxid }) => maxTxid);
  if (bases.length === 0) return false;
  for (let txid = Math.min(...bases) + 1; txid <= newest; txid++) {
    const isHeld = objects.some(
      ({ level, minTxid, maxTxid }) => level !== SNAPSHOT_LEVEL && minTxid <= txid && txid <= maxTxid,
    );
    if (!isHeld) return false;
  }
  return true;
}

test("verifyDatabase finds nothing in any legal history", async () => {
  await fc.assert(
    fc.asyncProperty(STEPS, fc.nat(1000), async (steps, seed) => {
      const report = await verify(await play(steps, seed));
      expect(report.findings).toEqual([]);
    }),
    cases(150),
  );
});

test("verifyDatabase reports a deleted object as an error if and only if a TXID is lost", async () => {
  await fc.assert(
    fc.asyncProperty(STEPS, fc.nat(1000), fc.nat(), async (steps, seed, pick) => {
      const history = await play(steps, seed);
      const objects = await history.objects();
      const victim = objects[pick % objects.length]!;
      await history.delete(victim.key);
      const left = objects.filter((object) => object !== victim);
      const report = await verify(history);
      if (!isWhole(left, history.txid)) expect(report.status).toBe("errors");
      // The manifest names every snapshot; any other object without an own TXID is not missed.
      else expect(report.status).toBe(victim.level === SNAPSHOT_LEVEL ? "warnings" : "ok");
    }),
    cases(150),
  );
});

type Damage = (history: History, object: LtxObject, byte: number) => Promise<void>;

const DAMAGE: Readonly<Record<string, Damage>> = {
  flip: (history, { key }, byte) =>
    history.edit(key, ({ bytes }) => {
      const damaged = bytes.slice();
      damaged[byte % bytes.length]! ^= 1 + (byte % 255);
      return { bytes: damaged };
    }),
  truncate: (history, { key }, byte) =>
    history.edit(key, ({ bytes }) => ({ bytes: bytes.slice(0, byte % bytes.length) })),
  lengthen: (history, { key }, byte) =>
    history.edit(key, ({ bytes }) => ({ bytes: new Uint8Array([...bytes, byte % 256]) })),
  time: (history, { key }, byte) =>
    history.edit(key, ({ metadata }) => ({
      metadata: { ...metadata, "litestream-timestamp": new Date(byte).toISOString() },
    })),
  sha256: (history, { key }, byte) =>
    history.edit(key, ({ metadata }) => ({
      metadata: { ...metadata, sha256: byte.toString(16).padStart(64, "0") },
    })),
  chain: (history, { key }) =>
    history.edit(key, ({ metadata }) => {
      const { chain: _, ...rest } = metadata;
      return { metadata: rest };
    }),
  misplace: async (history, { key, level, minTxid, maxTxid }) => {
    await history.write(history.key(level, minTxid, maxTxid + 1000), await history.read(key));
  },
};

test.each(Object.keys(DAMAGE))("verifyDatabase finds one damaged object anywhere: %s", async (kind) => {
  await fc.assert(
    fc.asyncProperty(STEPS, fc.nat(1000), fc.nat(), fc.nat(), async (steps, seed, pick, byte) => {
      const history = await play(steps, seed);
      const objects = await history.objects();
      await DAMAGE[kind]!(history, objects[pick % objects.length]!, byte);
      // Missing metadata contradicts nothing: the checksums of the object are valid.
      expect((await verify(history)).status).toBe(kind === "chain" ? "warnings" : "errors");
    }),
    cases(60),
  );
});

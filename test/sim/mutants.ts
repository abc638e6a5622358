/**
 * The mutants: faults planted into walrust's sources, which the simulator has to find. Each edit replaces one
 * exact text; `mutants.test.ts` fails when a text is not there exactly once any more.
 */
import type { Edit } from "./seam/seam-edits.ts";

/** A planted fault. */
export interface Mutant {
  readonly name: string;
  readonly edits: readonly Edit[];
}

/** All mutants. */
export const MUTANTS: readonly Mutant[] = [
  {
    name: "skip-salt-check",
    edits: [
      {
        file: "src/replication/capture/capture-plan.ts",
        from: "if (index.salt1 === wal.salt1 && index.salt2 === wal.salt2) return planSame",
        to: "if (index.salt1 !== -1) return planSame",
      },
    ],
  },
  {
    name: "position-before-spool",
    edits: [
      {
        file: "src/replication/capture/capture.ts",
        from: "    writeState(live.paths, next);\n",
        to:
          "    const spooled = readFileSync(file.path);\n" +
          "    writeFileSync(file.path, spooled.subarray(0, file.offset));\n" +
          "    writeState(live.paths, next);\n" +
          "    writeFileSync(file.path, spooled);\n",
      },
      {
        file: "src/replication/capture/capture.ts",
        from: 'import { fstatSync } from "node:fs";',
        to: 'import { fstatSync, readFileSync, writeFileSync } from "node:fs";',
      },
    ],
  },
  {
    name: "ignore-412",
    edits: [
      {
        file: "src/replication/upload/publish.ts",
        from: '  return isSame ? { kind: "published", key, timeMs }',
        to: '  return isSame || key !== "" ? { kind: "published", key, timeMs }',
      },
    ],
  },
  {
    name: "trust-manifest",
    edits: [
      {
        file: "src/replication/attach/adopt.ts",
        from: "  const newest = newestObjectOrNull(objects);\n",
        to:
          "  const marked = await readManifest(store, live.name);\n" +
          '  const end = marked.kind === "manifest" ? marked.manifest.latest.txid : Infinity;\n' +
          "  const newest = newestObjectOrNull(objects.filter(({ maxTxid }) => maxTxid <= end));\n",
      },
      {
        file: "src/replication/attach/adopt.ts",
        from: 'import { rmSync } from "node:fs";\n',
        to:
          'import { rmSync } from "node:fs";\n' +
          'import { readManifest } from "../../storage/bucket/manifest.ts";\n',
      },
    ],
  },
  {
    name: "pin-dropped-before-lock",
    edits: [
      {
        file: "src/database/checkpoint.ts",
        from: "  if (!takeWriteLock(pin,",
        to: "  pin.dropFreezeAndMark();\n  if (!takeWriteLock(pin,",
      },
    ],
  },
  {
    // While no watch ran, the WAL may have been restarted over frames that nobody captured.
    name: "trust-restart",
    edits: [
      {
        file: "src/replication/attach/attach.ts",
        from: "  live.mayRestart = isStillAtRest(state.file, live.pin);",
        to: "  live.mayRestart = state.file !== null || isStillAtRest(state.file, live.pin);",
      },
      {
        file: "src/replication/attach/attach.ts",
        from: "  if (isOther) live.pinLost =",
        to: "  if (isOther && state.txid < 0) live.pinLost =",
      },
    ],
  },
  {
    // The store may hold the first increment that waits: a merge would put its TXID a second time.
    name: "merge-what-was-sent",
    edits: [
      {
        file: "src/replication/upload/spool-merge.ts",
        from: "if (file.minTxid <= sentTxid || isTooLarge",
        to: "if (sentTxid < 0 || isTooLarge",
      },
    ],
  },
  {
    // The page sums decide which pages a difference holds.
    name: "stale-page-sums",
    edits: [
      {
        file: "src/replication/capture/capture.ts",
        from: "    sums.apply(state.commit, tail.commit, batch, state.pageSizeBytes);\n",
        to: "    if (txid % 3 !== 0) sums.apply(state.commit, tail.commit, batch, state.pageSizeBytes);\n",
      },
    ],
  },
  {
    // A sync ends as soon as everything is captured.
    name: "sync-before-upload",
    edits: [
      {
        file: "src/replication/requests/sync-request.ts",
        from: "isSettled && uploadedTxid >= this.#whole.txid",
        to: "isSettled && uploadedTxid >= 0",
      },
    ],
  },
  {
    // A sync ends although objects are missing in the bucket.
    name: "sync-without-listing",
    edits: [
      {
        file: "src/replication/requests/bucket-proof.ts",
        from: "if (problem === null) {",
        to: 'if (problem !== "") {',
      },
    ],
  },
  {
    // The increment after the oldest retained snapshot leads on to the next one.
    name: "retention-cuts-one-more",
    edits: [
      {
        file: "src/replication/upkeep/retention-plan.ts",
        from: "object.level !== SNAPSHOT_LEVEL && object.maxTxid <= oldest.txid",
        to: "object.level !== SNAPSHOT_LEVEL && object.minTxid <= oldest.txid + 1",
      },
    ],
  },
  {
    // A counter that a scrape sees fall.
    name: "bytes-of-last-upload",
    edits: [
      {
        file: "src/observability/database-counts.ts",
        from: "    this.uploadedBytes += bytes;\n",
        to: "    this.uploadedBytes = bytes;\n",
      },
    ],
  },
  {
    // Status and pages show captures as uploaded.
    name: "captured-shown-as-uploaded",
    edits: [
      {
        file: "src/replication/watch/watch-status.ts",
        from: "    uploadedTxid: provenTxidOf(captured, last, txid),\n",
        to: "    uploadedTxid: txid,\n",
      },
    ],
  },
  {
    // After a power cut the state calls captures uploaded that the bucket never had.
    name: "unchecked-shown-as-uploaded",
    edits: [
      {
        file: "src/replication/watch/watch-status.ts",
        from: "isBucketUnchecked === true ? Math.min(last.uploadedTxid, statedTxid) : statedTxid",
        to: "statedTxid",
      },
    ],
  },
];

/** The mutant with a name; null without a name. @throws Error when there is no such mutant */
export function findMutant(name: string | undefined): Mutant | null {
  if (name === undefined || name === "") return null;
  const found = MUTANTS.find((mutant) => mutant.name === name);
  if (found === undefined) throw new Error(`there is no mutant ${name}`);
  return found;
}

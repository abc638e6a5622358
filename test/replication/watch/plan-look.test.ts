/** planLook: named states with their next step, and invariants over every combination of facts. */
import { describe, expect, test } from "bun:test";
import {
  type LookAction,
  type LookFacts,
  planLook,
  planSeen,
  type SeenFacts,
} from "../../../src/replication/watch/plan-look.ts";

/** An attached database that only needs a poll of its WAL. */
const QUIET: LookFacts = {
  phase: "watching",
  isStopped: false,
  isGivenUp: false,
  isClosing: false,
  job: "none",
  isAttachSlow: false,
  setAside: "no",
  isAttached: true,
  file: "in-place",
  isWaiting: false,
  isSpoolFull: false,
  adoptReason: null,
  anchorReason: null,
  files: { kind: "unsuspected" },
  hasDetachedCaptures: false,
  hasPending: false,
  isPolled: false,
  isSnapshotDue: false,
  isLastCaptureTaken: false,
  isAwaited: false,
};

const DETACHED: Partial<LookFacts> = { isAttached: false };
const LEAVING: Partial<LookFacts> = { phase: "leaving" };
const ENDING: Partial<LookFacts> = { phase: "ending" };
const REPLACED: LookFacts["files"] = { kind: "replaced", reason: "its files were replaced" };

const ROWS: readonly (readonly [string, Partial<LookFacts>, LookAction["kind"], string?])[] = [
  ["attached and quiet", {}, "poll"],
  ["polled in this look", { isPolled: true }, "rest"],
  ["polled, and a snapshot is due", { isPolled: true, isSnapshotDue: true }, "snapshot"],
  [
    "a snapshot is due beside a broken history",
    { isPolled: true, isSnapshotDue: true, job: "reading", anchorReason: "a gap" },
    "rest",
  ],
  ["captures continue beside a reading job", { job: "reading" }, "poll"],
  ["nothing happens beside a blocking job", { job: "blocking" }, "rest"],
  ["an attach that does not end", { ...DETACHED, job: "blocking", isAttachSlow: true }, "report-slow-attach"],
  ["not attached", DETACHED, "attach"],
  ["set aside", { ...DETACHED, setAside: "waiting" }, "rest"],
  ["set aside, and due again", { ...DETACHED, setAside: "due" }, "attach"],
  ["stopped for good", { isStopped: true, isGivenUp: true }, "rest"],
  ["a glob's find whose file is missing", { file: "absent" }, "follow-deleted"],
  ["a missing file, and the wait after a failure", { file: "absent", isWaiting: true }, "send"],
  ["a missing file, and an anchor is due", { file: "absent", anchorReason: "a gap" }, "send"],
  ["a missing file beside a reading job", { file: "absent", job: "reading" }, "follow-deleted"],
  ["a missing file, and a bucket that contradicts", { file: "absent", adoptReason: "ahead" }, "rest"],
  ["a file missing before its attach", { ...DETACHED, file: "absent" }, "rest"],
  ["a file that is back", { file: "back" }, "reattach", "the database file was replaced"],
  ["a file that is back beside a reading job", { file: "back", job: "reading" }, "send"],
  ["the wait after a failure", { isWaiting: true }, "relieve"],
  ["the wait after a failure beside a reading job", { isWaiting: true, job: "reading" }, "rest"],
  ["the wait after a failed attach", { ...DETACHED, isWaiting: true }, "rest"],
  ["the wait, with captures of before", { ...DETACHED, isWaiting: true, hasDetachedCaptures: true }, "send"],
  ["the bucket contradicts", { adoptReason: "the bucket is ahead" }, "adopt", "the bucket is ahead"],
  [
    "the files are checked before adopting",
    { adoptReason: "ahead", files: { kind: "unchecked" } },
    "check-files",
  ],
  ["the files are replaced before adopting", { adoptReason: "ahead", files: REPLACED }, "reattach"],
  [
    "a mixture is judged before adopting",
    { adoptReason: "ahead", files: { kind: "mixed" } },
    "judge-mixture",
  ],
  ["adopting comes with sound files", { adoptReason: "ahead", files: { kind: "sound" } }, "adopt"],
  ["adopting comes before an anchor", { adoptReason: "ahead", anchorReason: "a gap" }, "adopt"],
  ["adopting waits for a reading job", { adoptReason: "ahead", job: "reading" }, "poll"],
  ["something failed", { files: { kind: "unchecked" } }, "check-files"],
  ["the files are replaced", { files: REPLACED }, "reattach", "its files were replaced"],
  ["the files are replaced, and an anchor is due", { files: REPLACED, anchorReason: "a gap" }, "reattach"],
  ["the file may not belong to its WAL", { files: { kind: "mixed" } }, "judge-mixture"],
  ["an anchor is due", { files: { kind: "sound" }, anchorReason: "a gap" }, "anchor", "a gap"],
  ["the spool is full", { isSpoolFull: true }, "release"],
  ["an anchor comes before the full spool", { isSpoolFull: true, anchorReason: "a gap" }, "anchor"],
  ["leaving: first the last capture", LEAVING, "last-capture", "the database is gone"],
  ["leaving: a job ends first", { ...LEAVING, job: "reading" }, "rest"],
  ["leaving: captured files wait", { ...LEAVING, isLastCaptureTaken: true, hasPending: true }, "send"],
  ["leaving: all is sent", { ...LEAVING, isLastCaptureTaken: true }, "leave", "nothing is left to send"],
  [
    "leaving: the bucket contradicts",
    { ...LEAVING, isLastCaptureTaken: true, hasPending: true, adoptReason: "ahead" },
    "leave",
  ],
  [
    "leaving: found again after the last capture",
    { ...LEAVING, isLastCaptureTaken: true, hasPending: true, isAwaited: true },
    "leave",
  ],
  ["leaving: given up", { ...LEAVING, isGivenUp: true, job: "blocking" }, "leave"],
  ["ending: first the last capture", ENDING, "last-capture", "the watch ends"],
  ["ending: captured files wait", { ...ENDING, isLastCaptureTaken: true, hasPending: true }, "send"],
  ["ending: the time for the drain is over", { ...ENDING, hasPending: true, isClosing: true }, "leave"],
  ["ending while waiting after a failure", { ...ENDING, isWaiting: true }, "last-capture"],
];

test.each(ROWS.map(([state, change, kind, reason = ""]) => [state, change, kind, reason] as const))(
  "planLook: %s",
  (_, change, kind, reason) => {
    const action = planLook({ ...QUIET, ...change });
    expect(action.kind).toBe(kind);
    if (reason !== "") expect(action.reason).toBe(reason);
  },
);

test("planLook sends without waits, and attaches once more, only when the watch ends", () => {
  const sent = { isLastCaptureTaken: true, hasPending: true };
  expect(planLook({ ...QUIET, ...LEAVING, ...sent })).toMatchObject({ isLastChance: false });
  expect(planLook({ ...QUIET, ...ENDING, ...sent })).toMatchObject({ isLastChance: true });
  expect(planLook({ ...QUIET, ...LEAVING })).toMatchObject({ mayAttach: false });
  expect(planLook({ ...QUIET, ...ENDING })).toMatchObject({ mayAttach: true });
});

const BOTH = [false, true] as const;
const VALUES: { readonly [Fact in keyof LookFacts]: readonly LookFacts[Fact][] } = {
  phase: ["watching", "leaving", "ending"],
  isStopped: BOTH,
  isGivenUp: BOTH,
  isClosing: BOTH,
  job: ["none", "reading", "blocking"],
  isAttachSlow: BOTH,
  setAside: ["no", "waiting", "due"],
  isAttached: BOTH,
  file: ["in-place", "absent", "back"],
  isWaiting: BOTH,
  isSpoolFull: BOTH,
  adoptReason: [null, "the bucket is ahead"],
  anchorReason: [null, "a gap"],
  files: [{ kind: "unsuspected" }, { kind: "unchecked" }, { kind: "sound" }, { kind: "mixed" }, REPLACED],
  hasDetachedCaptures: BOTH,
  hasPending: BOTH,
  isPolled: BOTH,
  isSnapshotDue: BOTH,
  isLastCaptureTaken: BOTH,
  isAwaited: BOTH,
};

/** Facts that only the other phases read. */
const WATCHING_ONLY = ["isStopped", "isAttachSlow", "setAside", "file", "isWaiting", "isSpoolFull"] as const;
const MORE_WATCHING_ONLY = [
  "files",
  "hasDetachedCaptures",
  "isPolled",
  "isSnapshotDue",
  "isAttached",
] as const;
const END_ONLY = ["isGivenUp", "isClosing", "hasPending", "isLastCaptureTaken", "isAwaited"] as const;

/** Calls `visit` with every combination of the facts that a phase reads. The record is reused. */
function forEachState(phase: LookFacts["phase"], visit: (facts: LookFacts) => void): void {
  const unread: readonly string[] =
    phase === "watching" ? END_ONLY : [...WATCHING_ONLY, ...MORE_WATCHING_ONLY];
  const names = (Object.keys(VALUES) as (keyof LookFacts)[]).filter(
    (name) => name !== "phase" && !unread.includes(name),
  );
  const facts: Record<string, unknown> = { ...QUIET, phase };
  const fill = (index: number): void => {
    const name = names[index];
    if (name === undefined) return visit(facts as unknown as LookFacts);
    for (const value of VALUES[name]) {
      facts[name] = value;
      fill(index + 1);
    }
  };
  fill(0);
}

/** The states of a phase whose step violates a rule, at most three. */
function violations(
  phase: LookFacts["phase"],
  isAllowed: (facts: LookFacts, action: LookAction) => boolean,
): unknown[] {
  const found: unknown[] = [];
  forEachState(phase, (facts) => {
    const action = planLook(facts);
    if (!isAllowed(facts, action) && found.length < 3) found.push({ ...facts, action });
  });
  return found;
}

const JOBS: readonly LookAction["kind"][] = [
  "attach",
  "reattach",
  "adopt",
  "judge-mixture",
  "anchor",
  "snapshot",
  "last-capture",
];
const READS: readonly LookAction["kind"][] = [
  "adopt",
  "check-files",
  "judge-mixture",
  "anchor",
  "relieve",
  "release",
  "poll",
  "snapshot",
];
const PHASES = ["watching", "leaving", "ending"] as const;

describe.each(PHASES)("planLook over all states while %s", (phase) => {
  test("follows a deleted file only while it is attached and nothing else is at its path", () => {
    const isAllowed = ({ isAttached, file }: LookFacts): boolean => isAttached && file === "absent";
    expect(violations(phase, (facts, { kind }) => kind !== "follow-deleted" || isAllowed(facts))).toEqual([]);
  });

  test("starts no job beside a job", () => {
    expect(violations(phase, ({ job }, { kind }) => job === "none" || !JOBS.includes(kind))).toEqual([]);
  });

  test("takes no step but report and leave beside a blocking job", () => {
    const allowed = ["rest", "report-slow-attach", "leave"];
    expect(violations(phase, ({ job }, { kind }) => job !== "blocking" || allowed.includes(kind))).toEqual(
      [],
    );
  });

  test("reads no database that is not attached, has stopped or is closing", () => {
    const isReadable = ({ isAttached, isStopped }: LookFacts): boolean => isAttached && !isStopped;
    expect(violations(phase, (facts, { kind }) => isReadable(facts) || !READS.includes(kind))).toEqual([]);
  });

  test("gives each step a reason", () => {
    expect(violations(phase, (_, { reason }) => reason.length > 0)).toEqual([]);
  });
});

describe("planLook over all states", () => {
  test("reads no files that are replaced or mixed", () => {
    const reads = ["poll", "anchor", "snapshot"];
    const isBad = ({ files, job }: LookFacts): boolean =>
      job === "none" && (files.kind === "mixed" || files.kind === "replaced" || files.kind === "unchecked");
    expect(violations("watching", (facts, { kind }) => !isBad(facts) || !reads.includes(kind))).toEqual([]);
  });

  test("captures nothing on a broken history while no job runs", () => {
    const isBroken = ({ anchorReason, job }: LookFacts): boolean => anchorReason !== null && job === "none";
    const captures = ["poll", "snapshot", "follow-deleted"];
    expect(violations("watching", (facts, { kind }) => !isBroken(facts) || !captures.includes(kind))).toEqual(
      [],
    );
  });

  test("retries nothing during the pause after a failure, except for a file that is back", () => {
    const allowed = ["rest", "relieve", "send", "report-slow-attach"];
    const isExempt = ({ isWaiting, setAside, file }: LookFacts): boolean =>
      !isWaiting || setAside === "due" || file === "back";
    expect(violations("watching", (facts, { kind }) => isExempt(facts) || allowed.includes(kind))).toEqual(
      [],
    );
  });

  test("ends a look with one poll and one check of the files", () => {
    const isOver = (facts: LookFacts, { kind }: LookAction): boolean =>
      !(kind === "poll" && facts.isPolled) && !(kind === "check-files" && facts.files.kind !== "unchecked");
    expect(violations("watching", isOver)).toEqual([]);
  });

  test("never leaves and takes no last capture while watching", () => {
    expect(violations("watching", (_, { kind }) => kind !== "leave" && kind !== "last-capture")).toEqual([]);
  });

  test.each(["leaving", "ending"] as const)(
    "%s ends: it sends only pending files, after one last capture",
    (phase) => {
      const isSound = (facts: LookFacts, { kind }: LookAction): boolean => {
        if (kind === "send")
          return facts.hasPending && facts.isLastCaptureTaken && facts.adoptReason === null;
        return kind === "last-capture" ? !facts.isLastCaptureTaken : kind === "rest" || kind === "leave";
      };
      expect(violations(phase, isSound)).toEqual([]);
    },
  );
});

const FOUND: SeenFacts = {
  isDiscovered: true,
  job: "none",
  isSetAside: false,
  isFileAbsent: false,
  isAttached: true,
  isBusy: false,
};

test.each([
  ["watched", {}, "nothing"],
  ["set aside", { isSetAside: true, isAttached: false }, "attach"],
  ["set aside, and an attach runs", { isSetAside: true, job: "blocking" }, "nothing"],
  ["named and set aside: it retries by itself", { isSetAside: true, isDiscovered: false }, "nothing"],
  ["found, and its file is missing", { isFileAbsent: true }, "report-absent"],
  ["held by an application", { isAttached: false, isBusy: true }, "report-busy"],
  ["attached and busy", { isBusy: true }, "nothing"],
] as const)("planSeen: %s", (_, change, expected) => {
  expect(planSeen({ ...FOUND, ...change })).toBe(expected);
});

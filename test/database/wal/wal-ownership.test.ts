/**
 * The decision whether a WAL belongs to the database file beside it. Each rule comes with facts that decide
 * it, and with similar facts that must not.
 */
import { expect, test } from "bun:test";
import type { FileVersion } from "../../../src/database/files/file-version.ts";
import type { WalClaims } from "../../../src/database/wal/wal-claims.ts";
import { judgeWal, type KnownFiles, type WalFacts } from "../../../src/database/wal/wal-ownership.ts";

function version(inode: string, bornNs: number, modifiedNs: number, changedNs = modifiedNs): FileVersion {
  return { inode, bornNs: `${bornNs}`, modifiedNs: `${modifiedNs}`, changedNs: `${changedNs}` };
}

const CLAIMS: WalClaims = {
  pageSizeBytes: 4096,
  salt1: 500,
  salt2: 7,
  isWhole: true,
  earlyCommits: { min: 10, max: 10 },
  firstPage: null,
};

const WAL = { version: version("2", 100, 300), sizeBytes: 8272, claims: CLAIMS };

/** A database whose application died after its last commit. */
const FACTS: WalFacts = {
  database: version("1", 50, 200),
  header: { pageSizeBytes: 4096, isWal: true, changeCounter: 20, pageCount: 10, isPageCountValid: true },
  wal: WAL,
  isDatabaseOpen: false,
  isShmOpen: false,
  known: null,
  content: "unknown",
  isFrameInFile: false,
  isReplica: false,
};

/** The remembered facts of the files in FACTS. */
const KNOWN: KnownFiles = {
  database: { inode: "1", bornNs: "50" },
  wal: { inode: "2", bornNs: "100" },
  salts: { salt1: 500, salt2: 7 },
};

/** Another database file at the path, beside the same WAL. */
const MOVED: WalFacts = { ...FACTS, known: { ...KNOWN, database: { inode: "9", bornNs: "9" } } };
/** The same file and WAL, written after the last commit. */
const WRITTEN: WalFacts = { ...FACTS, database: version("1", 50, 400), known: KNOWN };

function claims(more: Partial<WalClaims>): WalFacts {
  return { ...FACTS, wal: { ...WAL, claims: { ...CLAIMS, ...more } } };
}

const HELD = { isDatabaseOpen: true, isShmOpen: true };
const COUNTERS = { earlyCommits: null, firstPage: { firstCounter: 20, lastCounter: 22 } };
const NEW_GENERATION = { salt1: 9_999, salt2: 1 };

const CASES: readonly [string, WalFacts, "own" | "foreign" | "doubtful"][] = [
  ["no WAL", { ...FACTS, wal: null }, "own"],
  ["a WAL without a commit, of any file", { ...MOVED, wal: { ...WAL, claims: null } }, "own"],
  ["a WAL that an application left when it died", FACTS, "own"],
  ["files that an application has open", { ...FACTS, ...HELD }, "own"],

  ["a -shm in use by an application of another file", { ...FACTS, isShmOpen: true }, "foreign"],
  ["the same, with an empty WAL", { ...FACTS, isShmOpen: true, wal: null }, "foreign"],
  ["a database open under another name", { ...FACTS, isDatabaseOpen: true }, "doubtful"],

  ["the known generation below another file", MOVED, "foreign"],
  ["the same, though an application has opened both", { ...MOVED, ...HELD }, "foreign"],
  ["the same, with other pages", { ...MOVED, content: "other" }, "foreign"],
  ["the same, with the pages that the WAL was written for", { ...MOVED, content: "same" }, "doubtful"],
  ["the same, with nothing left to copy", { ...MOVED, content: "current" }, "own"],
  [
    "a database that was copied with its WAL",
    { ...MOVED, wal: { ...WAL, version: version("8", 250, 300) }, content: "same" },
    "own",
  ],
  [
    "a WAL that was copied, with another database",
    { ...MOVED, wal: { ...WAL, version: version("8", 250, 300) }, content: "other" },
    "foreign",
  ],
  ["a later generation of the known WAL below another file", laterMoved(3), "foreign"],
  ["the same, when an application has opened both", { ...laterMoved(3), ...HELD }, "own"],
  ["a generation that restarted beside another file", laterMoved(2 ** 28), "own"],
  ["the inode number of the known WAL, used again", reusedMoved(), "own"],

  ["the known files", { ...FACTS, known: KNOWN }, "own"],
  ["the known files, the database with other pages", { ...WRITTEN, content: "other" }, "foreign"],
  ["the known files, all copied by a checkpoint", { ...WRITTEN, content: "current" }, "own"],
  [
    "the known files, written by a checkpoint cut short, or by cp",
    { ...WRITTEN, content: "same" },
    "doubtful",
  ],
  ["the same, while an application has them open", { ...WRITTEN, content: "same", ...HELD }, "own"],
  ["the known files, written before the last commit", { ...FACTS, known: KNOWN, content: "same" }, "own"],
  ["the known files in a later generation", { ...WRITTEN, known: later(1), isFrameInFile: true }, "own"],
  ["the same, written by no checkpoint", { ...WRITTEN, known: later(1) }, "doubtful"],

  ["another page size", claims({ pageSizeBytes: 1024 }), "foreign"],
  ["a database in rollback mode", { ...FACTS, header: { ...FACTS.header, isWal: false } }, "foreign"],
  ["a database of another size", claims({ earlyCommits: { min: 2, max: 2 } }), "foreign"],
  ["a database that grew without page 1", claims({ earlyCommits: { min: 10, max: 12 } }), "foreign"],
  [
    "page 1 of the next change",
    claims({ ...COUNTERS, firstPage: { firstCounter: 21, lastCounter: 22 } }),
    "own",
  ],
  ["page 1 of the same change", claims(COUNTERS), "own"],
  [
    "a page 1 that a checkpoint copied",
    claims({ ...COUNTERS, firstPage: { firstCounter: 18, lastCounter: 20 } }),
    "own",
  ],
  [
    "a page 1 older than the database",
    claims({ ...COUNTERS, firstPage: { firstCounter: 17, lastCounter: 19 } }),
    "foreign",
  ],
  [
    "a page 1 of a much later change",
    claims({ ...COUNTERS, firstPage: { firstCounter: 22, lastCounter: 22 } }),
    "doubtful",
  ],
  [
    "a page 1 of a much later change in a replica, of which one commit holds many of its source",
    { ...claims({ ...COUNTERS, firstPage: { firstCounter: 31, lastCounter: 40 } }), isReplica: true },
    "own",
  ],
  [
    "a page 1 older than the database in a replica",
    { ...claims({ ...COUNTERS, firstPage: { firstCounter: 17, lastCounter: 19 } }), isReplica: true },
    "foreign",
  ],
  [
    "a counter that wrapped around",
    {
      ...claims({ ...COUNTERS, firstPage: { firstCounter: 0, lastCounter: 3 } }),
      header: { ...FACTS.header, changeCounter: 2 ** 32 - 1 },
    },
    "own",
  ],
  [
    "claims beside a size that the header does not vouch for",
    { ...claims({ earlyCommits: { min: 2, max: 2 } }), header: { ...FACTS.header, isPageCountValid: false } },
    "own",
  ],
  [
    "claims that were not read to the end",
    claims({ isWhole: false, earlyCommits: { min: 2, max: 2 } }),
    "own",
  ],

  [
    "a database born after the last write of the WAL",
    { ...FACTS, database: version("1", 350, 350) },
    "doubtful",
  ],
  ["the same, the WAL copied with its times", copied(version("2", 360, 300, 370)), "own"],
  [
    "a database renamed after the last write of the WAL",
    { ...FACTS, database: version("1", 50, 200, 400) },
    "doubtful",
  ],
  ["a database renamed before it", { ...FACTS, database: version("1", 50, 200, 250) }, "own"],
  [
    "the known database with another mode",
    { ...FACTS, database: version("1", 50, 200, 400), known: KNOWN },
    "own",
  ],
  ["a database written later, by no checkpoint", { ...FACTS, database: version("1", 50, 400) }, "doubtful"],
  [
    "a database written later by a checkpoint",
    { ...FACTS, database: version("1", 50, 400), isFrameInFile: true },
    "own",
  ],
  ["the same tick of the clock", { ...FACTS, database: version("1", 50, 300) }, "own"],
];

function later(restarts: number): KnownFiles {
  return { ...KNOWN, salts: { salt1: CLAIMS.salt1 - restarts, salt2: 3 } };
}

function laterMoved(restarts: number): WalFacts {
  const { salt2 } = NEW_GENERATION;
  const now = claims({ salt1: (CLAIMS.salt1 + restarts) >>> 0, salt2 });
  return { ...now, known: MOVED.known };
}

/** Another WAL file with the inode number of the known one, beside another database. */
function reusedMoved(): WalFacts {
  return {
    ...laterMoved(3),
    wal: { ...WAL, version: version("2", 210, 300), claims: { ...CLAIMS, salt1: 503 } },
  };
}

function copied(walVersion: FileVersion): WalFacts {
  return { ...FACTS, database: version("1", 350, 350), wal: { ...WAL, version: walVersion } };
}

for (const [what, facts, kind] of CASES) {
  test(`judgeWal: ${what} is ${kind}`, () => {
    expect(judgeWal(facts).kind).toBe(kind);
  });
}

test("judgeWal gives the reason why it refuses a WAL", () => {
  const reasons = CASES.map(([, facts]) => judgeWal(facts)).flatMap((one) =>
    "reason" in one ? [one.reason] : [],
  );
  expect(reasons.every((reason) => reason.length > 20)).toBe(true);
});

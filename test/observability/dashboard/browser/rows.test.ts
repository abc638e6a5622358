/** Rows of the table: read from documents, filtered, ordered, and the view in the address. */
import { describe, expect, test } from "bun:test";
import {
  DEFAULT_VIEW,
  fragmentOf,
  type Row,
  RowReader,
  type SortKey,
  viewedRows,
  viewOfFragment,
} from "../../../../src/observability/dashboard/browser/rows.ts";
import type {
  DashboardRow,
  Problem,
  Soundness,
} from "../../../../src/observability/dashboard/dashboard-document.ts";

interface Facts {
  readonly health?: Soundness;
  readonly status?: string;
  readonly lag?: number | null;
  readonly pendingBytes?: number;
  readonly walBytes?: number | null;
  readonly snapshotAge?: number | null;
}

function valuesOf(name: string, facts: Facts = {}): DashboardRow {
  const { health = "healthy", status = "syncing", lag = 0, pendingBytes = 0 } = facts;
  const { walBytes = null, snapshotAge = null } = facts;
  return [name, status, health, lag, 5, 4, 1, pendingBytes, walBytes, null, snapshotAge, "closed", 0];
}

function problemOf(database: string | null, code: string): Problem {
  return { code, health: "degraded", database, message: "m", hint: "h" };
}

function read(databases: readonly DashboardRow[], problems: readonly Problem[] = []): Row[] {
  return new RowReader().read({ databases, problems });
}

const namesOf = (rows: readonly Row[]): string[] => rows.map(({ name }) => name);

describe("RowReader", () => {
  test("gives each database its facts and its problems", () => {
    const [row] = read(
      [valuesOf("App\u202e", { lag: 2, pendingBytes: 7, walBytes: 9, snapshotAge: 3 })],
      [problemOf("App\u202e", "auth"), problemOf("other", "auth"), problemOf(null, "store")],
    );
    expect(row).toEqual({
      name: "App\u202e",
      shownName: "App\\u{202e}",
      searchName: "app\u202e",
      order: 0,
      status: "syncing",
      health: "healthy",
      lag: 2,
      txid: 5,
      uploadedTxid: 4,
      pendingFiles: 1,
      pendingBytes: 7,
      walBytes: 9,
      syncAge: null,
      snapshotAge: 3,
      circuit: "closed",
      errorsLastHour: 0,
      problems: [problemOf("App\u202e", "auth")],
    });
  });

  test("orders names as people do, also when a later document adds and removes some", () => {
    const reader = new RowReader();
    const readNames = (...names: string[]): string[] =>
      namesOf(reader.read({ databases: names.map((name) => valuesOf(name)), problems: [] }));
    expect(readNames("t10", "T2", "t1")).toEqual(["t1", "T2", "t10"]);
    expect(readNames("t1", "T2", "t10")).toEqual(["t1", "T2", "t10"]);
    expect(readNames("t10", "a", "T2")).toEqual(["a", "T2", "t10"]);
    expect(readNames("t10")).toEqual(["t10"]);
    expect(readNames()).toEqual([]);
  });

  test("takes names for names, whatever they mean to JavaScript", () => {
    const names = ["__proto__", "constructor", "toString"];
    const rows = read(
      names.map((name) => valuesOf(name)),
      names.map((name) => problemOf(name, "auth")),
    );
    expect(namesOf(rows).toSorted()).toEqual(names.toSorted());
    for (const { problems } of rows) expect(problems.length).toBe(1);
  });
});

describe("viewedRows", () => {
  const rows = read(
    [
      valuesOf("a", { lag: 1, pendingBytes: 5, walBytes: 0, snapshotAge: 100 }),
      valuesOf("B1", { health: "unhealthy", status: "stopped", lag: 70, snapshotAge: 5 }),
      valuesOf("b2", { health: "degraded", status: "failing", lag: 12, pendingBytes: 9, walBytes: 7 }),
      valuesOf("c", { health: "unhealthy", lag: 65, pendingBytes: 2, walBytes: 3, snapshotAge: 7 }),
    ],
    [problemOf("b2", "auth"), problemOf("c", "auth"), problemOf("c", "lag")],
  );
  const names = (change: Partial<typeof DEFAULT_VIEW>): string[] =>
    namesOf(viewedRows(rows, { ...DEFAULT_VIEW, ...change }));

  test("finds a part of a name, in any case, and nothing else", () => {
    expect(names({ query: " B " })).toEqual(["B1", "b2"]);
    expect(names({ query: "." })).toEqual([]);
  });

  test("shows what needs attention, or has one problem", () => {
    expect(names({ show: "attention" })).toEqual(["B1", "c", "b2"]);
    expect(names({ show: "auth" })).toEqual(["c", "b2"]);
    expect(names({ show: "no such code" })).toEqual([]);
  });

  test.each<[SortKey, string[]]>([
    ["name", ["a", "B1", "b2", "c"]],
    ["state", ["a", "b2", "c", "B1"]],
    ["lag", ["a", "b2", "c", "B1"]],
    ["txid", ["a", "B1", "b2", "c"]],
    ["snapshot", ["b2", "B1", "c", "a"]],
    ["pending", ["B1", "c", "a", "b2"]],
    ["wal", ["B1", "a", "c", "b2"]],
  ])("orders by %s, equal ones always by name", (sort, ascending) => {
    expect(names({ sort, isDescending: false })).toEqual(ascending);
    if (sort === "txid") return;
    expect(names({ sort, isDescending: true })).toEqual(ascending.toReversed());
  });

  test("takes a lag that is not known for the longest", () => {
    const unknown = [valuesOf("x", { lag: null }), valuesOf("y", { lag: 70 }), valuesOf("z", { lag: null })];
    const shown = viewedRows(read(unknown), { ...DEFAULT_VIEW, sort: "lag" });
    expect(namesOf(shown)).toEqual(["x", "z", "y"]);
  });

  test("leaves the given rows as they are", () => {
    const before = namesOf(rows);
    names({ sort: "lag" });
    expect(namesOf(rows)).toEqual(before);
  });
});

describe("the view in the fragment of the address", () => {
  test("comes back as it was", () => {
    const view = { query: "a&b #%ü", show: "attention", sort: "lag", isDescending: false } as const;
    expect(viewOfFragment(fragmentOf(view))).toEqual(view);
    expect(fragmentOf(DEFAULT_VIEW)).toBe("");
    expect(fragmentOf({ ...DEFAULT_VIEW, sort: "name", isDescending: false })).toBe("#sort=name");
  });

  test.each(["", "#", "#sort=nothing", "#sort=constructor", "#%%%", "#x=1&sort="])(
    "%j is the default",
    (text) => {
      expect(viewOfFragment(text)).toEqual(DEFAULT_VIEW);
    },
  );
});

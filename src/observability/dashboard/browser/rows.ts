/** PURE: the rows of the table from the newest document, and the filter and the order that a person chose. */
import type { DashboardDocument, Problem, Soundness } from "../dashboard-document.ts";
import { visibleText } from "./texts.ts";

/** One database at this moment. Sizes in bytes, ages and lag in seconds. */
export interface Row {
  readonly name: string;
  /** The name as it may be shown. */
  readonly shownName: string;
  /** The name in small letters, for the search. */
  readonly searchName: string;
  /** Position among all names. */
  readonly order: number;
  readonly status: string;
  readonly health: Soundness;
  /** Null while it is not known. */
  readonly lag: number | null;
  readonly txid: number;
  readonly uploadedTxid: number;
  readonly pendingFiles: number;
  readonly pendingBytes: number;
  readonly walBytes: number | null;
  readonly syncAge: number | null;
  readonly snapshotAge: number | null;
  readonly circuit: string;
  readonly errorsLastHour: number;
  readonly problems: readonly Problem[];
}

/** A column by which rows can be ordered. */
export type SortKey = "name" | "state" | "lag" | "txid" | "snapshot" | "pending" | "wal";

/** All that a person chose to see, and in which order. */
export interface View {
  readonly query: string;
  /** `all`, `attention`, or the code of a problem. */
  readonly show: string;
  readonly sort: SortKey;
  readonly isDescending: boolean;
}

/** The view of a page that nobody has touched: what needs attention comes first. */
export const DEFAULT_VIEW: View = { query: "", show: "all", sort: "state", isDescending: true };

const SERIOUSNESS: Readonly<Record<Soundness, number>> = { healthy: 0, degraded: 1, unhealthy: 2 };
const NO_PROBLEMS: readonly Problem[] = [];
const NAMES = new Intl.Collator("en", { numeric: true });

/** Reads documents, one after the other. Names are compared only when there are other names than before. */
export class RowReader {
  #rows = new Map<string, Row>();

  /** The rows of a document, in the order of their names. */
  read({ databases, problems }: Pick<DashboardDocument, "databases" | "problems">): Row[] {
    const byDatabase = Map.groupBy(problems, ({ database }) => database);
    const known = databases.every(([name]) => this.#rows.has(name)) && this.#rows.size === databases.length;
    const orders = known ? null : orderOf(databases.map(([name]) => name));
    const rows = databases.map((values): Row => {
      const [name, status, health, lag, txid, uploadedTxid, pendingFiles, pendingBytes, walBytes] = values;
      const [, , , , , , , , , syncAge, snapshotAge, circuit, errorsLastHour] = values;
      const before = this.#rows.get(name);
      return {
        name,
        shownName: before?.shownName ?? visibleText(name),
        searchName: before?.searchName ?? name.toLowerCase(),
        order: orders?.get(name) ?? before?.order ?? 0,
        status,
        health,
        lag,
        txid,
        uploadedTxid,
        pendingFiles,
        pendingBytes,
        walBytes,
        syncAge,
        snapshotAge,
        circuit,
        errorsLastHour,
        problems: byDatabase.get(name) ?? NO_PROBLEMS,
      };
    });
    this.#rows = new Map(rows.map((row) => [row.name, row]));
    return rows.sort((a, b) => a.order - b.order);
  }
}

function orderOf(names: readonly string[]): Map<string, number> {
  return new Map([...names].sort(NAMES.compare).map((name, index) => [name, index]));
}

/** The rows that the view shows, in its order. */
export function viewedRows(rows: readonly Row[], view: View): Row[] {
  const query = view.query.trim().toLowerCase();
  const shown = rows.filter((row) => row.searchName.includes(query) && isShown(row, view.show));
  const sortValue = VALUES[view.sort];
  const sign = view.isDescending ? -1 : 1;
  return shown.sort((a, b) => sign * (sortValue(a) - sortValue(b)) || a.order - b.order);
}

function isShown({ health, problems }: Row, show: string): boolean {
  if (show === "all") return true;
  if (show === "attention") return health !== "healthy";
  return problems.some(({ code }) => code === show);
}

/** A missing value is less than any other, except that a lag that nobody knows may be the longest. */
const VALUES: Readonly<Record<SortKey, (row: Row) => number>> = {
  name: ({ order }) => order,
  state: ({ health, status }) => SERIOUSNESS[health] * 2 + (status === "stopped" ? 1 : 0),
  lag: ({ lag }) => lag ?? Number.MAX_VALUE,
  txid: ({ txid }) => txid,
  snapshot: ({ snapshotAge }) => snapshotAge ?? -1,
  pending: ({ pendingBytes }) => pendingBytes,
  wal: ({ walBytes }) => walBytes ?? -1,
};

/** The view from the fragment of the address; whatever is not understood is the default. */
export function viewOfFragment(fragment: string): View {
  const values = new URLSearchParams(fragment.replace(/^#/, ""));
  const sort = (values.get("sort") ?? "").replace(/^-/, "");
  const isKnown = Object.hasOwn(VALUES, sort);
  return {
    query: values.get("q") ?? DEFAULT_VIEW.query,
    show: values.get("show") ?? DEFAULT_VIEW.show,
    sort: isKnown ? (sort as SortKey) : DEFAULT_VIEW.sort,
    isDescending: isKnown ? values.get("sort")!.startsWith("-") : DEFAULT_VIEW.isDescending,
  };
}

/** The fragment of an address that leads to this view; empty for the default. */
export function fragmentOf({ query, show, sort, isDescending }: View): string {
  const values = new URLSearchParams();
  if (query !== DEFAULT_VIEW.query) values.set("q", query);
  if (show !== DEFAULT_VIEW.show) values.set("show", show);
  if (sort !== DEFAULT_VIEW.sort || isDescending !== DEFAULT_VIEW.isDescending) {
    values.set("sort", `${isDescending ? "-" : ""}${sort}`);
  }
  const text = values.toString();
  return text === "" ? "" : `#${text}`;
}

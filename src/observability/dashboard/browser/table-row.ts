/** One drawn row of the table. */
import { newElement, newSpark, setClass, setPath, setText } from "./dom.ts";
import type { Row } from "./rows.ts";
import { sparkPath, type Values } from "./sparkline.ts";
import { ageText, bytesText, countText, durationText, nounText } from "./texts.ts";

const LINE = { width: 120, height: 22, stepCount: 120 };
/** A database that is a second behind now and then is no mountain. */
const LAG_LEAST = 5;

/** The state in one word. */
export function stateText({ status }: Pick<Row, "status">): string {
  return status.charAt(0).toUpperCase() + status.slice(1);
}

/** The TXID, and the one in the store if that is another; "?" while the store is not known to have any. */
export function txidText({ txid, uploadedTxid }: Pick<Row, "txid" | "uploadedTxid">): string {
  if (txid === uploadedTxid) return countText(txid);
  return `${uploadedTxid === 0 ? "?" : countText(uploadedTxid)} of ${countText(txid)}`;
}

/** Files that wait for their upload. */
export function pendingText({
  pendingFiles,
  pendingBytes,
}: Pick<Row, "pendingFiles" | "pendingBytes">): string {
  return pendingFiles === 0 ? "–" : `${nounText(pendingFiles, "file")}, ${bytesText(pendingBytes)}`;
}

/** A row of the page, which shows one database after the other. */
export class TableRow {
  readonly element = newElement("tr", "row");
  /** Opens the details. */
  readonly button = newElement("button");
  row: Row | null = null;
  /** The second line of a narrow row: the state, and the facts whose columns are not shown. */
  readonly #facts = newElement("span", "facts");
  readonly #word = newElement("span", "word");
  readonly #hidden = newElement("span", "hidden");
  readonly #state = newElement("span", "badge");
  readonly #cells: Readonly<Record<"lag" | "txid" | "snapshot" | "pending" | "wal", HTMLTableCellElement>>;
  readonly #line = newSpark(LINE.width, LINE.height);

  constructor() {
    const name = newElement("th", "name");
    name.scope = "row";
    this.button.type = "button";
    // The direction of a name does not change the order of the row.
    this.button.dir = "auto";
    this.#word.setAttribute("aria-hidden", "true");
    this.#facts.append(this.#word, this.#hidden);
    name.append(this.button, this.#facts);
    const state = newElement("td", "state");
    state.append(this.#state);
    const hour = newElement("td", "hour");
    hour.append(this.#line.svg);
    const cell = (className: string): HTMLTableCellElement => newElement("td", className);
    this.#cells = {
      lag: cell("lag"),
      txid: cell("txid"),
      snapshot: cell("snapshot"),
      pending: cell("pending"),
      wal: cell("wal"),
    };
    const { lag, txid, snapshot, pending, wal } = this.#cells;
    this.element.append(name, state, lag, hour, txid, snapshot, pending, wal);
  }

  /** Shows a database. @param index its place in the table, from 0 @param lags its lag in the last hour */
  show(row: Row, index: number, lags: Values): void {
    this.row = row;
    const { button } = this;
    setText(button, row.shownName);
    if (button.title !== row.shownName) button.title = row.shownName;
    const rowIndex = String(index + 2);
    if (this.element.getAttribute("aria-rowindex") !== rowIndex) {
      this.element.setAttribute("aria-rowindex", rowIndex);
    }
    setText(this.#state, stateText(row));
    setClass(this.#state, `badge ${row.health}`);
    const { lag, txid, snapshot, pending, wal } = this.#cells;
    setText(lag, row.lag === null ? "?" : durationText(row.lag));
    setClass(lag, row.lag !== null && row.lag < 0.05 ? "lag quiet" : "lag");
    setText(txid, txidText(row));
    setText(snapshot, ageText(row.snapshotAge));
    setText(pending, pendingText(row));
    setClass(pending, row.pendingFiles === 0 ? "pending quiet" : "pending");
    setText(wal, row.walBytes === null ? "–" : bytesText(row.walBytes));
    setText(this.#word, `${stateText(row)} · `);
    setText(this.#hidden, factsText(row));
    setPath(this.#line.path, sparkPath(lags, LINE, LAG_LEAST));
  }
}

function factsText(row: Row): string {
  const waiting = row.pendingFiles === 0 ? "" : ` · waiting: ${pendingText(row)}`;
  return `TXID ${txidText(row)} · snapshot ${ageText(row.snapshotAge)}${waiting}`;
}

/** The dialog with all facts of one database, live while it is open. */
import { problemItem } from "./attention.ts";
import { byId, newElement, setClass, setPath, setText } from "./dom.ts";
import { LAG_STEPS } from "./lag-memory.ts";
import type { Row } from "./rows.ts";
import { largest, sparkPath, type Values } from "./sparkline.ts";
import { pendingText, stateText } from "./table-row.ts";
import { ageText, bytesText, countText, durationText } from "./texts.ts";

const LINE = { width: 480, height: 60, stepCount: LAG_STEPS };

/** The dialog. */
export class Details {
  readonly #dialog = byId("details", HTMLDialogElement);
  readonly #facts = byId("details-facts", HTMLDListElement);
  readonly #problems = byId("details-problems", HTMLUListElement);
  readonly #values = new Map<string, HTMLElement>();
  #shownProblems = "";
  #name: string | null = null;

  constructor() {
    byId("close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => {
      this.#name = null;
    });
    // A click beside the dialog closes it.
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog && !isInside(event, this.#dialog)) this.#dialog.close();
    });
  }

  /** Name of the database that is shown, or null. */
  get name(): string | null {
    return this.#name;
  }

  /** Opens the dialog. */
  open(row: Row, lags: Values): void {
    this.#name = row.name;
    this.show(row, lags);
    this.#dialog.showModal();
  }

  /** Shows the newest facts; null: the database is watched no more. */
  show(row: Row | null, lags: Values): void {
    if (row === null) return this.#dialog.close();
    setText(byId("details-name", HTMLHeadingElement), row.shownName);
    const state = byId("details-state", HTMLParagraphElement);
    setText(state, `${stateText(row)}, ${row.health}`);
    setClass(state, `badge ${row.health}`);
    const shown = JSON.stringify(row.problems);
    if (shown !== this.#shownProblems) {
      this.#problems.replaceChildren(...row.problems.map((problem) => problemItem(problem, problem.code)));
    }
    this.#shownProblems = shown;
    for (const [label, text] of factsOf(row)) this.#fact(label, text);
    const worst = largest(lags) ?? 0;
    setText(
      byId("details-hour", HTMLElement),
      `Behind in the last hour, at most ${durationText(worst)} (since this page was opened)`,
    );
    const path = this.#dialog.querySelector<SVGPathElement>("path");
    if (path !== null) setPath(path, sparkPath(lags, LINE, 5));
  }

  #fact(label: string, text: string): void {
    let value = this.#values.get(label);
    if (value === undefined) {
      value = newElement("dd");
      this.#values.set(label, value);
      this.#facts.append(newElement("dt", "", label), value);
    }
    setText(value, text);
  }
}

function factsOf(row: Row): [label: string, text: string][] {
  return [
    ["Behind", row.lag === null ? "not known" : row.lag < 0.05 ? "nothing" : durationText(row.lag)],
    ["Captured TXID", countText(row.txid)],
    ["TXID in the store", row.uploadedTxid === 0 ? "none known" : countText(row.uploadedTxid)],
    ["Newest capture in the store", row.syncAge === null ? "none since the start" : ageText(row.syncAge)],
    ["Waiting for upload", row.pendingFiles === 0 ? "nothing" : pendingText(row)],
    ["Last snapshot", ageText(row.snapshotAge)],
    ["WAL on disk", row.walBytes === null ? "none" : bytesText(row.walBytes)],
    ["Circuit breaker", row.circuit],
    ["Failures in the last hour", countText(row.errorsLastHour)],
  ];
}

function isInside({ clientX, clientY }: MouseEvent, element: Element): boolean {
  const { left, right, top, bottom } = element.getBoundingClientRect();
  return clientX >= left && clientX <= right && clientY >= top && clientY <= bottom;
}

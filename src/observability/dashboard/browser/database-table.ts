/**
 * The table of databases. Rows outside the window are not drawn: two empty rows have their height, so
 * thousands of databases cost no more than fifty. The numbers of the rows stand in ARIA attributes.
 *
 * Invariant: of all names, one is in the order of the Tab key; the arrow keys lead to the others.
 */
import { byId, newElement } from "./dom.ts";
import { windowOf } from "./row-window.ts";
import type { Row, SortKey, View } from "./rows.ts";
import type { Values } from "./sparkline.ts";
import { TableRow } from "./table-row.ts";

const ROW_HEIGHT_GUESS = 40;
/** Steps of the keys that move the focus. */
const STEPS: Readonly<Record<string, number>> = {
  ArrowDown: 1,
  ArrowUp: -1,
  PageDown: 15,
  PageUp: -15,
  Home: Number.NEGATIVE_INFINITY,
  End: Number.POSITIVE_INFINITY,
};

/** Reactions to what a person does at the table. */
export interface TableActions {
  open(row: Row): void;
  sort(key: SortKey): void;
  lagsOf(name: string): Values;
}

/** The table. */
export class DatabaseTable {
  readonly #table = byId("table", HTMLTableElement);
  readonly #body = byId("rows", HTMLTableSectionElement);
  readonly #above = spaceRow();
  readonly #below = spaceRow();
  readonly #drawn = new Map<string, TableRow>();
  readonly #spare: TableRow[] = [];
  #rows: readonly Row[] = [];
  #rowHeight = ROW_HEIGHT_GUESS;
  /** Name of the row that the Tab key reaches. */
  #active: string | null = null;
  #isDrawDue = false;

  constructor(readonly actions: TableActions) {
    this.#body.append(this.#above.row, this.#below.row);
    addEventListener("scroll", () => this.#drawSoon(), { passive: true });
    addEventListener("resize", () => this.#drawSoon(), { passive: true });
    this.#body.addEventListener("click", (event) => this.#clicked(event));
    this.#body.addEventListener("keydown", (event) => this.#pressed(event));
    this.#table.tHead?.addEventListener("click", (event) => {
      const key = (event.target as Element).closest("button")?.dataset["sort"];
      if (key !== undefined) actions.sort(key as SortKey);
    });
  }

  /** Shows these rows, in this order. */
  show(rows: readonly Row[], view: Pick<View, "sort" | "isDescending">): void {
    this.#rows = rows;
    for (const button of this.#table.querySelectorAll<HTMLElement>("thead button")) {
      const heading = button.parentElement!;
      const order = view.isDescending ? "descending" : "ascending";
      if (button.dataset["sort"] === view.sort) heading.setAttribute("aria-sort", order);
      else heading.removeAttribute("aria-sort");
    }
    this.#table.setAttribute("aria-rowcount", String(rows.length + 1));
    this.draw();
  }

  /** Draws the rows in the window. */
  draw(): void {
    this.#isDrawDue = false;
    const focused = this.#focusedName();
    this.#drawWindow();
    const drawnHeight = this.#drawn.values().next().value?.element.getBoundingClientRect().height;
    if (drawnHeight !== undefined && Math.abs(drawnHeight - this.#rowHeight) > 0.5) {
      this.#rowHeight = drawnHeight;
      this.#drawWindow();
    }
    if (focused === null || this.#focusedName() === focused) return;
    // Moving an element in the document takes its focus away.
    this.#drawn.get(focused)?.button.focus({ preventScroll: true });
  }

  #drawWindow(): void {
    const rows = this.#rows;
    const aboveHeight = -this.#body.getBoundingClientRect().top;
    const { first, end } = windowOf(rows.length, this.#rowHeight, aboveHeight, innerHeight);
    const names = new Set<string>();
    for (let index = first; index < end; index++) names.add(rows[index]!.name);
    for (const [name, drawn] of this.#drawn) if (!names.has(name)) this.#remove(name, drawn);
    if (this.#active === null || !names.has(this.#active)) this.#active = rows[first]?.name ?? null;
    let place: Element | null = this.#above.row.nextElementSibling;
    for (let index = first; index < end; index++) {
      const row = rows[index]!;
      const drawn = this.#drawn.get(row.name) ?? this.#spare.pop() ?? new TableRow();
      this.#drawn.set(row.name, drawn);
      drawn.show(row, index, this.actions.lagsOf(row.name));
      const tabIndex = row.name === this.#active ? 0 : -1;
      if (drawn.button.tabIndex !== tabIndex) drawn.button.tabIndex = tabIndex;
      if (drawn.element === place) place = place.nextElementSibling;
      else this.#body.insertBefore(drawn.element, place);
    }
    this.#above.cell.style.height = `${first * this.#rowHeight}px`;
    this.#below.cell.style.height = `${(rows.length - end) * this.#rowHeight}px`;
    this.#above.row.hidden = first === 0 && rows.length === end;
    this.#below.row.hidden = this.#above.row.hidden;
  }

  #remove(name: string, drawn: TableRow): void {
    this.#drawn.delete(name);
    drawn.element.remove();
    this.#spare.push(drawn);
  }

  #drawSoon(): void {
    if (this.#isDrawDue) return;
    this.#isDrawDue = true;
    requestAnimationFrame(() => this.draw());
  }

  #focusedName(): string | null {
    const { activeElement } = document;
    if (activeElement === null || !this.#body.contains(activeElement)) return null;
    return this.#drawnAt(activeElement)?.row?.name ?? null;
  }

  #drawnAt(element: Element): TableRow | null {
    const row = element.closest("tr");
    return [...this.#drawn.values()].find((drawn) => drawn.element === row) ?? null;
  }

  #clicked(event: Event): void {
    const row = this.#drawnAt(event.target as Element)?.row ?? null;
    if (row === null) return;
    this.#active = row.name;
    this.actions.open(row);
  }

  #pressed(event: KeyboardEvent): void {
    const step = STEPS[event.key];
    const name = this.#focusedName();
    if (step === undefined || name === null || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const index = this.#rows.findIndex((row) => row.name === name);
    const next = Math.min(this.#rows.length - 1, Math.max(0, index + step));
    this.#active = this.#rows[next]!.name;
    this.#scrollTo(next);
    this.draw();
    this.#drawn.get(this.#active ?? "")?.button.focus({ preventScroll: true });
  }

  /** Scrolls so that a row is visible below the head of the table. */
  #scrollTo(index: number): void {
    const top = this.#body.getBoundingClientRect().top + index * this.#rowHeight;
    const headHeight = this.#table.tHead?.getBoundingClientRect().height ?? 0;
    if (top < headHeight) scrollBy(0, top - headHeight);
    else if (top + this.#rowHeight > innerHeight) scrollBy(0, top + this.#rowHeight - innerHeight);
  }
}

function spaceRow(): { row: HTMLTableRowElement; cell: HTMLTableCellElement } {
  const row = newElement("tr", "space");
  row.setAttribute("aria-hidden", "true");
  // One cell of one column: a cell of all columns would give a width to those that a narrow page hides.
  const cell = newElement("td");
  row.append(cell);
  return { row, cell };
}

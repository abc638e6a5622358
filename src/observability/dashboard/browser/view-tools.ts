/** Search, filter and order above the table. The view stands in the fragment of the address. */
import { byId, newElement, setText } from "./dom.ts";
import { DEFAULT_VIEW, fragmentOf, type Row, type SortKey, type View, viewOfFragment } from "./rows.ts";
import { countText } from "./texts.ts";

/** The orders that a narrow page offers in place of the heads of columns. */
const ORDERS: readonly (readonly [value: string, label: string])[] = [
  ["-state", "worst first"],
  ["name", "name"],
  ["-lag", "furthest behind"],
  ["-pending", "most waiting"],
  ["-snapshot", "oldest snapshot"],
  ["-wal", "largest WAL"],
];

/** The tools. */
export class ViewTools {
  readonly #query = byId("query", HTMLInputElement);
  readonly #all = byId("show-all", HTMLButtonElement);
  readonly #attention = byId("show-attention", HTMLButtonElement);
  readonly #code = byId("show-code", HTMLButtonElement);
  readonly #order = byId("order", HTMLSelectElement);
  #view: View = viewOfFragment(location.hash);

  /** @param changed is called after a person chose another view */
  constructor(readonly changed: (view: View) => void) {
    this.#query.value = this.#view.query;
    this.#query.addEventListener("input", () => this.#set({ query: this.#query.value }));
    this.#all.addEventListener("click", () => this.#set({ show: "all" }));
    this.#attention.addEventListener("click", () => this.#set({ show: "attention" }));
    this.#code.addEventListener("click", () => this.#set({ show: "all" }));
    this.#order.append(...ORDERS.map(([value, label]) => orderOption(value, label)));
    this.#order.addEventListener("change", () => this.#ordered(this.#order.value));
    addEventListener("hashchange", () => {
      this.#view = viewOfFragment(location.hash);
      this.#query.value = this.#view.query;
      this.changed(this.#view);
    });
    document.addEventListener("keydown", (event) => this.#pressed(event));
  }

  get view(): View {
    return this.#view;
  }

  /** Orders by a column; the same column again: the other way round. */
  sortBy(key: SortKey): void {
    const { sort, isDescending } = this.#view;
    this.#set({ sort: key, isDescending: sort === key ? !isDescending : key !== "name" });
  }

  /** Shows only databases that have this problem. */
  showOnly(code: string): void {
    this.#query.value = "";
    this.#set({ show: code, query: "" });
    byId("databases", HTMLHeadingElement).scrollIntoView();
    this.#code.focus({ preventScroll: true });
  }

  /** Shows the counts of the newest rows. */
  show(rows: readonly Row[]): void {
    const { show, sort, isDescending } = this.#view;
    const attentionCount = rows.filter(({ health }) => health !== "healthy").length;
    setText(this.#all, `All ${countText(rows.length)}`);
    setText(this.#attention, `Needs attention ${countText(attentionCount)}`);
    const isCode = show !== "all" && show !== "attention";
    this.#code.hidden = !isCode;
    setText(this.#code, `Only: ${show} ✕`);
    this.#code.setAttribute("aria-label", `Only ${show}; show all again`);
    for (const [button, isOn] of [
      [this.#all, show === "all"],
      [this.#attention, show === "attention"],
      [this.#code, isCode],
    ] as const) {
      button.setAttribute("aria-pressed", String(isOn));
    }
    const order = `${isDescending ? "-" : ""}${sort}`;
    if (this.#order.value !== order) this.#order.value = order;
  }

  #ordered(value: string): void {
    this.#set({ sort: value.replace(/^-/, "") as SortKey, isDescending: value.startsWith("-") });
  }

  #set(change: Partial<View>): void {
    this.#view = { ...this.#view, ...change };
    history.replaceState(null, "", `${location.pathname}${fragmentOf(this.#view)}`);
    this.changed(this.#view);
  }

  /** "/" leads to the search, as in many programs; Escape in the search clears it. */
  #pressed(event: KeyboardEvent): void {
    const isTyping = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      this.#query.focus();
    }
    if (event.key === "Escape" && event.target === this.#query && this.#query.value !== "") {
      this.#query.value = "";
      this.#set({ query: DEFAULT_VIEW.query });
    }
  }
}

function orderOption(value: string, label: string): HTMLOptionElement {
  const option = newElement("option", "", label);
  option.value = value;
  return option;
}

/**
 * The script of the page: polls the document and shows it. All that it shows comes from there; a choice of a
 * person (search, order) stands in the fragment of the address alone.
 */
import type { DashboardDocument } from "../dashboard-document.ts";
import { type Announced, announcedOf, announcement, foundText } from "./announcement.ts";
import { Attention } from "./attention.ts";
import { after, monotonicMs } from "./clock.ts";
import { DatabaseTable } from "./database-table.ts";
import { Details } from "./details.ts";
import { byId, setText } from "./dom.ts";
import { Glance, showInTab } from "./glance.ts";
import { LagMemory } from "./lag-memory.ts";
import { poll } from "./poll.ts";
import { type Row, RowReader, type SortKey, type View, viewedRows } from "./rows.ts";
import { ViewTools } from "./view-tools.ts";

/** A change that lasts no longer is not announced. */
const ANNOUNCE_AFTER_MS = 5_000;

/** The page. */
class Dashboard {
  readonly #lags = new LagMemory();
  readonly #reader = new RowReader();
  readonly #glance = new Glance();
  readonly #details = new Details();
  readonly #attention: Attention;
  readonly #table: DatabaseTable;
  readonly #tools: ViewTools;
  #rows: readonly Row[] = [];
  #version: string | null = null;
  #announced: Announced | null = null;
  /** The change that is announced if it lasts. */
  #pending: Announced | null = null;
  #cancelAnnouncement = (): void => {};

  constructor() {
    this.#tools = new ViewTools((view) => this.#viewChanged(view));
    this.#attention = new Attention((code) => this.#tools.showOnly(code));
    this.#table = new DatabaseTable({
      open: (row) => this.#details.open(row, this.#lags.of(row.name)),
      sort: (key: SortKey) => this.#tools.sortBy(key),
      lagsOf: (name) => this.#lags.of(name),
    });
  }

  /** Shows the newest document. */
  take(document_: DashboardDocument): void {
    // Another version of walrust has another page.
    this.#version ??= document_.version;
    if (this.#version !== document_.version) return location.reload();
    this.#lost(null);
    this.#rows = this.#reader.read(document_);
    this.#lags.add(this.#rows, monotonicMs());
    this.#glance.show(document_);
    this.#attention.show(document_.problems);
    this.#showRows();
    this.#showDetails();
    this.#announceSoon(announcedOf(document_));
  }

  /** Nothing new is known. */
  lose(reason: string): void {
    const since = byId("updated", HTMLElement).textContent;
    this.#lost(`No news: ${reason}. The figures below are ${since || "not there yet"}.`);
    showInTab("lost", "No news · walrust");
  }

  #lost(text: string | null): void {
    const banner = byId("lost", HTMLParagraphElement);
    if (text !== null) setText(banner, text);
    banner.hidden = text === null;
    document.body.classList.toggle("is-lost", text !== null);
  }

  #viewChanged(view: View): void {
    const shownCount = this.#showRows(view);
    setText(byId("announcer", HTMLElement), foundText(shownCount, this.#rows.length));
  }

  #showRows(view = this.#tools.view): number {
    const shown = viewedRows(this.#rows, view);
    this.#table.show(shown, view);
    this.#tools.show(this.#rows);
    setText(byId("found", HTMLElement), foundText(shown.length, this.#rows.length));
    const none = byId("none", HTMLParagraphElement);
    none.hidden = shown.length > 0;
    setText(none, this.#rows.length === 0 ? "No database is watched." : "No database matches.");
    return shown.length;
  }

  #showDetails(): void {
    const { name } = this.#details;
    if (name === null) return;
    this.#details.show(this.#rows.find((row) => row.name === name) ?? null, this.#lags.of(name));
  }

  /** Announces a change once it has lasted. */
  #announceSoon(now: Announced): void {
    const text = announcement(this.#announced, now);
    if (text !== null && this.#pending !== null && announcement(this.#pending, now) === null) return;
    this.#cancelAnnouncement();
    this.#pending = text === null ? null : now;
    if (text === null) return;
    this.#cancelAnnouncement = after(ANNOUNCE_AFTER_MS, () => {
      this.#announced = now;
      this.#pending = null;
      setText(byId("announcer", HTMLElement), text);
    });
  }
}

const dashboard = new Dashboard();
poll(
  (document_) => dashboard.take(document_),
  (reason) => dashboard.lose(reason),
);

/** The head of the page and the tiles below it: health, store and totals, each with its last hour. */
import type { DashboardDocument, HourOfSums, Soundness } from "../dashboard-document.ts";
import { byId, newElement, newSpark, setClass, setPath, setText } from "./dom.ts";
import { largest, sparkPath, type Values } from "./sparkline.ts";
import { ageText, bytesText, countText, durationText, nounText, rateText, visibleText } from "./texts.ts";

const LINE = { width: 240, height: 32, stepCount: 120 };

/** A lag of more seconds makes a database unhealthy, as in /health. */
const LAG_UNHEALTHY = 60;

const HEALTH_TEXTS: Readonly<Record<Soundness, string>> = {
  healthy: "Healthy",
  degraded: "Degraded",
  unhealthy: "Unhealthy",
};
const ICON_COLOURS: Readonly<Record<Soundness | "lost", string>> = {
  healthy: "2da44e",
  degraded: "d9a008",
  unhealthy: "d1242f",
  lost: "8c959f",
};

/** One tile. */
interface TileText {
  readonly label: string;
  readonly value: string;
  /** How sound the value is, if that can be said. */
  readonly health?: Soundness;
  readonly note: string;
  readonly hour?: { readonly values: Values; readonly least: number };
}

/** The head and the tiles. */
export class Glance {
  readonly #tiles = byId("tiles", HTMLDListElement);
  readonly #drawn = new Map<string, { value: Element; note: Element; path: SVGPathElement | null }>();

  /** Shows the newest document. */
  show(document_: DashboardDocument): void {
    const { hostname, status, version, uptime_seconds, time } = document_;
    setText(byId("host", HTMLElement), `on ${visibleText(hostname)}`);
    const health = byId("health", HTMLParagraphElement);
    setText(health, HEALTH_TEXTS[status]);
    setClass(health, `badge ${status}`);
    setText(byId("updated", HTMLParagraphElement), `as of ${clockText(time)}`);
    setText(byId("version", HTMLElement), `walrust ${version}, up for ${durationText(uptime_seconds)}`);
    showInTab(status, `${titleText(document_)} · walrust on ${visibleText(hostname)}`);
    for (const tile of tilesOf(document_)) this.#show(tile);
  }

  #show({ label, value, health, note, hour }: TileText): void {
    const drawn = this.#drawn.get(label) ?? this.#newTile(label, hour !== undefined);
    setText(drawn.value, value);
    setClass(drawn.value, health === undefined || health === "healthy" ? "value" : `value ${health}`);
    setText(drawn.note, note);
    if (hour !== undefined && drawn.path !== null)
      setPath(drawn.path, sparkPath(hour.values, LINE, hour.least));
  }

  #newTile(label: string, hasLine: boolean) {
    const value = newElement("dd", "value");
    const note = newElement("dd", "note");
    const tile = newElement("div");
    tile.append(newElement("dt", "", label), value, note);
    const line = hasLine ? newSpark(LINE.width, LINE.height) : null;
    if (line !== null) {
      const place = newElement("dd", "line");
      place.setAttribute("aria-hidden", "true");
      place.append(line.svg);
      tile.append(place);
    }
    this.#tiles.append(tile);
    const drawn = { value, note, path: line?.path ?? null };
    this.#drawn.set(label, drawn);
    return drawn;
  }
}

/** The colour of the icon and the title: a page in the background shows the health in its tab. */
export function showInTab(state: Soundness | "lost", title: string): void {
  const shape = `<circle cx='8' cy='8' r='7' fill='%23${ICON_COLOURS[state]}'/>`;
  const svg = `<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>${shape}</svg>`;
  const icon = `data:image/svg+xml,${svg}`;
  const link = byId("icon", HTMLLinkElement);
  if (link.getAttribute("href") !== icon) link.setAttribute("href", icon);
  if (document.title !== title) document.title = title;
}

function titleText({ totals, status }: DashboardDocument): string {
  const count = totals.degraded + totals.unhealthy;
  return count === 0 ? HEALTH_TEXTS[status] : `(${countText(count)}) ${HEALTH_TEXTS[status]}`;
}

function tilesOf({ status, totals, store, history, databases }: DashboardDocument): TileText[] {
  const { healthy, degraded, unhealthy } = totals;
  return [
    {
      label: "Databases",
      value: countText(databases.length),
      health: unhealthy > 0 ? "unhealthy" : degraded > 0 ? "degraded" : "healthy",
      note: [
        `${countText(healthy)} healthy`,
        ...(degraded === 0 ? [] : [`${countText(degraded)} degraded`]),
        ...(unhealthy === 0 ? [] : [`${countText(unhealthy)} unhealthy`]),
      ].join(", "),
      hour: { values: history.not_healthy, least: Math.max(1, databases.length / 10) },
    },
    {
      label: "Store",
      value: store.connected ? "Reachable" : "Out of reach",
      health: store.connected ? "healthy" : status,
      note: `last upload ${ageText(store.last_upload_age_seconds)}`,
    },
    {
      label: "Furthest behind",
      value: totals.lag_seconds === null ? "?" : durationText(totals.lag_seconds),
      health: (totals.lag_seconds ?? 0) > LAG_UNHEALTHY ? "unhealthy" : "healthy",
      note: `${mostText(history.lag_seconds, durationText)}${unknownText(databases)}`,
      hour: { values: history.lag_seconds, least: 5 },
    },
    {
      label: "Waiting for upload",
      value: bytesText(totals.pending_bytes),
      note: `${nounText(totals.pending_files, "file")}; ${mostText(history.pending_bytes, bytesText)}`,
      hour: { values: history.pending_bytes, least: 100_000 },
    },
    uploadsTile(totals, history),
    { label: "WAL on disk", value: bytesText(totals.wal_bytes), note: "all -wal files together" },
  ];
}

function uploadsTile({ uploads, upload_bytes }: DashboardDocument["totals"], history: HourOfSums): TileText {
  const rate = history.uploads_per_second.at(-1) ?? null;
  const bytes = history.upload_bytes_per_second.at(-1) ?? 0;
  return {
    label: "Uploads",
    value: rate === null ? "–" : rateText(rate),
    note: `${bytesText(bytes)}/s; ${countText(uploads)} objects, ${bytesText(upload_bytes)} since the start`,
    hour: { values: history.uploads_per_second, least: 1 },
  };
}

function mostText(values: Values, format: (value: number) => string): string {
  return `at most ${format(largest(values) ?? 0)} in the last hour`;
}

/** The databases without a known lag. */
function unknownText(databases: DashboardDocument["databases"]): string {
  const count = databases.filter(([, , , lag]) => lag === null).length;
  return count === 0 ? "" : `; not known of ${countText(count)}`;
}

/** The time of day at the reader's place. */
function clockText(time: string): string {
  return new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

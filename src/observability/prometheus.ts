/**
 * PURE: metrics as text, in Prometheus' format 0.0.4 and as OpenMetrics 1.0.
 *
 * A family is `# HELP name text`, `# TYPE name kind`, and its samples, each `name{label="value",…} number`;
 * all lines of a family stand together, each ends with \n, and no series comes twice. In help text \ and a
 * line feed are escaped, in label values " as well. A histogram has the samples `name_bucket{le="bound"}`,
 * which count the values up to the bound, `name_sum` and `name_count`.
 *
 * OpenMetrics differs: the family of a counter is named without `_total`, `untyped` is `unknown`, " is
 * escaped in help text too, and the text ends with `# EOF`.
 *
 * Sources: prometheus.io/docs, "Exposition formats"; the OpenMetrics specification, version 1.0.
 */

/** A format, and its media type. */
export interface MetricsFormat {
  readonly contentType: string;
  readonly isOpenMetrics: boolean;
}

/** Prometheus' text format. */
export const PROMETHEUS_FORMAT: MetricsFormat = {
  contentType: "text/plain; version=0.0.4; charset=utf-8",
  isOpenMetrics: false,
};

/** OpenMetrics. */
export const OPEN_METRICS_FORMAT: MetricsFormat = {
  contentType: "application/openmetrics-text; version=1.0.0; charset=utf-8",
  isOpenMetrics: true,
};

/** The format that a reader accepts: OpenMetrics for a reader that names it, as Prometheus does. */
export function acceptedFormat(accept: string | null): MetricsFormat {
  const isNamed = /(^|,)\s*application\/openmetrics-text\s*(;|,|$)/i.test(accept ?? "");
  return isNamed ? OPEN_METRICS_FORMAT : PROMETHEUS_FORMAT;
}

/** The kind of a metric; `untyped` for a name that ends as no counter or gauge may. */
export type MetricKind = "counter" | "gauge" | "histogram" | "untyped";

/** One series and its value now. */
export interface Sample {
  /** As made by `labelText` or `labelSet`; undefined: no labels. */
  readonly labels?: string;
  readonly value: number;
  /** The ending behind the name of the family: `_bucket`, `_sum` or `_count` of a histogram. */
  readonly ending?: string;
}

/** One metric with its series, which differ in their labels. */
export interface MetricFamily {
  readonly name: string;
  readonly kind: MetricKind;
  readonly help: string;
  readonly samples: Iterable<Sample>;
}

/** The least length of a part of a text, but for the last. */
const PART_LENGTH = 32 * 1024;

/**
 * The text of all families in parts, each made when it is asked for: a page of a thousand databases has
 * megabytes. A family without samples is left out.
 */
export function* metricsParts(
  families: Iterable<MetricFamily>,
  { isOpenMetrics }: MetricsFormat,
): Generator<string> {
  let text = "";
  for (const { name, kind, help, samples } of families) {
    const family = isOpenMetrics && kind === "counter" ? name.replace(/_total$/, "") : name;
    const type = isOpenMetrics && kind === "untyped" ? "unknown" : kind;
    const escaped = isOpenMetrics ? escapeLabel(help) : escapeHelp(help);
    let head = `# HELP ${family} ${escaped}\n# TYPE ${family} ${type}\n`;
    for (const { labels = "", value, ending = "" } of samples) {
      text += `${head}${name}${ending}${labels} ${numberText(value)}\n`;
      head = "";
      if (text.length < PART_LENGTH) continue;
      yield text;
      text = "";
    }
  }
  yield isOpenMetrics ? `${text}# EOF\n` : text;
}

/** The text of all families as a whole. */
export function metricsText(families: Iterable<MetricFamily>, format: MetricsFormat): string {
  return [...metricsParts(families, format)].join("");
}

/** One label. Make it once for series that share it: a page has thousands. */
export function labelPair(name: string, value: string): string {
  return `${name}="${escapeLabel(value)}"`;
}

/** Labels, each made by `labelPair`, as text behind a name; empty ones are left out. */
export function labelSet(first: string, second = ""): string {
  if (first === "" && second === "") return "";
  return first === "" || second === "" ? `{${first}${second}}` : `{${first},${second}}`;
}

/** Labels as text behind a name. */
export function labelText(labels: Readonly<Record<string, string>>): string {
  return `{${Object.entries(labels)
    .map(([name, value]) => labelPair(name, value))
    .join(",")}}`;
}

function escapeHelp(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function escapeLabel(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"');
}

function numberText(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
}

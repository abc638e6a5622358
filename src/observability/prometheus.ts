/**
 * PURE: Prometheus' text format 0.0.4.
 *
 * A family is `# HELP name text`, `# TYPE name kind`, and its samples, each `name{label="value",…} number`;
 * all lines of a family stand together, each ends with \n, and no series comes twice. In help text \ and a
 * line feed are escaped, in label values " as well. Source: prometheus.io/docs, "Exposition formats".
 */

/** The media type of the text. */
export const PROMETHEUS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** One series and its value now. */
export interface Sample {
  /** As made by `labelText`; undefined: no labels. */
  readonly labels?: string;
  readonly value: number;
}

/** One metric with its series, which differ in their labels. */
export interface MetricFamily {
  readonly name: string;
  readonly kind: "counter" | "gauge";
  readonly help: string;
  readonly samples: Iterable<Sample>;
}

/** The text of all families. A family without samples is left out. */
export function prometheusText(families: Iterable<MetricFamily>): string {
  let text = "";
  for (const { name, kind, help, samples } of families) {
    let lines = "";
    for (const { labels = "", value } of samples) lines += `${name}${labels} ${numberText(value)}\n`;
    if (lines !== "") text += `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${kind}\n${lines}`;
  }
  return text;
}

/** Labels as text behind a name. Make them once for series that share them: a page has thousands. */
export function labelText(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return `{${pairs.join(",")}}`;
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

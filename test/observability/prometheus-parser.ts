/**
 * Strict readers of Prometheus' text format 0.0.4 and of OpenMetrics 1.0, written from their documentation:
 * the oracles of /metrics. They reject constructs that the formats allow but walrust never writes.
 */

/** A metric family. */
export interface ReadFamily {
  readonly type: string;
  readonly help: string;
  /** Samples by their labels, as the JSON of an object; behind `_bucket`, `_sum` or `_count`. */
  readonly samples: Map<string, number>;
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*/;
const LABEL_NAME = /^[a-zA-Z_][a-zA-Z0-9_]*/;
const VALUE = /^(NaN|[+-]Inf|-?\d+(\.\d+)?([eE][+-]?\d+)?)$/;

/** The endings of the samples of each type, with those that only OpenMetrics has. */
const ENDINGS: Readonly<Record<string, { prometheus?: readonly string[]; openMetrics?: readonly string[] }>> =
  {
    counter: { prometheus: [""], openMetrics: ["_total"] },
    gauge: { prometheus: [""], openMetrics: [""] },
    histogram: {
      prometheus: ["_bucket", "_sum", "_count"],
      openMetrics: ["_bucket", "_sum", "_count"],
    },
    untyped: { prometheus: [""] },
    unknown: { openMetrics: [""] },
  };

/** Reads a whole exposition in Prometheus' format. @throws Error naming the invalid line */
export function readPrometheusText(text: string): Map<string, ReadFamily> {
  return readFamilies(text, "prometheus");
}

/** Reads a whole exposition in OpenMetrics. @throws Error naming the invalid line */
export function readOpenMetricsText(text: string): Map<string, ReadFamily> {
  if (!text.endsWith("# EOF\n")) throw new Error("no EOF at the end");
  return readFamilies(text.slice(0, -"# EOF\n".length), "openMetrics");
}

function readFamilies(text: string, format: "prometheus" | "openMetrics"): Map<string, ReadFamily> {
  if (text !== "" && !text.endsWith("\n")) throw new Error("the last line does not end");
  const families = new Map<string, ReadFamily>();
  const lines = text.split("\n").slice(0, -1);
  let name = "";
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index]!;
    const help = line.match(/^# HELP ([^ ]+) (.+)$/);
    if (help !== null) {
      name = help[1]!;
      const type = lines[++index]?.match(/^# TYPE ([^ ]+) (\w+)$/);
      const isKnown = ENDINGS[type?.[2] ?? ""]?.[format] !== undefined;
      if (type?.[1] !== name || !isKnown) throw new Error(`no TYPE after: ${line}`);
      if (families.has(name)) throw new Error(`twice: ${line}`);
      if (NAME.exec(name)?.[0] !== name) throw new Error(`no name of a metric: ${line}`);
      families.set(name, { type: type[2]!, help: help[2]!, samples: new Map() });
      continue;
    }
    const family = families.get(name);
    const found = NAME.exec(line)?.[0] ?? "";
    const ending = found.slice(name.length);
    const endings = ENDINGS[family?.type ?? ""]?.[format] ?? [];
    if (family === undefined || !found.startsWith(name) || !endings.includes(ending)) {
      throw new Error(`not of the family before it: ${line}`);
    }
    const { labels, rest } = readLabels(line.slice(found.length));
    const value = rest.match(/^ (\S+)$/)?.[1] ?? "";
    if (!VALUE.test(value)) throw new Error(`no value: ${line}`);
    const key = (family.type === "histogram" ? ending : "") + JSON.stringify(labels);
    if (family.samples.has(key)) throw new Error(`the same series again: ${line}`);
    family.samples.set(key, Number(value.replace("Inf", "Infinity")));
  }
  for (const [name, family] of families) {
    if (family.samples.size === 0) throw new Error(`empty: ${name}`);
    if (family.type === "histogram") checkHistogram(name, family);
  }
  return families;
}

/** @throws Error unless the buckets grow up to the count, with bounds that grow up to +Inf */
function checkHistogram(name: string, { samples }: ReadFamily): void {
  const buckets = new Map<string, { bounds: number[]; counts: number[] }>();
  for (const [key, count] of samples) {
    if (!key.startsWith("_bucket")) continue;
    const { le, ...labels } = JSON.parse(key.slice("_bucket".length)) as Record<string, string>;
    // A bound is a float in its shortest form, with a decimal point.
    if (le === undefined || !/^(\+Inf|\d+\.\d+)$/.test(le)) throw new Error(`no bound: ${name} ${key}`);
    const series = JSON.stringify(labels);
    const one = buckets.get(series) ?? { bounds: [], counts: [] };
    buckets.set(series, one);
    one.bounds.push(Number(le.replace("+Inf", "Infinity")));
    one.counts.push(count);
  }
  for (const [series, { bounds, counts }] of buckets) {
    const grows = (values: number[]): boolean =>
      values.every((value, i) => i === 0 || value >= values[i - 1]!);
    const isWhole = bounds.at(-1) === Number.POSITIVE_INFINITY && samples.has(`_sum${series}`);
    if (!isWhole || !grows(bounds) || !grows(counts) || counts.at(-1) !== samples.get(`_count${series}`)) {
      throw new Error(`no histogram: ${name} ${series}`);
    }
  }
}

function readLabels(text: string): { labels: Record<string, string>; rest: string } {
  const labels: Record<string, string> = {};
  if (!text.startsWith("{")) return { labels, rest: text };
  let at = 1;
  while (text[at] !== "}") {
    const name = LABEL_NAME.exec(text.slice(at))?.[0];
    if (name === undefined || name in labels) throw new Error(`no name of a label: ${text.slice(at)}`);
    at += name.length;
    if (text.slice(at, at + 2) !== '="') throw new Error(`no value of a label: ${text.slice(at)}`);
    const { value, length } = readQuoted(text.slice(at + 2));
    labels[name] = value;
    at += 2 + length;
    if (text[at] === ",") at++;
    else if (text[at] !== "}") throw new Error(`no end of labels: ${text.slice(at)}`);
  }
  return { labels, rest: text.slice(at + 1) };
}

/** @returns the value, and its length in the text with the closing quote */
function readQuoted(text: string): { value: string; length: number } {
  let value = "";
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '"') return { value, length: at + 1 };
    if (text[at] !== "\\") {
      value += text[at];
      continue;
    }
    const escaped = { n: "\n", "\\": "\\", '"': '"' }[text[++at] ?? ""];
    if (escaped === undefined) throw new Error(`no escape: ${text}`);
    value += escaped;
  }
  throw new Error(`no end of a value: ${text}`);
}

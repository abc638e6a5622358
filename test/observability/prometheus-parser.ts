/**
 * A strict reader of Prometheus' text format 0.0.4, written from its documentation: the oracle of /metrics.
 * It rejects constructs that the format allows but walrust never writes.
 */

/** A metric family. */
export interface ReadFamily {
  readonly type: string;
  readonly help: string;
  /** Samples by their labels, as the JSON of an object. */
  readonly samples: Map<string, number>;
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*/;
const LABEL_NAME = /^[a-zA-Z_][a-zA-Z0-9_]*/;
const VALUE = /^(NaN|[+-]Inf|-?\d+(\.\d+)?([eE][+-]?\d+)?)$/;

/** Reads a whole exposition. @throws Error naming the invalid line */
export function readPrometheusText(text: string): Map<string, ReadFamily> {
  if (text !== "" && !text.endsWith("\n")) throw new Error("the last line does not end");
  const families = new Map<string, ReadFamily>();
  const lines = text.split("\n").slice(0, -1);
  let name = "";
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index]!;
    const help = line.match(/^# HELP ([^ ]+) (.+)$/);
    if (help !== null) {
      name = help[1]!;
      const type = lines[++index]?.match(/^# TYPE ([^ ]+) (counter|gauge)$/);
      if (type?.[1] !== name) throw new Error(`no TYPE after: ${line}`);
      if (families.has(name)) throw new Error(`twice: ${line}`);
      if (NAME.exec(name)?.[0] !== name) throw new Error(`no name of a metric: ${line}`);
      families.set(name, { type: type[2]!, help: help[2]!, samples: new Map() });
      continue;
    }
    const family = families.get(name);
    const found = NAME.exec(line)?.[0];
    if (family === undefined || found !== name) throw new Error(`not of the family before it: ${line}`);
    const { labels, rest } = readLabels(line.slice(found.length));
    const value = rest.match(/^ (\S+)$/)?.[1] ?? "";
    if (!VALUE.test(value)) throw new Error(`no value: ${line}`);
    const key = JSON.stringify(labels);
    if (family.samples.has(key)) throw new Error(`the same series again: ${line}`);
    family.samples.set(key, Number(value.replace("Inf", "Infinity")));
  }
  for (const [name, { samples }] of families) if (samples.size === 0) throw new Error(`empty: ${name}`);
  return families;
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

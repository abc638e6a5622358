/**
 * Writes defaults, ranges and values as a person writes them in walrust.toml or on the command line.
 */
import type { OptionSpec } from "./option-spec.ts";
import { defaultValue } from "./parse-value.ts";

/** The default as text, or null if there is none. */
export function defaultText(spec: OptionSpec): string | null {
  return valueText(spec, defaultValue(spec));
}

/**
 * A value (times in ms) as text, or null if it is not set. A secret stays hidden, and of a private URL only
 * scheme and host are shown.
 */
export function valueText(spec: OptionSpec, value: unknown): string | null {
  if (value === undefined) return null;
  if (spec.isSecret) return "(set, not shown)";
  if (Array.isArray(value)) {
    const entry: OptionSpec = { ...spec, kind: spec.kind === "durations" ? "duration" : "text" };
    return value.map((one) => valueText(entry, one)).join(", ");
  }
  if (typeof value === "string") return spec.isPrivateUrl ? originOf(value) : withoutUser(value);
  if (typeof value !== "number") return String(value);
  if (spec.kind === "seconds") return String(value / 1000);
  if (spec.kind === "duration") return durationText(value);
  return spec.kind === "bytes" ? bytesText(value) : String(value);
}

/** The allowed values as text, or null if all are allowed. */
export function rangeText(spec: OptionSpec): string | null {
  if (spec.choices !== undefined) return spec.choices.join(", ");
  const { kind, min = 0, max } = spec;
  if (kind === "switch") return "true, false";
  if (kind === "text" || kind === "texts") return null;
  const write = (number: number): string => {
    if (kind === "duration" || kind === "durations") return durationText(number * 1000);
    return kind === "bytes" ? bytesText(number) : String(number);
  };
  return max === undefined ? `${write(min)} and more` : `${write(min)} to ${write(max)}`;
}

const DURATION_UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1000],
] as const;

/** A duration in the largest unit that divides it. */
export function durationText(durationMs: number): string {
  if (durationMs === 0) return "0";
  for (const [unit, unitMs] of DURATION_UNITS) {
    if (durationMs % unitMs === 0) return `${durationMs / unitMs}${unit}`;
  }
  return `${durationMs}ms`;
}

const BYTE_UNITS = [
  ["TB", 1024 ** 4],
  ["GB", 1024 ** 3],
  ["MB", 1024 ** 2],
  ["KB", 1024],
] as const;

function bytesText(byteCount: number): string {
  if (byteCount === 0) return "0";
  for (const [unit, unitBytes] of BYTE_UNITS) {
    if (byteCount % unitBytes === 0) return `${byteCount / unitBytes}${unit}`;
  }
  return String(byteCount);
}

/** After an "@" that was not escaped, the host may be a part of a password. */
function originOf(url: string): string {
  const isPlain = URL.canParse(url) && !url.includes("@");
  return isPlain ? `${new URL(url).origin}/…` : "(set, not shown)";
}

/** A text without the user and password of a URL. In the path of a folder, "@" is an ordinary letter. */
function withoutUser(text: string): string {
  return /^file:/i.test(text) ? text : text.replace(/^([a-z][a-z0-9+.-]*:\/\/).*@/is, "$1…@");
}

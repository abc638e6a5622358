/**
 * Options of the benchmark: from words of the command line to checked settings. PURE, except that paths
 * become absolute.
 */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { type Goal, goalSpecs, selectGoals } from "./goals.ts";
import {
  type Axes,
  DEFAULT_AXES,
  loadsOf,
  type Overrides,
  override,
  PRESET_NAMES,
  type PresetName,
  presetSpecs,
  shorten,
} from "./plan.ts";
import type { ToolName } from "./processes/tools.ts";
import { CASE_NAMES, LOAD, type LoadSpec, parseSize, type Spec } from "./spec.ts";

/** Checked options. */
export interface Settings {
  readonly specs: readonly Spec[];
  /** Goals to judge; empty for other presets. */
  readonly goals: readonly Goal[];
  readonly toolNames: readonly ToolName[];
  /** The walrust to measure; null for a fresh build. */
  readonly binary: string | null;
  readonly jsonPath: string | null;
}

const TEXT = { type: "string" } as const;
const TOOL_NAMES = ["walrust", "litestream"] as const;
const SCHEMES = ["http", "https"] as const;
const ENDS = ["stop", "kill"] as const;

/** Reads the words of the command line. @throws Error for an unknown option or an impossible value */
export function parseSettings(words: readonly string[]): Settings {
  const { values } = parseArgs({
    args: [...words],
    options: {
      ...{
        preset: TEXT,
        goal: TEXT,
        binary: TEXT,
        json: TEXT,
        tool: TEXT,
        end: TEXT,
        verify: TEXT,
        user: TEXT,
      },
      ...{ databases: TEXT, rates: TEXT, sizes: TEXT, delays: TEXT, schemes: TEXT, "line-rate": TEXT },
      ...{
        "warm-up": TEXT,
        seconds: TEXT,
        commits: TEXT,
        rounds: TEXT,
        increments: TEXT,
        quick: { type: "boolean" },
        observed: { type: "boolean" },
      },
      case: { type: "string", multiple: true },
    },
  });
  const isQuick = values.quick === true;
  const preset = oneOf("preset", values.preset ?? (isQuick ? "quick" : "table"), PRESET_NAMES);
  const overrides = parseOverrides(values);
  const adjust = (spec: Spec): Spec =>
    override(isQuick && preset !== "quick" ? shorten(spec) : spec, overrides);
  const goals = preset === "goals" ? selectGoals(values.goal ?? "", adjust) : [];
  if (preset === "goals" && goals.length === 0)
    throw new Error(`--goal ${values.goal}: no goal has this text`);
  const cases = (values.case ?? CASE_NAMES).map((name) => oneOf("case", name, CASE_NAMES));
  const axes = parseAxes(values);
  const specs = preset === "goals" ? goalSpecs(goals) : selectSpecs(preset, axes).map(adjust);
  return {
    specs: specs.filter((spec) => cases.includes(spec.case)),
    goals,
    toolNames: values.tool === undefined ? TOOL_NAMES : [oneOf("tool", values.tool, TOOL_NAMES)],
    binary: values.binary === undefined ? null : resolve(values.binary),
    jsonPath: values.json === undefined ? null : resolve(values.json),
  };
}

/** The specs of a preset, or all combinations of the axes if the options name any. */
function selectSpecs(preset: PresetName, axes: Partial<Axes>): readonly Spec[] {
  if (Object.keys(axes).length === 0) return presetSpecs(preset);
  return loadsOf(LOAD, { ...DEFAULT_AXES, ...axes });
}

type Values = Readonly<Record<string, string | boolean | readonly string[] | undefined>>;

function parseAxes(values: Values): Partial<Axes> {
  const list = <Item>(name: string, parse: (text: string) => Item): Item[] | undefined =>
    (values[name] as string | undefined)?.split(",").map((text) => parse(text.trim()));
  return withoutUndefined({
    databaseCounts: list("databases", (text) => parseNumber("databases", text, 1, true)),
    rates: list("rates", (text) => parseNumber("rates", text, 0)),
    sizesBytes: list("sizes", parseSize),
    delaysMs: list("delays", (text) => parseNumber("delays", text, 0)),
    schemes: list("schemes", (text) => oneOf("schemes", text, SCHEMES)),
  });
}

function parseOverrides(values: Values): Overrides {
  const number = (name: string, min: number, isWhole = true): number | undefined => {
    const text = values[name] as string | undefined;
    return text === undefined ? undefined : parseNumber(name, text, min, isWhole);
  };
  const milliseconds = (name: string, min: number): number | undefined => {
    const seconds = number(name, min, false);
    return seconds === undefined ? undefined : seconds * 1000;
  };
  const isAll = values["verify"] === "all";
  return withoutUndefined({
    warmUpMs: milliseconds("warm-up", 0),
    durationMs: milliseconds("seconds", 1),
    end: values["end"] === undefined ? undefined : oneOf<LoadSpec["end"]>("end", String(values["end"]), ENDS),
    verifyCount: isAll ? Number.POSITIVE_INFINITY : number("verify", 1),
    lineRate: number("line-rate", 0),
    user: values["user"] as string | undefined,
    commitCount: number("commits", 1),
    rounds: number("rounds", 1),
    incrementCount: number("increments", 1),
    isObserved: values["observed"] === true ? true : undefined,
  });
}

function parseNumber(name: string, text: string, min: number, isWhole = false): number {
  const value = Number(text);
  if (text !== "" && value >= min && (Number.isInteger(value) || !isWhole)) return value;
  throw new Error(`--${name} ${text}: expected a ${isWhole ? "whole number" : "number"} from ${min}`);
}

function oneOf<Name extends string>(option: string, text: string, names: readonly Name[]): Name {
  const name = names.find((known) => known === text);
  if (name === undefined) throw new Error(`--${option} ${text}: expected one of ${names.join(", ")}`);
  return name;
}

function withoutUndefined<Fields extends object>(
  fields: {
    [Key in keyof Fields]: Fields[Key] | undefined;
  },
): { [Key in keyof Fields]?: Fields[Key] } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [Key in keyof Fields]?: Fields[Key];
  };
}

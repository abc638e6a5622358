/**
 * What one option is: a row of the table in settings.ts and options.ts. Flag, key in walrust.toml,
 * environment variables, default, range and meaning stand together, once: parsing, validation, `--help`,
 * `explain` and the reference in the README are made from the rows.
 */

/**
 * How an option's text becomes a value. Seconds may be fractions; a duration takes a unit (ms, s, m, h, d),
 * bytes one of KB, MB, GB, TB; texts and durations are lists, in walrust.toml only.
 */
export type OptionKind =
  | "text"
  | "switch"
  | "seconds"
  | "duration"
  | "milliseconds"
  | "count"
  | "bytes"
  | "percent"
  | "number"
  | "texts"
  | "durations";

/** One option. */
export interface OptionSpec {
  /** Without dashes; absent: there is no flag. */
  readonly flag?: string;
  readonly alias?: string;
  /** The flag says the opposite of the key: `--no-cache` is `enabled = false`. */
  readonly isNegative?: boolean;
  /** The meaning of such a flag, for its help. */
  readonly flagMeaning?: string;
  /** `section.key` in walrust.toml; absent: there is no key. */
  readonly key?: string;
  /** Environment variables, the first that is set counts. */
  readonly env?: readonly string[];
  readonly kind: OptionKind;
  /** What stands for the value in help, e.g. `SECONDS`. */
  readonly value?: string;
  /** In the unit of the kind: seconds for seconds and durations, bytes, ms for milliseconds. */
  readonly default?: string | number | boolean | readonly number[] | readonly string[];
  /** The text that a flag without a value stands for; a value is then given only as `--flag=VALUE`. */
  readonly bare?: string;
  readonly min?: number;
  readonly max?: number;
  /** Of a list: the most entries. */
  readonly countMax?: number;
  readonly choices?: readonly string[];
  readonly meaning: string;
  /** Accepted, but not shown: it names what walrust does anyway. */
  readonly isHidden?: boolean;
  /** Shown nowhere; in walrust.toml also as `<key>_file`, the name of a file that holds it. */
  readonly isSecret?: boolean;
  /** A URL whose path may be a secret: only scheme and host are shown. */
  readonly isPrivateUrl?: boolean;
  /** A path: in walrust.toml relative to the folder of that file. */
  readonly isPath?: boolean;
}

/** A group of options by the name the program knows them by. */
export type OptionGroup = Readonly<Record<string, OptionSpec>>;

/** The value type of an option. */
export type OptionValue<S extends OptionSpec> = S["kind"] extends "switch"
  ? S extends { default: boolean }
    ? boolean
    : boolean | undefined
  : S["kind"] extends "text"
    ? S extends { default: string }
      ? string
      : string | undefined
    : S["kind"] extends "texts"
      ? readonly string[]
      : S["kind"] extends "durations"
        ? readonly number[]
        : S extends { default: number }
          ? number
          : number | undefined;

/** The values of a group of options. Seconds, durations and milliseconds are ms. */
export type OptionValues<T extends OptionGroup> = {
  readonly [K in keyof T]: OptionValue<T[K]>;
};

/** Checks the rows of a group and keeps their exact types. */
export function group<const T extends OptionGroup>(specs: T): T {
  return specs;
}

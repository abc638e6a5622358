/**
 * The shape of one option: a row of the table in settings.ts, settings-notify.ts and options.ts. A row holds
 * flag, key in walrust.toml, environment variables, default, range and meaning. Parsing, validation, the
 * Config, `--help`, `explain` and the reference in the README are made from the rows.
 */

/**
 * The kind of an option decides how its text becomes a value. Seconds may be fractions. A duration may have a
 * unit (ms, s, m, h, d), and bytes one of KB, MB, GB, TB. `texts` and `durations` are lists; a flag of the
 * kind `texts` is given once for each entry.
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

/** One row of the table. */
export interface OptionSpec {
  /** The flag without dashes; absent: there is none. */
  readonly flag?: string;
  readonly alias?: string;
  /** The flag says the opposite of the key: `--no-cache` is `enabled = false`. */
  readonly isNegative?: boolean;
  /** The meaning of such a flag, for its help. */
  readonly flagMeaning?: string;
  /** `section.key` in walrust.toml; absent: there is none. */
  readonly key?: string;
  /**
   * Environment variables of other tools, behind the own `WALRUST_<SECTION>_<KEY>`; the first that is set and
   * not empty counts.
   */
  readonly env?: readonly string[];
  readonly kind: OptionKind;
  /** The placeholder of the value in help texts, such as `SECONDS`. */
  readonly value?: string;
  /** In the unit of the kind: seconds for seconds and durations, else bytes, ms or a count. */
  readonly default?: string | number | boolean | readonly number[] | readonly string[];
  /** The text of a flag without a value. Such a flag takes a value only as `--flag=VALUE`. */
  readonly bare?: string;
  readonly min?: number;
  readonly max?: number;
  /** The most entries of a list. */
  readonly countMax?: number;
  readonly choices?: readonly string[];
  readonly meaning: string;
  /** Accepted for compatibility, without effect and not shown. */
  readonly isHidden?: boolean;
  /** Never shown. In walrust.toml, `<key>_file` can name a file that holds the secret. */
  readonly isSecret?: boolean;
  /** A URL whose path may be a secret: walrust shows only its scheme and host. */
  readonly isPrivateUrl?: boolean;
  /** A path; in walrust.toml a relative one starts at the folder of the file. */
  readonly isPath?: boolean;
}

/** A group of rows by name: the field in the Config, or the flag of a verb, each with its unit. */
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

/** Checks the rows of a group, and keeps their exact types. */
export function group<const T extends OptionGroup>(specs: T): T {
  return specs;
}

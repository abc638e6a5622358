/**
 * Decides, PURE, which settings of a configuration that was read again take effect in a running watch.
 *
 * Settings that replication reads where it uses them change at once. Settings that something was made from at
 * the start (the store, folders, the status server) keep their values until a restart, all keys of such a
 * section together: half of a new store would be neither the old nor the new one.
 */
import type { Config } from "../../config/config.ts";
import { keyName, SECTIONS } from "../../config/settings/options.ts";

/** Sections whose settings need a restart. */
const FIXED_SECTIONS = ["s3", "state", "retry", "metrics"] as const;
/** The keys of [cache] that change at once. */
const LIVE_CACHE = ["maxSizeBytes"] as const;

/** The effect of a configuration on a running watch. */
export interface ReloadPlan {
  /** The settings that hold from now on. */
  readonly config: Config;
  /** The keys with another value that takes effect, as `section.key`. */
  readonly changed: readonly string[];
  /** The keys with another value that takes effect with a restart. */
  readonly restart: readonly string[];
}

/**
 * Compares the settings that hold with those of the configuration.
 * @param next the settings as a start would have them
 */
export function planReload(current: Config, next: Config): ReloadPlan {
  const live = Object.fromEntries(LIVE_CACHE.map((name) => [name, next.cache[name]]));
  const fixed = Object.fromEntries(FIXED_SECTIONS.map((name) => [name, current[name]]));
  const config = Object.freeze({ ...next, ...fixed, cache: Object.freeze({ ...current.cache, ...live }) });
  return { config, changed: differences(current, config), restart: differences(config, next) };
}

/** The keys whose values differ. */
function differences(a: Config, b: Config): string[] {
  const keys: string[] = [];
  for (const { name, options, isList } of SECTIONS) {
    if (!Object.hasOwn(a, name)) continue;
    const [before, after] = [a, b].map((config) => config[name as keyof Config]);
    if (isList) {
      if (!Bun.deepEquals(before, after)) keys.push(name);
      continue;
    }
    for (const [row, spec] of Object.entries(options)) {
      const [old, fresh] = [before, after].map(
        (section) => (section as Readonly<Record<string, unknown>>)[row],
      );
      if (!Bun.deepEquals(old, fresh)) keys.push(`${name}.${keyName(spec)}`);
    }
  }
  return keys;
}

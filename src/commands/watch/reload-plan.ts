/**
 * Decides, PURE, which settings of a configuration that was read again take effect in a running watch.
 *
 * Settings that replication reads where it uses them change at once. Settings that something was made from at
 * the start (the store, folders, the status server) keep their values until a restart, all keys of such a
 * section together: half of a new store would be neither the old nor the new one. So new keys of the store
 * count at once only if they are for the same store.
 */
import type { Config } from "../../config/config.ts";
import { keyName, SECTIONS } from "../../config/settings/options.ts";

/** Sections whose settings need a restart. */
const FIXED_SECTIONS = ["s3", "state", "retry", "metrics"] as const;
/** The keys of [cache] that change at once. */
const LIVE_CACHE = ["maxSizeBytes"] as const;
/** The keys of [s3] that change at once, if no other changes. */
const LIVE_STORE = ["accessKeyId", "secretAccessKey", "sessionToken"] as const;

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
  const s3 = isSameStore(current.s3, next.s3) ? next.s3 : current.s3;
  const cache = Object.freeze({ ...current.cache, ...live });
  const config = Object.freeze({ ...next, ...fixed, s3, cache });
  return { config, changed: differences(current, config), restart: differences(config, next) };
}

/** Whether two configurations differ in nothing but the static keys of the store. */
function isSameStore(current: Config["s3"], next: Config["s3"]): boolean {
  const areStatic = [current, next].every((one) => one.accessKeyId !== undefined);
  const [before, after] = [current, next].map((one) =>
    Object.fromEntries(Object.entries(one).filter(([name]) => !LIVE_STORE.some((live) => live === name))),
  );
  return areStatic && Bun.deepEquals(before, after);
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

/**
 * Reads the configuration of a running watch again, for SIGHUP and `walrust reload`.
 *
 * Everything is read and checked before anything changes: the file, each setting, the databases, the URLs of
 * webhooks. A configuration that cannot be used changes nothing. Reloads run one after the other.
 */
import { type Config, resolveConfig } from "../../config/config.ts";
import { configFileOrNull } from "../../config/config-file.ts";
import type { Sources } from "../../config/resolve.ts";
import { GLOBAL_OPTIONS } from "../../config/settings/options.ts";
import { optionValues } from "../../config/settings/parse-options.ts";
import type { Unwatchable } from "../../discovery/discovered.ts";
import { Discovery } from "../../discovery/discovery.ts";
import type { FinderOptions } from "../../discovery/finder.ts";
import { WalrustError } from "../../errors.ts";
import type { RunningWatch } from "../../replication/watch/watch-loop.ts";
import { openDestination, type StoreKeys } from "../shared/open-destination.ts";
import { countOf } from "../shared/output.ts";
import type { Invocation } from "../shared/verb.ts";
import { planReload } from "./reload-plan.ts";
import type { WatchObservers } from "./watch-observer.ts";
import { WatchTargets } from "./watch-targets.ts";

/** The configuration of a watch at one moment. */
export interface CurrentConfig {
  readonly config: Config;
  readonly discovery: Discovery;
  readonly targets: WatchTargets;
}

/** The effect of a reload. */
export interface ReloadResult {
  /** Path of the configuration file. */
  readonly config: string;
  /** How many databases are watched from now on. */
  readonly databases: number;
  readonly added: readonly string[];
  readonly removed: readonly string[];
  /** Databases that stay because they are deleted while an application has them open. */
  readonly held: readonly string[];
  /** The settings that changed, as `section.key`. */
  readonly changed: readonly string[];
  /** The settings that change with a restart. */
  readonly restart: readonly string[];
}

/** The configuration of one watch, which `reload` replaces. */
export class ConfigReload {
  #current: CurrentConfig;
  /** The end of the last reload; never rejects. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    first: CurrentConfig,
    readonly search: FinderOptions,
    readonly observers: WatchObservers,
    readonly keys: StoreKeys | null,
    readonly invocation: Pick<Invocation, "env" | "sources" | "words">,
  ) {
    this.#current = first;
  }

  get current(): CurrentConfig {
    return this.#current;
  }

  /**
   * Reads the configuration again.
   * @throws WalrustError when it cannot be used; nothing has changed then
   */
  reload(watch: RunningWatch): Promise<ReloadResult> {
    const result = this.#last.then(() => this.#reload(watch));
    this.#last = result.catch(() => {});
    return result;
  }

  async #reload(watch: RunningWatch): Promise<ReloadResult> {
    const { env } = this.invocation;
    const sources = this.#read();
    const { config, changed, restart } = planReload(this.#current.config, resolveConfig(sources));
    if (restart.some((key) => key.startsWith("s3."))) await openDestination({ sources, env }).close();
    const discovery = new Discovery({ ...this.search, file: sources.file }, env);
    const found = await discovery.first(true);
    const targets = new WatchTargets(sources, config);
    const discovered = targets.of(found);
    const before = new Map(watch.statuses().map(({ path, database }) => [path, database]));
    const after = new Map(discovered.targets.map(({ path, name }) => [path, name]));
    for (const { path } of found.missing) after.set(path, path);
    assertNoneUnreadable([...before.keys()], after, discovered.unwatchable);
    await this.observers.reconfigure(config, watch);
    this.#current = { config, discovery, targets };
    if (changed.some((key) => key.startsWith("s3."))) this.keys?.replace(sources);
    const staying = watch.reconfigure(config, discovered);
    const absent = [...before].filter(([path]) => !after.has(path));
    const [held, removed] = [true, false].map((stays) =>
      absent.filter(([path]) => staying.has(path) === stays).map(([, name]) => name),
    ) as [string[], string[]];
    const result = {
      config: sources.file?.path ?? "",
      databases: after.size + held.length,
      added: [...after].filter(([path]) => !before.has(path)).map(([, name]) => name),
      removed,
      held,
      changed,
      restart,
    };
    this.#log(result);
    return result;
  }

  #read(): Sources {
    const { sources, words, env } = this.invocation;
    const { config } = optionValues(words, GLOBAL_OPTIONS);
    if (sources.file?.isHandedOver === true) {
      throw new WalrustError("config", "an application gave this watch its settings", {
        hint: "Close the watch in the application, and start it with other settings",
      });
    }
    const file = configFileOrNull(config, sources.environment);
    // Another file at the place that is searched has nothing to do with this watch.
    if (file === null || file.path !== sources.file?.path) {
      const path = sources.file?.shownPath ?? "walrust.toml";
      throw new WalrustError("config", `${path} is not there any more`, { hint: "Put it back, and reload" });
    }
    for (const { message, hint } of file.warnings) env.log.warn(message, { hint });
    return { ...sources, file };
  }

  #log({ databases, added, removed, held, changed, restart }: ReloadResult): void {
    const { log } = this.invocation.env;
    const what = changed.length === 0 ? "no setting changed" : `changed: ${changed.join(", ")}`;
    const counts = [countOf(databases, "database"), `${added.length} added`, `${removed.length} removed`];
    if (held.length > 0) counts.push(`${held.length} kept that an application has open though deleted`);
    const fleet = counts.join(", ");
    log.info(`the configuration is reloaded: ${fleet}; ${what}`);
    if (restart.length === 0) return;
    const hint = "Restart the watch to use the new values";
    log.warn(`these settings keep their values until a restart: ${restart.join(", ")}`, { hint });
  }
}

/**
 * A new search knows nothing of a folder that it cannot read: the databases below it must not be let go.
 * @throws WalrustError the reason why the folder, or the database itself, cannot be read
 */
function assertNoneUnreadable(
  watched: readonly string[],
  after: ReadonlyMap<string, string>,
  unwatchable: readonly Unwatchable[],
): void {
  for (const { path: place, isMissing, error } of unwatchable) {
    const isLost = (path: string): boolean => path === place || path.startsWith(`${place}/`);
    if (!isMissing && watched.some((path) => isLost(path) && !after.has(path))) throw error;
  }
}

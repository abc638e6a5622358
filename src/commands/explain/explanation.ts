/**
 * Everything that `explain` tells, before it becomes text or JSON.
 */
import type { WalrustError } from "../../errors.ts";
import type { Estimate } from "../../forecast/estimate.ts";
import type { CommitRate } from "../../forecast/steady-pace.ts";
import type { ExplainedDatabase } from "./explain-databases.ts";
import type { ShownSetting } from "./explain-settings.ts";
import type { ExplainedStorage } from "./explain-storage.ts";

/** Everything that explain tells. */
export interface Explanation {
  readonly configFile: string | null;
  readonly settings: readonly ShownSetting[];
  /** Null: no destination is given. */
  readonly storage: ExplainedStorage | null;
  readonly databases: readonly ExplainedDatabase[];
  /** Globs are looked at again while watching. */
  readonly hasGlobs: boolean;
  readonly rate: CommitRate;
  readonly estimate: Estimate;
  /** What would keep the watch, or part of it, from working; most serious first. */
  readonly problems: readonly WalrustError[];
}

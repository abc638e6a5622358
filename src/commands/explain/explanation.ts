/**
 * The whole explanation, before it becomes text or JSON.
 */
import type { WalrustError } from "../../errors.ts";
import type { Estimate } from "../../forecast/estimate.ts";
import type { CommitRate } from "../../forecast/steady-pace.ts";
import type { ProbedDestination } from "../shared/probed-destination.ts";
import type { ExplainedDatabase } from "./explained-database.ts";
import type { ShownSetting } from "./shown-settings.ts";

/** The whole explanation. */
export interface Explanation {
  readonly configFile: string | null;
  readonly settings: readonly ShownSetting[];
  /** Null without a destination. */
  readonly storage: ProbedDestination | null;
  readonly databases: readonly ExplainedDatabase[];
  /** Whether a watch would match globs again. */
  readonly hasGlobs: boolean;
  readonly rate: CommitRate;
  readonly estimate: Estimate;
  /** Problems of the watch or of single databases, by exit code. */
  readonly problems: readonly WalrustError[];
}

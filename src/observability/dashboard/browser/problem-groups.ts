/** PURE: problems of many databases that have one remedy, as one entry each. */
import type { Problem } from "../dashboard-document.ts";

/** Problems with the same code and the same remedy. */
export interface ProblemGroup {
  readonly code: string;
  readonly health: Problem["health"];
  /** The message of the first. */
  readonly message: string;
  readonly hint: string;
  /** Empty for a problem of the store. */
  readonly databases: readonly string[];
}

/** The groups: the store first, then unhealthy before degraded, then large before small. */
export function groupProblems(problems: readonly Problem[]): ProblemGroup[] {
  const groups = Map.groupBy(problems, ({ code, health, hint, database }) => {
    return JSON.stringify([code, health, hint, database === null]);
  });
  return [...groups.values()]
    .map((all): ProblemGroup => {
      const { code, health, message, hint } = all[0]!;
      const databases = all.flatMap(({ database }) => (database === null ? [] : [database]));
      return { code, health, message, hint, databases };
    })
    .sort((a, b) => seriousness(b) - seriousness(a) || b.databases.length - a.databases.length);
}

function seriousness({ health, databases }: ProblemGroup): number {
  return (databases.length === 0 ? 2 : 0) + (health === "unhealthy" ? 1 : 0);
}

/** PURE: the few sentences that a screen reader is given, as against the numbers that change all the time. */
import type { DashboardDocument } from "../dashboard-document.ts";
import { countText, nounText } from "./texts.ts";

/** The facts whose change is worth a sentence. */
export interface Announced {
  readonly status: string;
  readonly count: number;
}

/** Those facts of a document. */
export function announcedOf({ status, totals }: Pick<DashboardDocument, "status" | "totals">): Announced {
  return { status, count: totals.degraded + totals.unhealthy };
}

/** The sentence for a change; null if there is nothing to say. */
export function announcement(before: Announced | null, now: Announced): string | null {
  if (before !== null && before.status === now.status && before.count === now.count) return null;
  const subject = `${now.status.charAt(0).toUpperCase()}${now.status.slice(1)}`;
  if (now.count === 0) return `${subject}. No database needs attention.`;
  const verb = now.count === 1 ? "needs" : "need";
  return `${subject}. ${nounText(now.count, "database")} ${verb} attention.`;
}

/** The sentence for the result of a search. */
export function foundText(shownCount: number, allCount: number): string {
  return shownCount === allCount
    ? nounText(allCount, "database")
    : `${countText(shownCount)} of ${nounText(allCount, "database")}`;
}

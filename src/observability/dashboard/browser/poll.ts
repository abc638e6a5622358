/**
 * Asks for the document again and again, from this server alone. Polling costs the watch nothing between two
 * requests and nothing once the page is closed; a page in the background asks once a minute.
 */
import type { DashboardDocument } from "../dashboard-document.ts";
import { after } from "./clock.ts";

const PATH = "/dashboard.json";
const TIMEOUT_MS = 15_000;
const HIDDEN_MS = 60_000;
const AGAIN_MS = 5_000;

/** PURE: the wait until the next request. Documents of many databases are asked for less often. */
export function pollDelayMs(databaseCount: number, isHidden: boolean): number {
  return isHidden ? HIDDEN_MS : 2_000 + Math.min(8_000, Math.floor(databaseCount / 250) * 1_000);
}

/** Asks until the page is closed. @param lost gets the reason in words */
export function poll(take: (document_: DashboardDocument) => void, lost: (reason: string) => void): void {
  let cancel = (): void => {};
  let isAsking = false;
  const ask = async (): Promise<void> => {
    cancel();
    if (isAsking) return;
    isAsking = true;
    const delayMs = await askOnce(take, lost);
    isAsking = false;
    cancel = after(delayMs, () => void ask());
  };
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) void ask();
  });
  void ask();
}

/** One request. @returns the wait until the next */
async function askOnce(
  take: (document_: DashboardDocument) => void,
  lost: (reason: string) => void,
): Promise<number> {
  try {
    const response = await fetch(PATH, {
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (!response.ok) throw new Error(`walrust answered ${response.status}`);
    const document_ = (await response.json()) as DashboardDocument;
    take(document_);
    return pollDelayMs(document_.databases.length, document.hidden);
  } catch (error) {
    lost(error instanceof TypeError ? "walrust does not answer" : String((error as Error).message));
    return document.hidden ? HIDDEN_MS : AGAIN_MS;
  }
}

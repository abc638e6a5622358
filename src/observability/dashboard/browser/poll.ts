/**
 * Asks for the document again and again, from this server alone. Polling costs the watch nothing between two
 * requests and nothing once the page is closed; a page in the background asks once a minute.
 */
import type { DashboardDocument } from "../dashboard-document.ts";
import { DOCUMENT_PATH, POLL_TIMEOUT_MS, pollDelayMs, retryDelayMs } from "../poll-plan.ts";
import { after } from "./clock.ts";

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
    const response = await fetch(DOCUMENT_PATH, {
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.timeout(POLL_TIMEOUT_MS),
    });
    if (!response.ok) throw new Error(`walrust answered ${response.status}`);
    const document_ = (await response.json()) as DashboardDocument;
    take(document_);
    return pollDelayMs(document_.databases.length, document.hidden);
  } catch (error) {
    lost(error instanceof TypeError ? "walrust does not answer" : String((error as Error).message));
    return retryDelayMs(document.hidden);
  }
}

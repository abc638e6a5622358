/** The seam of the page to time: its only use of clocks and timers. */

/** Time in ms that never jumps. */
export function monotonicMs(): number {
  return performance.now();
}

/** Runs an action once after a time. @returns cancels it */
export function after(delayMs: number, action: () => void): () => void {
  const timer = setTimeout(action, delayMs);
  return () => clearTimeout(timer);
}

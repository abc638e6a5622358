/**
 * Progress with a fake clock: what is shown, when, and how wide. Nothing is shown of short work, and no
 * escape code leaves a terminal.
 */
import { describe, expect, test } from "bun:test";
import {
  barText,
  durationText,
  ProgressDisplay,
  type ProgressPace,
  type ProgressState,
  type ProgressStyle,
  progressJson,
  progressStyle,
} from "../../../src/commands/shared/progress.ts";

const WORK = { verb: "restore", database: "app", label: "restoring app", unit: "read" } as const;
const MB = 1 << 20;

/** A clock that moves when the test says so; sleeps end when their time has come. */
class FakeClock {
  nowMs = 1_000_000;
  readonly #sleeps: { readonly atMs: number; readonly wake: () => void }[] = [];

  readonly env = {
    monotonicMs: () => this.nowMs,
    nowMs: () => this.nowMs,
    sleep: (durationMs: number, signal?: AbortSignal): Promise<void> =>
      new Promise((resolve) => {
        this.#sleeps.push({ atMs: this.nowMs + durationMs, wake: resolve });
        signal?.addEventListener("abort", () => resolve(), { once: true });
      }),
  };

  async advance(durationMs: number): Promise<void> {
    const endMs = this.nowMs + durationMs;
    for (;;) {
      const next = this.#sleeps.toSorted((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined || next.atMs > endMs) break;
      this.#sleeps.splice(this.#sleeps.indexOf(next), 1);
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.wake();
      for (let turn = 0; turn < 5; turn++) await Promise.resolve();
    }
    this.nowMs = endMs;
  }
}

interface Shown {
  readonly bars: (string | null)[];
  readonly lines: string[];
  readonly documents: Record<string, unknown>[];
}

function displayOf(
  style: ProgressStyle,
  columns = 100,
): { clock: FakeClock; display: ProgressDisplay; shown: Shown } {
  const clock = new FakeClock();
  const shown: Shown = { bars: [], lines: [], documents: [] };
  const display = new ProgressDisplay(style, clock.env, {
    bar: (text) => void shown.bars.push(text),
    line: (message) => void shown.lines.push(message),
    json: (document) => void shown.documents.push(document as Record<string, unknown>),
    columns: () => columns,
  });
  return { clock, display, shown };
}

describe("progressStyle", () => {
  const wish = { isJson: false, isWanted: false, isTerminal: true, variables: {} };

  test.each([
    ["a terminal", {}, "bar"],
    ["a pipe", { isTerminal: false }, "lines"],
    ["a dumb terminal", { variables: { TERM: "dumb" } }, "lines"],
    ["NO_COLOR", { variables: { NO_COLOR: "1" } }, "lines"],
    ["an empty NO_COLOR", { variables: { NO_COLOR: "" } }, "bar"],
    ["--json on a terminal", { isJson: true }, "bar"],
    ["--json on a pipe", { isJson: true, isTerminal: false }, "none"],
    ["--json --progress", { isJson: true, isWanted: true }, "json"],
    ["--json --progress on a pipe", { isJson: true, isWanted: true, isTerminal: false }, "json"],
    ["--progress on a pipe", { isWanted: true, isTerminal: false }, "lines"],
  ] as const)("%s", (_, change, expected) => {
    expect(progressStyle({ ...wish, ...change })).toBe(expected);
  });
});

describe("RunningProgress", () => {
  test.each(["bar", "lines", "json"] as const)(
    "shows nothing of work under a second, as %s",
    async (style) => {
      const { clock, display, shown } = displayOf(style);
      const progress = display.begin(WORK);
      for (let step = 0; step < 9; step++) {
        progress.update({ doneBytes: step, totalBytes: 9 });
        await clock.advance(100);
      }
      progress.end();
      await clock.advance(60_000);
      expect([shown.bars.filter((bar) => bar !== null), shown.lines, shown.documents]).toEqual([[], [], []]);
    },
  );

  test("shows a bar after a second, redraws it, and removes it at the end", async () => {
    const { clock, display, shown } = displayOf("bar");
    const progress = display.begin(WORK);
    progress.update({ doneBytes: 100 * MB, totalBytes: 400 * MB });
    await clock.advance(2_000);
    const [first] = shown.bars;
    const bar = `${"█".repeat(7)}${"░".repeat(23)}`;
    expect(first).toBe(`restoring app ${bar} 100 MB of 400 MB read, 25 %, 100 MB/s, 3 s left`);
    expect(shown.bars.length).toBe(6);
    progress.update({ doneBytes: 400 * MB, totalBytes: 400 * MB });
    progress.end();
    expect(shown.bars.at(-1)).toBeNull();
    const count = shown.bars.length;
    await clock.advance(10_000);
    progress.update({ doneBytes: 1, totalBytes: 2 });
    expect(shown.bars.length).toBe(count);
  });

  test("shows a bar while the work leaves the clock no turn", () => {
    const { clock, display, shown } = displayOf("bar");
    const progress = display.begin(WORK);
    for (let step = 0; step <= 200; step++) {
      clock.nowMs += 20;
      progress.update({ doneBytes: step, totalBytes: 200 });
    }
    // Four seconds: from the first to the fourth, five a second.
    expect([shown.bars.length >= 14, shown.bars.length <= 17]).toEqual([true, true]);
    progress.end();
  });

  test("logs a line every 10 s, with the rate of the last 10 s", async () => {
    const { clock, display, shown } = displayOf("lines");
    const progress = display.begin(WORK);
    for (let second = 1; second <= 30; second++) {
      const doneBytes = (second <= 20 ? second : 20 + (second - 20) * 4) * MB;
      progress.update({ doneBytes, totalBytes: 100 * MB });
      await clock.advance(1_000);
    }
    progress.end();
    expect(shown.lines).toEqual([
      "restoring app: 10.0 MB of 100 MB read, 10 %, 1.00 MB/s, 1 min 30 s left",
      "restoring app: 20.0 MB of 100 MB read, 20 %, 1.00 MB/s, 1 min 20 s left",
      "restoring app: 60.0 MB of 100 MB read, 60 %, 4.00 MB/s, 10 s left",
    ]);
    expect(shown.bars).toEqual([]);
  });

  test("writes a document each second", async () => {
    const { clock, display, shown } = displayOf("json");
    const progress = display.begin(WORK);
    progress.update({ doneBytes: 5, totalBytes: 10 });
    await clock.advance(3_500);
    progress.end();
    expect(shown.documents).toHaveLength(3);
    expect(shown.documents[0]).toEqual({
      progress: "restore",
      database: "app",
      counted: "read",
      done_bytes: 5,
      total_bytes: 10,
      sent_bytes: null,
      step: null,
      databases_done: null,
      databases_total: null,
      bytes_per_second: 5,
      seconds_left: 1,
      elapsed_ms: 1_000,
      at: new Date(1_001_000).toISOString(),
    });
    expect([shown.bars, shown.lines]).toEqual([[], []]);
  });

  test("shows a total that is not known, and a work that does not move", async () => {
    const { clock, display, shown } = displayOf("bar");
    const progress = display.begin({ ...WORK, unit: "sent" });
    progress.update({ doneBytes: 3 * MB, totalBytes: null });
    await clock.advance(1_000);
    expect(shown.bars.at(-1)).toBe("restoring app 3.00 MB sent, 3.00 MB/s");
    await clock.advance(30_000);
    expect(shown.bars.at(-1)).toBe("restoring app 3.00 MB sent, 0 B/s");
    progress.end();
  });

  test("names the step after the bytes", async () => {
    const { clock, display, shown } = displayOf("bar");
    await display.during(WORK, async (onProgress) => {
      onProgress(10 * MB, 10 * MB, "integrity_check");
      await clock.advance(2_000);
    });
    const bar = "█".repeat(30);
    expect(shown.bars[0]).toBe(`restoring app ${bar} 10.0 MB of 10.0 MB read, SQLite checks the file`);
  });

  test("shows bytes that are read and sent, without a percentage that would not hold", async () => {
    const { clock, display, shown } = displayOf("lines");
    const progress = display.begin({ ...WORK, label: "starting app" });
    progress.update({ doneBytes: 40 * MB, totalBytes: 40 * MB, sentBytes: 10 * MB, share: 0.5 });
    await clock.advance(10_000);
    progress.end();
    expect(shown.lines).toEqual(["starting app: 40.0 MB of 40.0 MB read, 10.0 MB sent, 5.00 MB/s"]);
  });

  test("estimates the time of several databases by their share", async () => {
    const { clock, display, shown } = displayOf("bar", 200);
    const progress = display.begin({ ...WORK, database: null, label: "restoring" });
    const databases = { done: 5, total: 20 };
    progress.update({ doneBytes: 7 * MB, totalBytes: null, databases, share: 0.25 });
    await clock.advance(10_000);
    expect(shown.bars.at(-1)).toEndWith(" 5 of 20 databases, 7.00 MB read, 717 KB/s, 30 s left");
    progress.end();
  });

  test("during ends the display of a work that fails", async () => {
    const { clock, display, shown } = displayOf("bar");
    const failed = display.during(WORK, async (onProgress) => {
      onProgress(1, 2);
      await clock.advance(2_000);
      throw new Error("failed");
    });
    await expect(failed).rejects.toThrow("failed");
    expect([shown.bars.length > 1, shown.bars.at(-1)]).toEqual([true, null]);
  });
});

describe("barText", () => {
  const pace: ProgressPace = { elapsedMs: 5_000, bytesPerSecond: 10 * MB, secondsLeft: 65 };
  const state: ProgressState = { doneBytes: 50 * MB, totalBytes: 700 * MB };

  test("is never wider than the terminal, whatever the width and the name", () => {
    for (const label of [
      "restoring app",
      `restoring ${"x".repeat(300)}`,
      "restoring 顧客データ/本番",
      "\u001b[31m",
    ]) {
      for (let columns = 1; columns <= 160; columns++) {
        const text = barText({ ...WORK, label }, state, pace, columns);
        const width = Bun.stringWidth(text);
        expect([label, columns, width < Math.max(2, columns)]).toEqual([label, columns, true]);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: none may be in the text
        expect(text).not.toMatch(/[\x00-\x1f\x7f-\x9f]/);
      }
    }
  });

  test("leaves out the bar first, then the time left and the rate", () => {
    const at = (columns: number): string => barText(WORK, state, pace, columns);
    expect(at(120)).toBe(
      `restoring app ██${"░".repeat(28)} 50.0 MB of 700 MB read, 7 %, 10.0 MB/s, 1 min 5 s left`,
    );
    expect(at(80)).toBe(
      `restoring app ${"░".repeat(10)} 50.0 MB of 700 MB read, 7 %, 10.0 MB/s, 1 min 5 s left`,
    );
    expect(at(72)).toBe("restoring app 50.0 MB of 700 MB read, 7 %, 10.0 MB/s, 1 min 5 s left");
    expect(at(45)).toBe("restoring app 50.0 MB of 700 MB read, 7 %");
    expect(at(20)).toBe("restoring app 50.0 ");
  });

  test("shows 100 % only for the whole", () => {
    const nearly = { doneBytes: 999_999, totalBytes: 1_000_000 };
    expect(barText(WORK, nearly, pace, 100)).toContain("99 %");
    expect(barText(WORK, { doneBytes: 0, totalBytes: 0 }, pace, 100)).toContain("100 %");
  });
});

test.each([
  [0, "1 s"],
  [59.4, "59 s"],
  [60, "1 min"],
  [65, "1 min 5 s"],
  [3_600, "1 h"],
  [5_399, "1 h 29 min"],
  [360_000, "100 h"],
])("durationText of %d s", (seconds, expected) => {
  expect(durationText(seconds)).toBe(expected);
});

test("progressJson has null for what is not known", () => {
  const pace = { elapsedMs: 1.5, bytesPerSecond: 0, secondsLeft: null };
  const work = { ...WORK, database: null };
  expect(progressJson(work, { doneBytes: 0, totalBytes: null }, pace, 0)).toMatchObject({
    database: null,
    total_bytes: null,
    seconds_left: null,
    at: "1970-01-01T00:00:00.000Z",
  });
});

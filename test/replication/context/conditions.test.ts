/** Conditions: logged once when they begin and once when they end, and listed in between. */
import { describe, expect, test } from "bun:test";
import type { Condition } from "../../../src/errors.ts";
import { Conditions } from "../../../src/replication/context/conditions.ts";
import type { WatchEvent } from "../../../src/replication/context/watch-events.ts";
import { ManualTime } from "../../observability/manual-time.ts";

const SLOW: Condition = {
  code: "falling-behind",
  health: "degraded",
  message: "the store is slow",
  hint: "Wait",
};

function begin(database: string | null = "app"): {
  conditions: Conditions;
  lines: () => string[];
  events: WatchEvent[];
} {
  const time = new ManualTime();
  const events: WatchEvent[] = [];
  const conditions = new Conditions(database, time.env, (event) => events.push(event));
  return { conditions, lines: () => time.lines.map(({ level, text }) => `${level} ${text}`), events };
}

describe("Conditions", () => {
  test("raise logs a condition once, however often it is raised", () => {
    const { conditions, lines, events } = begin();
    conditions.raise(SLOW);
    conditions.raise({ ...SLOW, message: "the store is slow: 12 s" });
    expect(lines()).toEqual(['warn the store is slow {"database":"app","hint":"Wait"}']);
    expect(conditions.current.map(({ message }) => message)).toEqual(["the store is slow: 12 s"]);
    expect(events).toHaveLength(1);
  });

  test("raise logs a condition again when its health changes", () => {
    const { conditions, lines } = begin();
    conditions.raise(SLOW);
    conditions.raise({ ...SLOW, health: "unhealthy" });
    expect(lines().map((line) => line.split(" ")[0])).toEqual(["warn", "error"]);
    expect(conditions.current).toHaveLength(1);
  });

  test("clear logs the end once, and removes the condition", () => {
    const { conditions, lines, events } = begin(null);
    conditions.clear("falling-behind");
    conditions.raise(SLOW);
    conditions.clear("falling-behind");
    conditions.clear("falling-behind");
    expect(lines()).toEqual([
      'warn the store is slow {"hint":"Wait"}',
      "info condition falling-behind ended: the store is slow {}",
    ]);
    expect(conditions.current).toEqual([]);
    expect(conditions.has("falling-behind")).toBe(false);
    expect(events.map((event) => event.event === "condition" && event.state)).toEqual(["raised", "cleared"]);
  });
});

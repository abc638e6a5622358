/** The sentences for a screen reader. */
import { expect, test } from "bun:test";
import {
  announcedOf,
  announcement,
  foundText,
} from "../../../../src/observability/dashboard/browser/announcement.ts";
import type { DashboardDocument } from "../../../../src/observability/dashboard/dashboard-document.ts";

test("announcement says what changed, and nothing when nothing did", () => {
  const calm = { status: "healthy", count: 0 };
  expect(announcement(null, calm)).toBe("Healthy. No database needs attention.");
  expect(announcement(calm, { ...calm })).toBeNull();
  expect(announcement(calm, { status: "degraded", count: 1 })).toBe("Degraded. 1 database needs attention.");
  expect(announcement(calm, { status: "unhealthy", count: 500 })).toBe(
    "Unhealthy. 500 databases need attention.",
  );
});

test("announcedOf counts the databases that are not healthy", () => {
  const totals = { healthy: 5, degraded: 2, unhealthy: 3 } as DashboardDocument["totals"];
  expect(announcedOf({ status: "unhealthy", totals })).toEqual({ status: "unhealthy", count: 5 });
});

test("foundText", () => {
  expect([foundText(3, 3), foundText(1, 1), foundText(0, 1_000)]).toEqual([
    "3 databases",
    "1 database",
    "0 of 1,000 databases",
  ]);
});

/**
 * The page as people see it: 3 and 500 databases, healthy and failing, light and dark, on a desk and on a
 * phone. Nothing is cut off at the side, and all text has the contrast that WCAG 2.2 asks for (1.4.3: 4.5).
 * WALRUST_SCREENSHOTS=FOLDER keeps a picture of each.
 */
import { describe, expect, setDefaultTimeout } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import {
  closeBrowserAtEnd,
  openInBrowser,
  type Page,
  type PageOptions,
} from "../../support/browser/chromium.ts";
import { eventually } from "../../support/eventually.ts";
import { testWith } from "../../support/servers/peers.ts";
import { uploaded } from "../samples.ts";
import { failingFleet, healthyFleet, ServedDashboard } from "./served-dashboard.ts";

setDefaultTimeout(60_000);
closeBrowserAtEnd();

const FOLDER = process.env["WALRUST_SCREENSHOTS"];

const LAYOUTS: readonly (readonly [name: string, options: PageOptions])[] = [
  ["desk-light", { width: 1440, height: 1000 }],
  ["desk-dark", { width: 1440, height: 1000, isDark: true }],
  ["tablet", { width: 820, height: 1100 }],
  ["phone-light", { width: 390, height: 844, isPhone: true }],
  ["phone-dark", { width: 360, height: 740, isPhone: true, isDark: true }],
];

/** Texts whose contrast with their background is too low, with the contrast. */
const LOW_CONTRAST = `(() => {
  const partsOf = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((part) => {
      const one = part / 255;
      return one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const backgroundOf = (element) => {
    for (let one = element; one !== null; one = one.parentElement) {
      const parts = partsOf(getComputedStyle(one).backgroundColor);
      if (parts.length === 3 || parts[3] === 1) return parts;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const texts = [...element.childNodes].filter((one) => one.nodeType === 3);
    const text = texts.map((one) => one.data.trim()).join("");
    if (text === "" || !element.checkVisibility()) continue;
    if (element.closest("script, style, .unseen") !== null) continue;
    const [a, b] = [luminance(partsOf(getComputedStyle(element).color)), luminance(backgroundOf(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) low.push(text.slice(0, 40) + ": " + contrast.toFixed(2));
  }
  return low;
})()`;

/** How far the page is wider than its window, in pixels. */
const OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth";

async function shown(page: Page, count: number): Promise<void> {
  await eventually("the table", async () => {
    return (await page.texts("#found"))[0] === (count === 500 ? "500 databases" : "3 databases");
  });
}

/** Half an hour in which the store became slow: only the process has it, and the page shows its sums. */
async function fillHistory(served: ServedDashboard, page: Page): Promise<void> {
  const { statuses } = served;
  for (let step = 0; step < 60; step++) {
    served.time.pass(30_000);
    for (let count = 0; count < 3 + (step % 9); count++) served.observer.observe(uploaded());
    const factor = 1 + ((step * 7) % 11) / 10;
    served.statuses = statuses.map((one) => ({ ...one, lagMs: (one.lagMs ?? 0) * factor }));
    await fetch(`${served.url}dashboard.json`);
  }
  served.statuses = statuses;
  await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))");
  await eventually("the history", async () => {
    return page.evaluate<boolean>("document.querySelector('#tiles path').getAttribute('d').length > 200");
  });
}

async function keep(page: Page, name: string): Promise<void> {
  if (FOLDER === undefined) return;
  mkdirSync(FOLDER, { recursive: true });
  await page.screenshot(join(FOLDER, `${name}.png`));
}

describe.each([3, 500])("the page with %d databases", (count) => {
  describe.each(["healthy", "failing"] as const)("%s", (health) => {
    testWith("chromium").each(LAYOUTS)("%s", async (layout, options) => {
      const served = new ServedDashboard([]);
      const nowMs = served.time.env.nowMs();
      served.statuses = health === "healthy" ? healthyFleet(count, nowMs) : failingFleet(count, nowMs);
      if (health === "failing") served.time.pass(62_000);
      const page = await openInBrowser(served.url, options);
      await shown(page, count);
      await fillHistory(served, page);
      const name = `${count}-${health}-${layout}`;
      await keep(page, name);
      expect(await page.evaluate<number>(OVERFLOW)).toBe(0);
      expect(await page.evaluate<string[]>(LOW_CONTRAST)).toEqual([]);
      await page.evaluate("scrollTo(0, document.body.scrollHeight / 2)");
      const [table] = await page.each<number>("#table", "one.offsetWidth");
      const widths = await page.each<number>("thead th", "one.offsetWidth");
      expect(Math.abs(widths.reduce((sum, width) => sum + width) - table!)).toBeLessThan(3);
      expect(widths[0]! / table!).toBeGreaterThan(0.2);
      await keep(page, `${name}-below`);
      await page.evaluate("scrollTo(0, 0); document.querySelector('tbody button').click()");
      await keep(page, `${name}-details`);
      expect(await page.evaluate<number>(OVERFLOW)).toBe(0);
      expect(await page.evaluate<string[]>(LOW_CONTRAST)).toEqual([]);
      expect(page.complaints).toEqual([]);
    });
  });
});

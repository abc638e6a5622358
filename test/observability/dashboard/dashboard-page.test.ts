/** The page as it is sent: made from its sources, and nothing in it that its policy forbids. */
import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { dashboardPage } from "../../../scripts/dashboard/make-page.ts";
import { DASHBOARD_HEADERS, DASHBOARD_PAGE } from "../../../src/observability/dashboard/dashboard-page.ts";

const SOURCES = join(import.meta.dir, "../../../src/observability");

test("the page is up to date (bun scripts/dashboard/make-page.ts)", async () => {
  expect(DASHBOARD_PAGE === (await dashboardPage())).toBe(true);
});

describe("the policy of the page", () => {
  const policy = new Map(
    DASHBOARD_HEADERS["content-security-policy"]!.split("; ").map((directive) => {
      const [name = "", ...sources] = directive.split(" ");
      return [name, sources.join(" ")] as const;
    }),
  );

  test("allows the one script and the one style by their SHA-256", () => {
    for (const element of ["script", "style"]) {
      const start = DASHBOARD_PAGE.indexOf(`<${element}>`) + element.length + 2;
      const content = DASHBOARD_PAGE.slice(start, DASHBOARD_PAGE.indexOf(`</${element}>`));
      expect(content.length).toBeGreaterThan(1_000);
      const digest = createHash("sha256").update(content).digest("base64");
      expect(policy.get(`${element}-src`)).toBe(`'sha256-${digest}'`);
    }
  });

  test("allows requests to this server alone, no frame around the page, and no text as markup", () => {
    expect(Object.fromEntries([...policy].filter(([name]) => !/^(script|style)-src$/.test(name)))).toEqual({
      "default-src": "'none'",
      "connect-src": "'self'",
      "img-src": "data:",
      "base-uri": "'none'",
      "form-action": "'none'",
      "frame-ancestors": "'none'",
      "require-trusted-types-for": "'script'",
      "trusted-types": "'none'",
    });
  });
});

describe("the page", () => {
  test("has one script, one style, and no attribute with code or style", () => {
    const markup = DASHBOARD_PAGE.replace(/<(script|style)>[\s\S]*?<\/\1>/g, "");
    expect(DASHBOARD_PAGE.match(/<(script|style)\b/g)).toEqual(["<style", "<script"]);
    expect(markup).not.toMatch(/\s(on\w+|style)=/i);
    expect(markup).not.toMatch(/<(img|iframe|object|embed|form|base)\b/i);
  });

  test("names no other server", () => {
    const addresses = [...DASHBOARD_PAGE.matchAll(/(?:https?:)?\/\/[\w.]+[^"'\s)]*/g)].map(([text]) => text);
    expect(new Set(addresses)).toEqual(new Set(["http://www.w3.org/2000/svg"]));
  });

  test("never writes markup, and keeps nothing in the browser", () => {
    for (const word of [
      "innerHTML",
      "outerHTML",
      "insertAdjacentHTML",
      "document.write",
      "eval(",
      "Storage",
      "cookie",
    ]) {
      expect([word, DASHBOARD_PAGE.includes(word)]).toEqual([word, false]);
    }
  });
});

test("the watch loads neither the page nor the maker of its document before the first request", async () => {
  const { outputs } = await Bun.build({
    entrypoints: [join(SOURCES, "observer.ts")],
    target: "bun",
    format: "esm",
    splitting: true,
  });
  const entry = await outputs.find(({ kind }) => kind === "entry-point")!.text();
  const others = await Promise.all(outputs.filter(({ kind }) => kind === "chunk").map((one) => one.text()));
  for (const [part, needle] of [
    ["page", "<!doctype html>"],
    ["policy", "frame-ancestors"],
    ["document", "snapshot_age_seconds"],
  ] as const) {
    expect([part, entry.includes(needle)]).toEqual([part, false]);
    expect([part, others.some((text) => text.includes(needle))]).toEqual([part, true]);
  }
  // Chunks that the entry imports at once would be loaded with it.
  expect([...entry.matchAll(/^import .*["'](\.\/[^"']+)["'];?$/gm)].map(([, path]) => path)).toEqual([]);
});

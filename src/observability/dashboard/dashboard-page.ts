/**
 * The page at `/`: one document with its style and its script inside, made by `bun
 * scripts/dashboard/make-page.ts` from the files in `browser/`. Loaded with the first request for the page.
 *
 * Invariants, held by the headers:
 * 1. The browser runs the one script and applies the one style whose SHA-256 stand in the policy, and nothing
 *    else: no other script, no attribute with code or style, no text that becomes markup (Trusted Types).
 * 2. The page requests nothing but this server, and no other page may show it in a frame.
 *
 * Source: Content Security Policy Level 3 (W3C), sections 2.3.1 and 6; Trusted Types (W3C).
 */
import page from "./page.txt" with { type: "text" };

/** The page, as HTML. */
export const DASHBOARD_PAGE: string = page;

/** The headers of the page. */
export const DASHBOARD_HEADERS: Readonly<Record<string, string>> = {
  "content-type": "text/html; charset=utf-8",
  "content-security-policy": [
    "default-src 'none'",
    `script-src ${sourceOf("script")}`,
    `style-src ${sourceOf("style")}`,
    "connect-src 'self'",
    // The icon of the tab, which shows the health.
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join("; "),
  "cross-origin-opener-policy": "same-origin",
  "permissions-policy": "camera=(), geolocation=(), microphone=()",
};

/** The SHA-256 of the content of the one element with this name. */
function sourceOf(element: "script" | "style"): string {
  const content = page.match(new RegExp(`<${element}[^>]*>([\\s\\S]*?)</${element}>`))?.[1] ?? "";
  return `'sha256-${new Bun.CryptoHasher("sha256").update(content).digest("base64")}'`;
}

/**
 * `bun scripts/dashboard/make-page.ts`: writes `src/observability/dashboard/page.txt`, the page that the
 * status server shows at `/`: the HTML, the style and the bundled script of
 * `src/observability/dashboard/browser/` as one document. The result is part of the sources, so that walrust
 * also runs from them. With `--check` the script writes nothing and exits with 1 when the file is out of
 * date.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fail, ROOT } from "../toolchain.ts";

const FOLDER = join(ROOT, "src", "observability", "dashboard");
const OUTPUT = join(FOLDER, "page.txt");

/** The page as one document. @throws Error when the script cannot be bundled */
export async function dashboardPage(): Promise<string> {
  const source = (name: string): string => readFileSync(join(FOLDER, "browser", name), "utf8");
  const style = source("page.css").replaceAll(/\s*\n\s*/g, "");
  const script = (await bundledScript()).trim();
  if (/<\/?(script|style)|<!--/i.test(script + style))
    throw new Error("the page would end inside its script");
  return source("page.html")
    .replace("<style></style>", () => `<style>${style}</style>`)
    .replace("<script></script>", () => `<script>${script}</script>`);
}

async function bundledScript(): Promise<string> {
  const { outputs } = await Bun.build({
    entrypoints: [join(FOLDER, "browser", "dashboard-main.ts")],
    target: "browser",
    format: "iife",
    minify: true,
  });
  return await outputs[0]!.text();
}

if (import.meta.main) {
  const page = await dashboardPage();
  const isCurrent = existsSync(OUTPUT) && readFileSync(OUTPUT, "utf8") === page;
  if (process.argv.includes("--check")) {
    if (!isCurrent) fail("The dashboard's page is out of date: run bun scripts/dashboard/make-page.ts");
    console.log("The dashboard's page is up to date.");
  } else {
    if (!isCurrent) await Bun.write(OUTPUT, page);
    console.log(isCurrent ? "The dashboard's page is up to date." : "The dashboard's page is written.");
  }
}

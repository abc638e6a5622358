/**
 * `bun run format [PATH…]`: wraps comments that exceed the line length, then runs Biome to format and fix.
 * Without paths it covers src, test and scripts.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import { wrapComments } from "./tidy/wrap-comments.ts";
import { bunCommand, ensurePackages, ROOT, run } from "./toolchain.ts";

await ensurePackages();
const paths = process.argv.slice(2);
const roots = paths.length > 0 ? paths : ["src", "test", "scripts"];

for (const root of roots) {
  const isFolder = statSync(join(ROOT, root)).isDirectory();
  const files = isFolder ? [...new Bun.Glob(`${root}/**/*.ts`).scanSync({ cwd: ROOT })] : [root];
  for (const file of files.filter((path) => path.endsWith(".ts"))) {
    const text = await Bun.file(join(ROOT, file)).text();
    const wrapped = wrapComments(text);
    if (wrapped !== text) await Bun.write(join(ROOT, file), wrapped);
  }
}

process.exit(
  await run(bunCommand("node_modules/.bin/biome", "check", "--config-path=.biome.json", "--write", ...paths)),
);

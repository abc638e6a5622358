/**
 * Loads walrust's sources for the simulator: a plugin edits each source file as it is imported
 * (seam-edits.ts), and plants the mutant that `WALRUST_SIM_MUTANT` names. Random names come from a counter,
 * because no decision may depend on them.
 */

import { join, relative, resolve } from "node:path";
import { plugin } from "bun";
import { findMutant } from "./mutants.ts";
import { editedSource } from "./seam/seam-edits.ts";

const ROOT = resolve(import.meta.dir, "../..");
const SEAM = join(import.meta.dir, "seam");
const mutant = findMutant(process.env["WALRUST_SIM_MUTANT"]);

plugin({
  name: "simulator",
  setup(build) {
    build.onLoad({ filter: /\/src\/.*\.ts$/ }, async ({ path }) => {
      const text = await Bun.file(path).text();
      const file = relative(ROOT, path);
      const isOurs = file.startsWith("src/");
      const contents = isOurs ? editedSource(file, text, SEAM, mutant?.edits) : text;
      return { contents, loader: "ts" };
    });
  },
});

let count = 0;
crypto.getRandomValues = (<T extends ArrayBufferView>(view: T): T => {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  count++;
  for (let index = 0; index < bytes.length; index++) bytes[index] = (count >>> (8 * (index % 4))) & 0xff;
  return view;
}) as typeof crypto.getRandomValues;

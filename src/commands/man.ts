/**
 * `walrust man`: prints the manual page.
 */
import { printJson, printText } from "./shared/output.ts";
import { USAGE_EXIT, type Verb } from "./shared/verb.ts";

/** The verb `man`. */
export const manVerb: Verb = {
  name: "man",
  summary: "Print the manual page, in the format of man(7)",
  usage: "",
  options: [],
  positionals: { name: "arguments", min: 0, max: 0, meaning: "" },
  examples: [
    ["walrust man | man -l -", "read it"],
    ["walrust man | sudo tee /usr/local/share/man/man1/walrust.1", "install it"],
  ],
  exitCodes: [[0, "printed"], USAGE_EXIT],
  run: async ({ verbs, version, date, isJson }) => {
    const { manPage } = await import("./manual/man-page.ts");
    const page = manPage({ verbs, version, date });
    if (isJson) printJson({ page });
    else printText(page);
    return 0;
  },
};

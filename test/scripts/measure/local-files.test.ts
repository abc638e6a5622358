/** Local files that a watch leaves behind. */
import { expect, test } from "bun:test";
import { unfinishedFiles } from "../../../scripts/measure/journal/local-files.ts";

const KEPT = [
  ...[
    "app.db-1/state.json",
    "app.db-1/pages.sum",
    "app.db-1/ltx/sent/0000-0000000000000002-0000000000000002.ltx",
  ],
  ...["app.db-1/objects-0.0123456789abcdef.tmp", "app.db-1/objects-1.0123456789abcdef.tmp"],
];

test("state, page sums, uploaded copies and one index of each level may stay", () => {
  expect(unfinishedFiles(KEPT)).toEqual([]);
});

test.each([
  "app.db-1/ltx/0000-0000000000000003-0000000000000003.ltx",
  "app.db-1/ltx/0000-0000000000000003-0000000000000003.ltx.0123456789abcdef.tmp",
  "app.db-1/state.json.0123456789abcdef.tmp",
  "app.db-1/objects-0.fedcba9876543210.tmp",
])("%s is left behind", (path) => {
  expect(unfinishedFiles([...KEPT, path])).toEqual([path]);
});

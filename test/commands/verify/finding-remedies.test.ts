/** The remedies of findings: one for every kind, with a command, and each once. */
import { expect, test } from "bun:test";
import { remediesOf } from "../../../src/commands/verify/finding-remedies.ts";
import { FINDING_SEVERITIES, type FindingCode } from "../../../src/recovery/verify/verify-report.ts";

const CODES = Object.keys(FINDING_SEVERITIES) as FindingCode[];

test.each(CODES)("the remedy of %s is a command with the name and the path", (code) => {
  const [one, ...others] = remediesOf("tenants/app", [{ code }, { code }], "/srv/app.db");
  expect([one!.codes, others]).toEqual([[code], []]);
  expect(one!.remedy).toMatch(/`[^`]+`/);
  expect(one!.remedy).not.toMatch(/\b(NAME|PATH)\b/);
});

test("kinds with one remedy stand together, in the order of the findings", () => {
  const codes: FindingCode[] = ["gap", "corrupt-object", "missing-object", "gap", "manifest-stale"];
  const remedies = remediesOf(
    "app",
    codes.map((code) => ({ code })),
  );
  expect(remedies.map((one) => one.codes)).toEqual([
    ["gap", "missing-object"],
    ["corrupt-object"],
    ["manifest-stale"],
  ]);
  expect(remedies[0]!.remedy).toStartWith("`walrust snapshot PATH` makes");
  expect(remedies[2]!.remedy).toBe("`walrust verify app --fix` puts this right");
});

test("a name or a path that a shell would split is quoted", () => {
  const [stale, gap] = remediesOf(
    "it's $HOME",
    [{ code: "manifest-stale" }, { code: "gap" }],
    "/a b/NAME.db",
  );
  expect(stale!.remedy).toStartWith("`walrust verify 'it'\\''s $HOME' --fix`");
  expect(gap!.remedy).toStartWith("`walrust snapshot '/a b/NAME.db'`");
});

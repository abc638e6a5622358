/** The text of verify: findings by remedy, and one line for the sound databases. */
import { expect, test } from "bun:test";
import { reportLines, soundLineOrNull } from "../../../src/commands/verify/verify-text.ts";
import { Findings, type VerifyReport } from "../../../src/recovery/verify/verify-report.ts";

const CHECKED: VerifyReport["checked"] = {
  objects: 4,
  bytes: 2048,
  snapshots: 1,
  chainedObjects: 4,
  unchainedObjects: 0,
  lostMetadataObjects: 0,
  readObjects: 2,
  readBytes: 1024,
  minTxid: 1,
  maxTxid: 4,
  restoredTxid: null,
  integrity: null,
  comparedWithLive: false,
  omittedFindings: 0,
};

function reportOf(name: string, findings: Findings = new Findings()): VerifyReport {
  return { name, status: findings.status, findings: findings.list(), checked: CHECKED, outlook: null };
}

test("reportLines names the remedy once below all findings of its kinds", () => {
  const findings = new Findings();
  for (const txid of [2, 3]) findings.add("corrupt-object", `app/${txid}.ltx`, txid, "has another SHA-256");
  findings.add("manifest-stale", "app/manifest.json", null, "the manifest is old");
  const lines = reportLines(reportOf("app", findings), [], { url: "s3://b/vm" }, "/srv/app.db");
  const from = lines.findIndex((line) => line.includes("ERROR"));
  expect(lines.slice(0, 2)).toEqual(["app in s3://b/vm", "  4 objects (2.00 KB), 1 snapshot, TXID 1 to 4"]);
  expect(lines.slice(from)).toEqual([
    "  ERROR corrupt-object: app/2.ltx has another SHA-256",
    "  ERROR corrupt-object: app/3.ltx has another SHA-256",
    expect.stringMatching(/^ {2}→ `walrust snapshot \/srv\/app\.db` makes/),
    "  WARNING manifest-stale: app/manifest.json the manifest is old",
    "  → `walrust verify app --fix` puts this right",
    "app: A RESTORE IS IN DANGER (2 errors, 1 warning)",
  ]);
});

test("soundLineOrNull is one line for a hundred databases, and leaves those with findings out", () => {
  const findings = new Findings();
  findings.add("gap", null, 2, "no object holds TXID 2");
  const bad = reportOf("bad", findings);
  expect(soundLineOrNull([bad])).toBeNull();
  expect(soundLineOrNull([bad, reportOf("app")])).toBe("app: ok (4 objects, 2.00 KB; 2 read in full)");
  const many = Array.from({ length: 100 }, (_, index) => reportOf(`t${index}`));
  expect(soundLineOrNull(many)).toBe(
    "t0, t1, t2, t3, t4, t5, t6, t7, t8, t9 and 90 more: ok (400 objects, 200 KB; 200 read in full)",
  );
  const tried = many.map((one) => ({ ...one, checked: { ...CHECKED, restoredTxid: 4 } }));
  expect(soundLineOrNull(tried)).toEndWith("; 100 databases restored on trial)");
});

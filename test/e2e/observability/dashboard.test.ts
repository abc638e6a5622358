/** The dashboard of the built executable: its page is part of the file, and shows what really happens. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import type { DashboardDocument } from "../../../src/observability/dashboard/dashboard-document.ts";
import { DASHBOARD_HEADERS, DASHBOARD_PAGE } from "../../../src/observability/dashboard/dashboard-page.ts";
import { closeBrowserAtEnd, openInBrowser } from "../../support/browser/chromium.ts";
import { eventually } from "../../support/eventually.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { newDatabase } from "../../support/runs/watch-run.ts";
import { testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);
closeBrowserAtEnd();

/** A watch of one database, and the address of its dashboard. */
async function watched() {
  const { path, app } = await newDatabase();
  const bucket = join(tempFolder("bucket"), "b");
  const options = ["--metrics-port", "0", "--wal-sync-interval", "0.05"];
  const watch = await WatchProcess.start([path, "-b", `file://${bucket}`, ...options]);
  await watch.waitForTxid(1);
  const url = /dashboard at (http:\S+),/.exec(watch.stderr)?.[1];
  if (url === undefined) throw new Error(`no address in the log:\n${watch.stderr}`);
  return { app, watch, url };
}

test("the executable holds the page and makes the document", async () => {
  const { app, watch, url } = await watched();
  const page = await fetch(url);
  expect([page.status, page.headers.get("content-security-policy")]).toEqual([
    200,
    DASHBOARD_HEADERS["content-security-policy"]!,
  ]);
  expect(await page.text()).toBe(DASHBOARD_PAGE);
  await app.must("INSERT INTO t(v) VALUES (1)");
  await watch.waitForTxid(2);
  const document = (await (await fetch(`${url}/dashboard.json`)).json()) as DashboardDocument;
  expect(document).toMatchObject({ status: "healthy", problems: [], totals: { healthy: 1, uploads: 2 } });
  const [name, status, health, lag, txid, uploadedTxid, , , walBytes, syncAge, snapshotAge] =
    document.databases[0]!;
  expect([name, status, health, lag, txid, uploadedTxid]).toEqual(["app", "syncing", "healthy", 0, 2, 2]);
  expect(walBytes).toBeGreaterThan(4_096);
  for (const age of [syncAge!, snapshotAge!]) expect(age).toBeLessThan(60);
  await app.close();
  expect(await watch.stop()).toBe(0);
});

testWith("chromium")("a commit shows in an open page, and so does the end of the watch", async () => {
  const { app, watch, url } = await watched();
  const page = await openInBrowser(url);
  const row = async (): Promise<string> => (await page.texts("tbody .row")).join();
  await eventually("the row", async () => (await row()).includes("Syncing"));
  await app.must("INSERT INTO t(v) VALUES (1)");
  await eventually("the commit", async () => (await page.texts("tbody .txid"))[0] === "2");
  await watch.stop();
  await eventually("the loss", async () => (await page.texts("#lost"))[0]!.startsWith("No news: "));
  expect(page.complaints.filter((one) => !one.includes("ERR_CONNECTION"))).toEqual([]);
  await app.close();
});

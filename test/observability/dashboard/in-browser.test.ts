/** The page in a browser: facts, hostile names, order, search, keys, news, loss of the server, its policy. */
import { describe, expect, setDefaultTimeout } from "bun:test";
import {
  closeBrowserAtEnd,
  openInBrowser,
  type Page,
  type PageOptions,
} from "../../support/browser/chromium.ts";
import { eventually } from "../../support/eventually.ts";
import { freePort } from "../../support/servers/free-port.ts";
import { testWith } from "../../support/servers/peers.ts";
import { failingWith, statusOf } from "../samples.ts";
import { failingFleet, healthyFleet, ServedDashboard } from "./served-dashboard.ts";

setDefaultTimeout(60_000);
closeBrowserAtEnd();

const ASK = "document.dispatchEvent(new Event('visibilitychange'))";

/** Opens the page and waits for the first document. */
async function openPage(served: ServedDashboard, options: PageOptions = {}): Promise<Page> {
  const page = await openInBrowser(served.url, options);
  await eventually("the first document", async () => (await page.texts("#found"))[0] !== "");
  return page;
}

/** Lets the page ask, and waits until it shows the answer: the clock of the document has gone on. */
async function news(served: ServedDashboard, page: Page): Promise<void> {
  const before = (await page.texts("#updated"))[0];
  served.time.pass(1_000);
  await eventually("the news", async () => {
    await page.evaluate(ASK);
    return (await page.texts("#updated"))[0] !== before;
  });
}

const names = (page: Page): Promise<string[]> => page.texts("tbody .row button");
const isOpen = (page: Page): Promise<boolean> => page.evaluate("document.querySelector('#details').open");
const isHidden = async (page: Page, selector: string): Promise<boolean> =>
  (await page.each<boolean>(selector, "one.hidden"))[0]!;
const focused = (page: Page): Promise<string> => page.evaluate("document.activeElement.textContent");

describe("the page shows", () => {
  testWith("chromium")("the facts of each database, from this server alone", async () => {
    const served = new ServedDashboard([]);
    const nowMs = served.time.env.nowMs();
    served.statuses = [
      statusOf({ database: "shop", txid: 4_211, uploadedTxid: 4_210, pendingCount: 1, pendingBytes: 4_300 }),
      statusOf({ database: "logs", lagMs: 2_400, snapshotTimeMs: nowMs - 720_000 }),
    ];
    const page = await openPage(served);
    expect(await page.texts("thead th")).toEqual([
      ...["Database", "State", "Behind", "Last hour", "TXID", "Snapshot", "Waiting", "WAL"],
    ]);
    expect(await page.texts("tbody .row > *:not(.name):not(.hour)")).toEqual([
      ...["Syncing", "2.4 s", "12", "12 min ago", "–", "–"],
      ...["Syncing", "0 s", "4,210 of 4,211", "2 h ago", "1 file, 4.3 KB", "–"],
    ]);
    expect(await names(page)).toEqual(["logs", "shop"]);
    expect((await page.texts("#health, #calm, #tiles .value")).slice(0, 4)).toEqual([
      ...["Healthy", "2", "Reachable", "2.4 s"],
    ]);
    expect(await page.texts("#calm")).toEqual(["Nothing."]);
    expect(await page.evaluate<string>("document.title")).toStartWith("Healthy · walrust on ");
    await news(served, page);
    const paths = page.requests
      .filter((url) => !url.startsWith("data:"))
      .map((url) => url.replace(served.url, "/"));
    expect(new Set(paths)).toEqual(new Set(["/", "/dashboard.json"]));
    expect(page.complaints).toEqual([]);
  });

  testWith("chromium")("names that are markup, code or tricks, as text", async () => {
    const hostile = [
      "<img src=x onerror=document.title='owned'>",
      "</script><script>document.title='owned'</script>",
      '"><svg/onload=alert(1)>',
      "gpj.\u202egnp",
      "__proto__",
      "a\nb\u0000c",
      "x".repeat(500),
    ];
    const served = new ServedDashboard(
      hostile.map((database) => failingWith("storage", { database, lagMs: 9_000 })),
    );
    served.statuses = served.statuses.map((status) => ({
      ...status,
      failure: { code: "storage", message: `${status.database} <b>failed</b>`, hint: "<i>mend</i>" },
    }));
    const page = await openPage(served);
    expect((await names(page)).toSorted()).toEqual(
      hostile
        .map((name) => name.replace("\u202e", "\\u{202e}").replace("\n", "\\u{a}").replace("\0", "\\u{0}"))
        .toSorted(),
    );
    expect(await page.texts("#problems .message")).toEqual([`${hostile[0]} <b>failed</b>`]);
    await page.click("tbody button");
    expect(
      await page.evaluate<number>("document.querySelectorAll('img, i, main script, svg svg').length"),
    ).toBe(0);
    expect(await page.evaluate<string>("document.title")).toStartWith("(7) Degraded");
    expect(page.complaints).toEqual([]);
  });

  testWith("chromium")("what is wrong and what to do, once for all databases with one remedy", async () => {
    const served = new ServedDashboard([]);
    served.statuses = failingFleet(120, served.time.env.nowMs());
    served.storeConditions = [
      {
        code: "weak-writes",
        health: "degraded",
        message: "The store ignores If-None-Match.",
        hint: "One writer.",
      },
    ];
    const page = await openPage(served);
    const entry = "one.className + ': ' + one.querySelector('.mark').textContent";
    expect(await page.each<string>("#problems li", entry)).toEqual([
      "degraded: The store",
      "unhealthy: 3 databases",
      "unhealthy: tenants/customer-2/app",
      "degraded: 56 databases",
      "degraded: 4 databases",
    ]);
    expect((await page.texts("#problems .hint"))[2]).toBe(
      "Stop the application with SIGTERM and start it again",
    );
    await page.click("#problems button[data-code=not-wal]");
    expect(await names(page)).toEqual([8, 33, 58, 108].map((number) => `tenants/customer-${number}/app`));
    expect(await page.texts("#found, #show-code")).toEqual(["Only: not-wal ✕", "4 of 120 databases"]);
    await page.click("#show-code");
    expect(await page.texts("#found")).toEqual(["120 databases"]);
    await page.click("tbody button");
    expect((await page.texts("#details .hint"))[0]).toContain("Decide which walrust keeps this prefix");
    expect(await isOpen(page)).toBe(true);
    await page.press("Escape");
    expect(await isOpen(page)).toBe(false);
    expect(await focused(page)).toBe((await names(page))[0]!);
  });
});

describe("the page follows", () => {
  testWith("chromium")("the news, and touches only what has changed", async () => {
    const served = new ServedDashboard([]);
    served.statuses = healthyFleet(1_000, served.time.env.nowMs()).map((one) => ({
      ...one,
      uploadedTimeMs: null,
    }));
    const page = await openPage(served);
    await page.evaluate(`(() => {
      window.changed = new Set();
      new MutationObserver((all) => {
        for (const { target } of all) {
          const element = target.nodeType === 1 ? target : target.parentElement;
          const name = element.closest("tr")?.querySelector("button").textContent;
          window.changed.add(name + " " + (element.tagName === "path" ? "path" : element.className));
        }
      }).observe(document.querySelector("tbody"), {
        subtree: true, childList: true, characterData: true, attributes: true,
      });
    })()`);
    const [first, ...others] = served.statuses;
    served.statuses = [{ ...first!, txid: 9_999 }, ...others];
    await news(served, page);
    // The lines and the ages of snapshots go on; of the rest, one cell of one row is another.
    const changed = await page.evaluate<string[]>("[...window.changed]");
    expect(changed.filter((one) => !/ (snapshot|hidden|path)$|undefined/.test(one))).toEqual([
      "tenants/customer-1/app txid",
    ]);
    expect(await page.evaluate<number>("document.querySelectorAll('tbody tr').length")).toBeLessThan(70);
  });

  testWith("chromium")("a failure and its end, in words that a screen reader gets once", async () => {
    const served = new ServedDashboard(healthyFleet(3, Date.UTC(2026, 0, 15, 12, 35)));
    const page = await openPage(served);
    await page.evaluate(`(() => {
      window.said = [];
      const announcer = document.querySelector("#announcer");
      const observer = new MutationObserver(() => window.said.push(announcer.textContent));
      observer.observe(announcer, { childList: true });
    })()`);
    const said = (): Promise<string[]> => page.evaluate("window.said");
    await eventually("the first sentence", async () => (await said()).length > 0);
    const [healthy, ...others] = served.statuses;
    served.statuses = [failingWith("auth", { database: "shop", lagMs: 70_000 }), ...others];
    for (let round = 0; round < 3; round++) await news(served, page);
    expect(await page.texts("#health, #problems .mark")).toEqual(["Unhealthy", "shop"]);
    expect(await page.evaluate<string>("document.title")).toStartWith("(1) Unhealthy");
    await eventually("the second sentence", async () => (await said()).length > 1);
    served.statuses = [healthy!, ...others];
    await news(served, page);
    expect(await page.texts("#health")).toEqual(["Healthy"]);
    expect(await isHidden(page, "#calm")).toBe(false);
    await eventually("the third sentence", async () => (await said()).length > 2);
    expect(await said()).toEqual([
      "Healthy. No database needs attention.",
      "Unhealthy. 1 database needs attention.",
      "Healthy. No database needs attention.",
    ]);
  });

  testWith("chromium")("the loss of the server and its return, and another version", async () => {
    const port = freePort();
    const first = new ServedDashboard([statusOf()], "0.4.0", port);
    const page = await openPage(first);
    await first.close();
    await eventually("the banner", async () => {
      await page.evaluate(ASK);
      return !(await isHidden(page, "#lost"));
    });
    expect((await page.texts("#lost"))[0]).toStartWith(
      "No news: walrust does not answer. The figures below are as of ",
    );
    expect(await names(page)).toEqual(["app"]);
    expect(await page.evaluate<string>("document.title")).toBe("No news · walrust");
    await page.evaluate("window.isOld = true");
    new ServedDashboard([statusOf({ database: "other" })], "0.5.0", port);
    await eventually("the page of the other version", async () => {
      await page.evaluate(ASK);
      return (await names(page))[0] === "other" && (await page.evaluate("window.isOld")) === undefined;
    });
    expect(await isHidden(page, "#lost")).toBe(true);
  });
});

describe("the table", () => {
  const fleet = (count: number): ServedDashboard => {
    const served = new ServedDashboard([]);
    served.statuses = healthyFleet(count, served.time.env.nowMs());
    return served;
  };

  testWith("chromium")("is ordered by the heads of its columns, with the mouse and the keys", async () => {
    const served = fleet(3);
    const page = await openPage(served);
    const sorted = (): Promise<string[]> =>
      page.each("[aria-sort]", "one.className + ' ' + one.getAttribute('aria-sort')");
    expect(await sorted()).toEqual(["state descending"]);
    await page.click("thead .txid button");
    expect([await names(page), await sorted()]).toEqual([
      ["events", "accounts", "shop"],
      ["txid descending"],
    ]);
    await page.press("Enter");
    expect([await names(page), await sorted()]).toEqual([["shop", "accounts", "events"], ["txid ascending"]]);
    expect(await page.evaluate<string>("location.hash")).toBe("#sort=txid");
    const again = await openInBrowser(`${served.url}#sort=-lag&q=s`);
    await eventually("the view of the address", async () => (await names(again)).length === 3);
    expect(await names(again)).toEqual(["shop", "accounts", "events"]);
    expect(await again.evaluate<string>("document.querySelector('#query').value")).toBe("s");
  });

  testWith("chromium")("is searched, from anywhere with /", async () => {
    const page = await openPage(fleet(1_000));
    await page.press("/", ..."er-77");
    expect((await page.texts("#found, #announcer")).toSorted()).toEqual([
      "11 of 1,000 databases",
      "11 of 1,000 databases",
    ]);
    expect((await names(page)).length).toBe(11);
    await page.press("Escape");
    expect(await page.texts("#found")).toEqual(["1,000 databases"]);
  });

  testWith("chromium")("draws the rows in the window, and says how many there are", async () => {
    const page = await openPage(fleet(1_000));
    const drawn = (): Promise<number[]> => page.each("tbody .row", "Number(one.ariaRowIndex)");
    expect(await page.each<string>("table", "one.ariaRowCount")).toEqual(["1001"]);
    expect((await drawn())[0]).toBe(2);
    await page.evaluate("scrollTo(0, document.body.scrollHeight)");
    await eventually("the last row", async () => (await drawn()).at(-1) === 1_001);
    expect((await names(page)).at(-1)).toBe("tenants/customer-1000/app");
    expect((await drawn()).length).toBeLessThan(70);
    const indexes = await drawn();
    expect(indexes).toEqual(indexes.map((_, place) => indexes[0]! + place));
  });

  testWith("chromium")(
    "is walked with the arrow keys, and keeps the focus when rows change places",
    async () => {
      const served = fleet(1_000);
      const page = await openPage(served);
      await page.evaluate("document.querySelector('thead .wal button').focus()");
      await page.press("Tab", "ArrowDown", "ArrowDown");
      expect(await focused(page)).toBe("tenants/customer-3/app");
      await page.press("End");
      expect(await focused(page)).toBe("tenants/customer-1000/app");
      await page.press("Home", "PageDown");
      expect(await focused(page)).toBe("tenants/customer-16/app");
      const [place] = await page.each<{ top: number; bottom: number }>(
        ":focus",
        "one.getBoundingClientRect().toJSON()",
      );
      expect(place!.top).toBeGreaterThan(0);
      expect(place!.bottom).toBeLessThanOrEqual(800);
      served.statuses = served.statuses.map((one, index) => (index === 15 ? { ...one, lagMs: 20_000 } : one));
      await news(served, page);
      expect((await names(page))[0]).toBe("tenants/customer-16/app");
      expect(await focused(page)).toBe("tenants/customer-16/app");
      expect((await page.texts("tbody button[tabindex='0']")).length).toBe(1);
      await page.press("Enter");
      expect(await page.texts("#details-name")).toEqual(["tenants/customer-16/app"]);
      served.statuses = served.statuses.filter((_, index) => index !== 15);
      await news(served, page);
      expect(await isOpen(page)).toBe(false);
    },
  );
});

describe("the policy holds in the browser:", () => {
  testWith("chromium")("no other script, no markup from text, no other server", async () => {
    const served = new ServedDashboard([statusOf()]);
    const other = new ServedDashboard([statusOf()]);
    const page = await openPage(served);
    const attempt = (code: string): Promise<string> =>
      page.evaluate(`(async () => { ${code}; return "done"; })().catch((error) => error.name)`);
    expect(await attempt("document.body.innerHTML = '<b>x</b>'")).toBe("TypeError");
    expect(await attempt("await import('data:text/javascript,1')")).toBe("TypeError");
    expect(await attempt(`await fetch(${JSON.stringify(other.url)})`)).toBe("TypeError");
    await attempt("document.body.setAttribute('style', 'color: red')");
    expect(await page.evaluate<string>("document.body.style.color")).toBe("");
    expect(page.complaints.length).toBeGreaterThanOrEqual(3);
    expect(page.requests.some((url) => url.startsWith(other.url))).toBe(false);
  });

  testWith("chromium")("no other page shows it in a frame or reads its data", async () => {
    const served = new ServedDashboard([statusOf({ database: "secret" })]);
    const thief = Bun.serve({
      port: 0,
      fetch: () => new Response("<iframe></iframe>", { headers: { "content-type": "text/html" } }),
    });
    const page = await openInBrowser(`http://localhost:${thief.port}/`);
    for (const mode of ["cors", "no-cors"]) {
      const read = `fetch(${JSON.stringify(`${served.url}dashboard.json`)}, { mode: "${mode}" })`;
      const outcome = `${read}.then((answer) => answer.text(), (error) => error.name)`;
      expect([mode, await page.evaluate<string>(outcome)]).toEqual([mode, "TypeError"]);
    }
    await page.evaluate(`new Promise((resolve) => {
      const frame = document.querySelector("iframe");
      frame.onload = resolve;
      frame.src = ${JSON.stringify(served.url)};
    })`);
    expect(page.complaints.join()).toContain("frame-ancestors");
    thief.stop(true);
  });
});

/**
 * The delivery of notices: signed, in order, retried, bounded, and separate for each webhook. Retries are
 * not logged.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import type { Notice } from "../../src/observability/webhook-notice.ts";
import { QUEUE_MAX, WebhookQueue } from "../../src/observability/webhook-queue.ts";
import { HookServer } from "./hook-server.ts";
import { ManualTime, START_MS } from "./manual-time.ts";

const REQUEST_TIMEOUT_MS = 10_000;
const ends: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

/** A failure of the database `db<index>`. */
function notice(index: number, overrides: Partial<Notice> = {}): Notice {
  const database = `db${index}`;
  const error = `fäilure ${index} \u{1f40b}`;
  const failure = { event: "sync_failed", database, error, attempts: 1, timeMs: START_MS } as const;
  return { ...failure, writer: null, closes: [], ...overrides };
}

function recoveredOf(closes: readonly Notice[]): Notice {
  return notice(0, { event: "recovered", error: null, closes });
}

interface Rig {
  readonly server: HookServer;
  readonly queue: WebhookQueue;
  readonly time: ManualTime;
  readonly aborter: AbortController;
}

function rig({ secret, time = new ManualTime() }: { secret?: string; time?: ManualTime } = {}): Rig {
  const server = new HookServer();
  const aborter = new AbortController();
  const context = { hostname: "vm1", version: "0.4.0", env: time.env, signal: aborter.signal };
  const queue = new WebhookQueue({ url: server.secretUrl, events: ["sync_failed"], secret }, context);
  ends.push(async () => {
    aborter.abort();
    await queue.done();
    await server.close();
    expect(time.sleepsMs).toEqual([]);
    for (const { text } of time.lines) expect(text).not.toContain("S3CRET");
  });
  return { server, queue, time, aborter };
}

function databases(server: HookServer): unknown[] {
  return server.requests.map(({ json }) => json["database"]);
}

describe("WebhookQueue sends", () => {
  test("a POST of JSON with the userinfo as credentials, unsigned without a secret", async () => {
    const { server, queue } = rig();
    queue.push(notice(1));
    await queue.done();
    const { method, path, headers, json } = server.requests[0]!;
    expect([method, path]).toEqual(["POST", "/S3CRET-PATH"]);
    expect(headers.get("content-type")).toBe("application/json");
    expect(headers.get("user-agent")).toBe("walrust/0.4.0");
    expect(headers.get("authorization")).toBe(`Basic ${btoa("user:S3CRET-PASSWORD")}`);
    expect(headers.get("x-walrust-signature")).toBeNull();
    expect(json["database"]).toBe("db1");
  });

  test("the HMAC-SHA256 of the bytes that arrive", async () => {
    const secret = "S3CRET-kéy";
    const { server, queue } = rig({ secret });
    queue.push(notice(1));
    queue.push(notice(2));
    await queue.done();
    for (const { body, headers } of server.requests) {
      const hmac = createHmac("sha256", secret).update(body).digest("hex");
      expect(headers.get("x-walrust-signature")).toBe(`sha256=${hmac}`);
    }
    expect(server.requests[0]!.json["error"]).toBe("fäilure 1 \u{1f40b}");
  });

  test("in order, one after the other", async () => {
    const { server, queue } = rig();
    for (let index = 0; index < 50; index++) queue.push(notice(index));
    await queue.done();
    expect(databases(server)).toEqual(Array.from({ length: 50 }, (_, index) => `db${index}`));
  });

  test("only the requested events", async () => {
    const { server, queue } = rig();
    queue.push(notice(1, { event: "auth_failure" }));
    queue.push(notice(2));
    await queue.done();
    expect(databases(server)).toEqual(["db2"]);
  });
});

describe("WebhookQueue tries again", () => {
  test("after 500, 503 and 429, with full jitter and in order, without a log line", async () => {
    const { server, queue, time } = rig({ secret: "s" });
    server.script.push(500, 503, 429);
    queue.push(notice(1));
    queue.push(notice(2));
    for (const delayMs of [500, 1_000, 2_000]) {
      await time.sleeping(delayMs);
      time.pass(delayMs);
    }
    await queue.done();
    expect(databases(server)).toEqual(["db1", "db1", "db1", "db1", "db2"]);
    const signatures = server.requests.slice(0, 4).map(({ headers }) => headers.get("x-walrust-signature"));
    expect(new Set(signatures).size).toBe(1);
    expect(time.lines).toEqual([]);
  });

  test.each([400, 401, 404, 410, 501])(
    "after %d only if the status permits a retry, and gives up in the end",
    async (status) => {
      const { server, queue, time } = rig();
      server.reply = status;
      queue.push(notice(1));
      if (status >= 500) {
        for (const delayMs of [500, 1_000, 2_000]) {
          await time.sleeping(delayMs);
          time.pass(delayMs);
        }
      }
      await queue.done();
      expect(server.requests.length).toBe(status >= 500 ? 4 : 1);
      expect(time.said("warn")).toEqual([
        `cannot deliver a notice to a webhook: http://${server.host} answered ${status} {}`,
      ]);
    },
  );

  test("not after a redirect, which is not followed", async () => {
    const { server, queue, time } = rig();
    server.script.push({ redirect: "/elsewhere" });
    queue.push(notice(1));
    await queue.done();
    expect(server.requests.map(({ path }) => path)).toEqual(["/S3CRET-PATH"]);
    expect(time.said("warn")[0]).toContain("answered 307");
    expect(time.said("warn")[0]).toContain("redirects are not followed");
  });

  test("after ten seconds without an answer", async () => {
    const { server, queue, time } = rig();
    server.script.push("hang");
    queue.push(notice(1));
    await server.received(1);
    time.pass(REQUEST_TIMEOUT_MS - 1);
    await time.sleeping(REQUEST_TIMEOUT_MS);
    time.pass(1);
    await time.sleeping(500);
    time.pass(500);
    await queue.done();
    expect(server.requests.length).toBe(2);
    expect(time.lines).toEqual([]);
  });

  test("if nobody listens, with one log line that names the host alone, until it answers again", async () => {
    const { queue, time, server } = rig();
    const { host } = server;
    server.reply = 404;
    for (const index of [1, 2, 3]) queue.push(notice(index));
    await queue.done();
    expect(time.said("warn").length).toBe(1);
    server.reply = 200;
    queue.push(notice(4));
    await queue.done();
    expect(time.said("info")).toEqual([`webhook http://${host} accepts notices again {}`]);
    await server.close();
    queue.push(notice(5));
    for (const delayMs of [500, 1_000, 2_000]) {
      await time.sleeping(delayMs);
      time.pass(delayMs);
    }
    await queue.done();
    expect(time.said("warn").length).toBe(2);
    expect(time.said("warn")[1]).toContain(`http://${host} cannot be reached: ECONNREFUSED`);
  });
});

describe("WebhookQueue is bounded", () => {
  test("the oldest notices are dropped with one warning, and so are their ends", async () => {
    const { server, queue, time } = rig();
    server.script.push("hang");
    const all = Array.from({ length: QUEUE_MAX + 11 }, (_, index) => notice(index));
    queue.push(all[0]!);
    await server.received(1);
    for (const one of all.slice(1)) queue.push(one);
    expect(time.said("warn").length).toBe(1);
    expect(time.said("warn")[0]).toContain("the oldest are dropped");
    // db1 to db10 were dropped, and now db11.
    queue.push(recoveredOf([all[5]!, all[11]!]));
    time.pass(REQUEST_TIMEOUT_MS);
    await time.sleeping(500);
    time.pass(500);
    await queue.done();
    const expected = ["db0", "db0", ...all.slice(12).map(({ database }) => database)];
    expect(databases(server)).toEqual(expected);
    expect(time.said("warn").length).toBe(1);
  });

  test("a webhook that hangs does not delay another", async () => {
    const time = new ManualTime();
    const slow = rig({ time });
    const quick = rig({ time });
    slow.server.reply = "hang";
    for (const index of [1, 2, 3]) {
      slow.queue.push(notice(index));
      quick.queue.push(notice(index));
    }
    await quick.queue.done();
    expect(databases(quick.server)).toEqual(["db1", "db2", "db3"]);
    await slow.server.received(1);
    expect(databases(slow.server)).toEqual(["db1"]);
    slow.aborter.abort();
  });

  test("the end of a failure is sent even after a failed delivery, which may have arrived", async () => {
    const { server, queue } = rig();
    server.script.push(400);
    const failure = notice(1);
    queue.push(failure);
    queue.push(recoveredOf([failure, notice(2)]));
    await queue.done();
    expect(server.requests[1]!.json["closes"]).toEqual(["sync_failed"]);
  });

  test("an abort ends the queue at once, and logs the number of undelivered notices", async () => {
    const { server, queue, time, aborter } = rig();
    server.reply = "hang";
    for (const index of [1, 2, 3]) queue.push(notice(index));
    await server.received(1);
    aborter.abort();
    await queue.done();
    expect(time.said("warn")).toEqual([
      `webhook http://${server.host}: 3 notices were not delivered before the end {}`,
    ]);
    queue.push(notice(4));
    await queue.done();
    expect(server.requests.length).toBe(1);
  });
});

test.each(["", "S3CRET", "ftp://host/S3CRET", "file:///S3CRET", "http://", "//host/S3CRET"])(
  "WebhookQueue refuses the URL %j without quoting it",
  (url) => {
    const { env } = new ManualTime();
    const context = { hostname: "vm1", version: "0.4.0", env, signal: new AbortController().signal };
    let message = "";
    try {
      new WebhookQueue({ url, events: [], secret: undefined }, context);
    } catch (error) {
      message = String(error);
      expect(error).toMatchObject({ code: "config" });
    }
    expect(message).toContain("[[webhooks]]");
    expect(message).not.toContain("S3CRET");
  },
);

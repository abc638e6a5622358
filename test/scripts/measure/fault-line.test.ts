/** The line with faults, before an HTTP server in this process: each kind of episode, and the counts. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { FaultLine } from "../../../scripts/measure/storage/fault-line.ts";
import { requestKindOrNull } from "../../../scripts/measure/storage/requests.ts";
import type { Weather, WeatherKind } from "../../../scripts/measure/storage/weather.ts";
import { eventually } from "../../support/eventually.ts";

const ANSWER = "x".repeat(20_000);
let received: string[] = [];
const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  fetch: async (request) => {
    received.push(`${request.method} ${(await request.bytes()).length}`);
    return new Response(ANSWER);
  },
});
let line: FaultLine;

beforeAll(async () => {
  line = await FaultLine.start(server.port!, 1);
});
afterEach(() => {
  line.set(null);
  received = [];
});
afterAll(async () => {
  line.stop();
  await server.stop(true);
});

const episode = (kind: WeatherKind, share = 1): Weather => ({
  ...{ kind, share, delayMs: kind === "latency" ? 40 : 0 },
});
const put = (bytes = 5): Promise<Response> =>
  fetch(`http://127.0.0.1:${line.port}/b/soak/a/0000/1-1.ltx`, {
    ...{ method: "PUT", body: "y".repeat(bytes) },
  });

/** Waits until the line has seen one more request than now. */
function nextRequest(): () => Promise<void> {
  const count = (): number => line.counts.requests["put increment"] ?? 0;
  const before = count();
  return () => eventually("a request at the line", async () => count() > before);
}

describe("FaultLine", () => {
  test("passes requests and answers whole in calm weather", async () => {
    const before = line.counts.requests["put increment"] ?? 0;
    for (const bytes of [1, 300_000]) expect(await (await put(bytes)).text()).toBe(ANSWER);
    expect(received).toEqual(["PUT 1", "PUT 300000"]);
    expect(line.counts.requests["put increment"]).toBe(before + 2);
  });

  test("errors: answers 500 or 503 in place of the server", async () => {
    line.set(episode("errors"));
    const statuses = await Promise.all(Array.from({ length: 20 }, async () => (await put(100_000)).status));
    expect(new Set(statuses)).toEqual(new Set([500, 503]));
    expect(received).toEqual([]);
  });

  test("errors: a share of the requests passes", async () => {
    line.set(episode("errors", 0.5));
    const statuses = [];
    for (let count = 0; count < 30; count++) statuses.push((await put()).status);
    expect(new Set(statuses)).toEqual(new Set([200, 500, 503]));
  });

  test("resets: every request fails, and some take effect", async () => {
    line.set(episode("resets"));
    const outcomes = await Promise.all(
      Array.from({ length: 30 }, () =>
        put(40_000).then(
          (answer) =>
            answer.text().then(
              () => "answered",
              () => "cut",
            ),
          () => "cut",
        ),
      ),
    );
    expect(new Set(outcomes)).toEqual(new Set(["cut"]));
    expect(received.length).toBeGreaterThan(0);
    expect(received.length).toBeLessThan(30);
  });

  test("throttling: answers 429 or 503 with Retry-After", async () => {
    line.set(episode("throttling"));
    const answers = await Promise.all(Array.from({ length: 20 }, () => put()));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([429, 503]));
    expect(new Set(answers.map(({ headers }) => headers.get("Retry-After")))).toEqual(new Set(["1"]));
    expect(received).toEqual([]);
  });

  test("skew: refuses the time of a request with a date beyond the tolerance of S3", async () => {
    line.set(episode("skew"));
    const answer = await put();
    expect(answer.status).toBe(403);
    expect(await answer.text()).toContain("<Code>RequestTimeTooSkewed</Code>");
    const skewMs = Date.parse(answer.headers.get("Date")!) - Date.now();
    expect(Math.abs(skewMs)).toBeGreaterThan(15 * 60_000);
  });

  test("truncation: requests take effect, and their answers end early", async () => {
    line.set(episode("truncation"));
    const outcomes = await Promise.all(
      Array.from({ length: 10 }, () =>
        put(1_000).then(
          (answer) => answer.text().then(({ length }) => length),
          () => 0,
        ),
      ).map((outcome) => outcome.catch(() => 0)),
    );
    expect(Math.max(...outcomes)).toBeLessThan(ANSWER.length);
    expect(received).toHaveLength(10);
    expect(line.counts.faults.truncated).toBe(10);
  });

  test("latency: delays each direction", async () => {
    line.set(episode("latency"));
    const startMs = performance.now();
    expect(await (await put()).text()).toBe(ANSWER);
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(78);
  });

  test("stall: nothing moves until the end of the episode", async () => {
    line.set(episode("stall"));
    let isAnswered = false;
    const hasArrived = nextRequest();
    const answer = put().then((one) => {
      isAnswered = true;
      return one.text();
    });
    await hasArrived();
    expect({ isAnswered, received }).toEqual({ isAnswered: false, received: [] });
    line.set(null);
    expect(await answer).toBe(ANSWER);
  });

  test("outage: cuts open connections and refuses new ones", async () => {
    line.set(episode("stall"));
    const hasArrived = nextRequest();
    const open = put().catch(() => "cut");
    await hasArrived();
    line.set(episode("outage"));
    expect(await open).toBe("cut");
    expect(await put().catch(() => "refused")).toBe("refused");
    expect(line.counts.faults.refused).toBeGreaterThan(0);
    line.set(null);
    expect((await put()).status).toBe(200);
  });
});

test.each([
  ["PUT /b/p/app/0000/1-2.ltx", "put increment"],
  ["PUT /b/p/app/0002/1-2.ltx?partNumber=1&uploadId=x", "put merged"],
  ["PUT /b/p/app/0009/1-2.ltx", "put snapshot"],
  ["PUT /b/p/app/manifest.json", "put manifest"],
  ["PUT /b/p/probe", "other"],
  ["GET /b?list-type=2&prefix=p", "list"],
  ["GET /b?uploads=&prefix=p", "other"],
  ["GET /b/p/app/0000/1-2.ltx", "get"],
  ["HEAD /b/p/app/0000/1-2.ltx", "head"],
  ["DELETE /b/p/app/0000/1-2.ltx", "delete"],
  ["POST /b?delete=", "delete"],
  ["POST /b/p/app/0009/1-2.ltx?uploads=", "other"],
])("requestKindOrNull: %s is %s", (start, kind) => {
  expect(requestKindOrNull(Buffer.from(`${start} HTTP/1.1\r\nHost: x\r\n\r\n`))).toBe(kind as never);
});

test("requestKindOrNull: bytes of a body are no request", () => {
  expect(requestKindOrNull(Buffer.from("PUT it there"))).toBeNull();
  expect(requestKindOrNull(Buffer.alloc(5_000))).toBeNull();
});

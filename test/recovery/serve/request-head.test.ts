/** Heads of requests with bodies: what is read, and what is refused with which status. */
import { describe, expect, test } from "bun:test";
import { HEAD_SIZE_MAX, readRequestHead } from "../../../src/recovery/serve/request-head.ts";

const PUT = "PUT /v1/app?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n";

describe("readRequestHead", () => {
  test("reads method, path, headers and the length of the body", () => {
    const reading = readRequestHead(`${PUT}X-Walrust-Meta-Chain:  abc \r\n\r\nbody`);
    if (reading.kind !== "head") throw new Error(reading.kind);
    const { headers, ...head } = reading.head;
    expect(head).toEqual({
      ...{ method: "PUT", path: "/v1/app", bodyBytes: 12, isKept: true, awaitsContinue: false },
    });
    expect(headers.get("x-walrust-meta-chain")).toBe("abc");
    expect(reading.sizeBytes).toBe(`${PUT}X-Walrust-Meta-Chain:  abc \r\n\r\n`.length);
  });

  test("keeps a connection of HTTP/1.1 unless it closes", () => {
    const kept = (text: string): unknown => {
      const reading = readRequestHead(text);
      return reading.kind === "head" ? reading.head.isKept : reading;
    };
    expect(kept("GET / HTTP/1.1\r\nHost: a\r\n\r\n")).toBe(true);
    expect(kept("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n")).toBe(false);
    expect(kept("GET / HTTP/1.0\r\n\r\n")).toBe(false);
  });

  test("waits for the end of the head, up to its largest size", () => {
    expect(readRequestHead(PUT)).toEqual({ kind: "incomplete" });
    expect(readRequestHead("")).toEqual({ kind: "incomplete" });
    expect(readRequestHead("x".repeat(HEAD_SIZE_MAX + 1))).toEqual({ kind: "refused", status: 431 });
    const long = `GET / HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(HEAD_SIZE_MAX)}\r\n\r\n`;
    expect(readRequestHead(long)).toEqual({ kind: "refused", status: 431 });
  });

  const REFUSED: readonly (readonly [why: string, text: string, status: number])[] = [
    ["no request line", "\r\n\r\n", 400],
    ["an absolute target", "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400],
    ["another version", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505],
    ["no host", "GET / HTTP/1.1\r\n\r\n", 400],
    ["a header twice", "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400],
    ["a name with a space", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400],
    ["two lengths", `${PUT}content-length: 13\r\n\r\n`, 400],
    ["a length that is no number", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400],
    ["a body without a length", "PUT / HTTP/1.1\r\nHost: a\r\n\r\n", 411],
    ["a body in chunks", `${PUT}Transfer-Encoding: chunked\r\n\r\n`, 411],
  ];
  for (const [why, text, status] of REFUSED)
    test(`refuses ${why}`, () =>
      expect(readRequestHead(text)).toEqual({ kind: "refused", status: status as 400 }));

  test("sees that a client waits for leave to send the body", () => {
    const reading = readRequestHead(`${PUT}Expect: 100-Continue\r\n\r\n`);
    expect(reading).toMatchObject({ kind: "head", head: { awaitsContinue: true } });
  });
});

/** S3Store reads listings of stores that differ in encoding, order and end of a listing. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { SILENT_LOG } from "../../../src/env.ts";
import { openStore } from "../../../src/index.ts";
import { walkDatabases } from "../../../src/storage/bucket/database-walk.ts";
import { NO_RETRY } from "../../../src/storage/contract/retry.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { decodeEntries } from "../../../src/storage/s3/s3-listing.ts";
import { S3Server, type S3ServerOptions } from "../../support/servers/s3-server.ts";
import { keysOf, quickEnv, sortedByBytes, textBody } from "../contract/store-helpers.ts";

/** Names that some layer might change: spaces, encodings, percent signs, markup, foreign letters. */
const NAMES = ["a b", "a+b", "a%20b", "100%", "%zz", "c#", "what?", "user@example.com", "<&>", "数据"];

let server: S3Server;

beforeAll(async () => {
  server = await S3Server.start();
});

afterAll(() => server.stop());

beforeEach(() => {
  server.reset();
  Object.assign(server.options, { listPageSize: 1000, urlEncoding: "asked", isListOrdered: true });
});

function open(endpoint = server.url, url = "s3://bucket/p q"): ObjectStore {
  const keys = { accessKeyId: "test", secretAccessKey: "testsecret" };
  const options = { url, endpoint, ...keys, stallMs: 600_000, retry: NO_RETRY };
  return openStore(options, quickEnv(SILENT_LOG).env, {});
}

describe("S3Store.list and listFolders", () => {
  const encodings: S3ServerOptions["urlEncoding"][] = ["asked", "always", "echo", "claim"];
  test.each(encodings)(
    "give every key unchanged, where encoding-type is treated as %s",
    async (urlEncoding) => {
      server.options.urlEncoding = urlEncoding;
      const store = open();
      for (const name of NAMES) await store.put(`${name}/x`, textBody("x"));
      expect(await keysOf(store, "")).toEqual(sortedByBytes(NAMES.map((name) => `${name}/x`)));
      expect((await store.listFolders("")).sort()).toEqual([...NAMES].sort());
      for (const name of NAMES) expect(await keysOf(store, `${name}/`)).toEqual([`${name}/x`]);
    },
  );

  test("are complete and sorted for a store that lists in no order, also after a key", async () => {
    Object.assign(server.options, { isListOrdered: false, listPageSize: 3 });
    const store = open();
    const keys = Array.from({ length: 20 }, (_, index) => `k${String(index).padStart(2, "0")}`);
    for (const key of keys) await store.put(key, textBody("x"));
    expect(await keysOf(store, "")).toEqual(keys);
    const rest: string[] = [];
    for await (const { key } of store.list("", { startAfter: "k07" })) rest.push(key);
    expect(rest).toEqual(keys.slice(8));
  });

  test("a name that a listing distorts into another one is an error of that name alone", async () => {
    // One entry a page: each page by itself may be encoded text.
    Object.assign(server.options, { urlEncoding: "claim", listPageSize: 1 });
    const store = open(server.url, "s3://bucket/plain");
    const object = `0009/${"1".padStart(16, "0")}-${"1".padStart(16, "0")}.ltx`;
    for (const name of ["a+b", "a b", "c"]) await store.put(`${name}/${object}`, textBody("x"));
    const found: string[] = [];
    for await (const { name, objects, problem } of walkDatabases(store)) {
      found.push(`${name}: ${problem === null ? objects.length : problem.code}`);
    }
    expect(found.sort()).toEqual(["a b: integrity", "c: 1"]);
  });

  test("list stops at its limit without requesting the rest", async () => {
    server.options.listPageSize = 2;
    const store = open();
    for (const key of ["a", "b", "c", "d", "e"]) await store.put(key, textBody("x"));
    const keys: string[] = [];
    for await (const { key } of store.list("", { limit: 3 })) keys.push(key);
    expect([keys, server.count("list")]).toEqual([["a", "b", "c"], 2]);
  });
});

describe("decodeEntries", () => {
  const table: [string, string[], boolean, string[]][] = [
    ["entries of a page that is not marked", ["a+b", "%41"], false, ["a+b", "%41"]],
    ["encoded entries", ["p/a+b", "p/%D0%B9"], true, ["p/a b", "p/й"]],
    ["a page with a bare space", ["p/a b", "p/a+b"], true, ["p/a b", "p/a+b"]],
    ["a page with letters that are never bare", ["p/é", "p/%41"], true, ["p/é", "p/%41"]],
    ["a page with an impossible escape", ["p/%zz", "p/a+b"], true, ["p/%zz", "p/a+b"]],
    ["a page with an escape that is no UTF-8", ["p/%ff", "p/a+b"], true, ["p/%ff", "p/a+b"]],
  ];
  test.each(table)("decodeEntries of %s", (_what, entries, isMarked, expected) => {
    expect(decodeEntries(entries, isMarked ? "p/" : "", isMarked)).toEqual(expected);
  });

  test("decodeEntries keeps entries undecoded if decoding leads out of the prefix", () => {
    expect(decodeEntries(["a+b/x", "a+b/y"], "a+b/", true)).toEqual(["a+b/x", "a+b/y"]);
  });
});

/** A store that answers the n-th listing with `page(n)`. */
describe("a hostile store", () => {
  let hostile: Bun.Server<undefined>;
  let requests = 0;
  let page: (index: number) => string;

  beforeEach(() => {
    requests = 0;
    hostile = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response(page(requests++)) });
  });

  afterEach(() => hostile.stop(true));

  const entry = (key: string): string =>
    `<Contents><Key>p q/${key}</Key><Size>1</Size><LastModified>2026-01-01T00:00Z</LastModified></Contents>`;
  const more = (token: string, content = ""): string =>
    `<ListBucketResult>${content}<IsTruncated>true</IsTruncated>` +
    `<NextContinuationToken>${token}</NextContinuationToken></ListBucketResult>`;

  const endless: [string, (index: number) => string, number][] = [
    ["empty pages with new tokens", (index) => more(`t${index}`), 200],
    ["two tokens in turn", (index) => more(`t${index % 2}`, entry(`k${index}`)), 3],
    ["the same token", () => more("t"), 2],
    ["no token", () => "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>", 1],
    ["a token in an unclosed document", () => more("t").slice(0, -5), 1],
    ["openings without an end", () => `<ListBucketResult>${"<Contents>".repeat(1_000_000)}`, 1],
    ["an attribute list without an end", () => `<ListBucketResult>${"<Contents ".repeat(1_000_000)}`, 1],
    [
      "millions of empty elements",
      () => `<ListBucketResult>${"<a/>".repeat(2_000_000)}</ListBucketResult>`,
      1,
    ],
    ["entities that grow", () => `<!DOCTYPE l [<!ENTITY a "lol">]>${more("t", entry("&a;"))}`, 1],
    ["a page of HTML", () => "<!DOCTYPE html><html><body>Sign in<br></body></html>", 1],
    ["another document", () => "<Error><Code>x</Code></Error>", 1],
    ["a key outside the prefix", () => more("t", entry("k").replace("p q/", "q/")), 1],
    ["a negative size", () => more("t", entry("k").replace(">1<", ">-1<")), 1],
  ];
  test.each(endless)(
    "that sends %s is refused after a bounded number of requests",
    async (_, answer, count) => {
      page = answer;
      await expect(keysOf(open(hostile.url.origin), "")).rejects.toMatchObject({ code: "storage" });
      expect(requests).toBe(count);
    },
  );
});

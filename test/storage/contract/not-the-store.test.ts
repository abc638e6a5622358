/**
 * S3Store against servers that answer in a store's place (captive portals, load balancers, wrong endpoints),
 * and against stores with unusual but valid answers. S3Store acknowledges no write without a store behind it,
 * and refuses no valid store.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { type Log, SILENT_LOG, systemEnv } from "../../../src/env.ts";
import type { Condition, ConditionSink, WalrustError } from "../../../src/errors.ts";
import { type OpenStoreOptions, openStore } from "../../../src/index.ts";
import { NO_RETRY } from "../../../src/storage/contract/retry.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { isNotTheStore, rootElementOrNull } from "../../../src/storage/s3/s3-answer.ts";
import type { Answer } from "../../support/servers/s3-answers.ts";
import type { RequestKind } from "../../support/servers/s3-call.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { expectCode, keysOf, patternBytes, quickEnv, text, textBody } from "./store-helpers.ts";

let server: S3Server;
const defaults = {};

beforeAll(async () => {
  server = await S3Server.start();
  Object.assign(defaults, server.options);
});

afterAll(() => server.stop());

beforeEach(() => {
  server.reset();
  Object.assign(server.options, defaults, { undeletable: [], omits: {} });
});

function open(
  options: Partial<OpenStoreOptions> = {},
  log: Log = SILENT_LOG,
  env = quickEnv(log).env,
): ObjectStore {
  const keys = { accessKeyId: "test", secretAccessKey: "testsecret", stallMs: 600_000 };
  const all = { url: "s3://bucket/p", endpoint: server.url, retry: NO_RETRY, ...keys, ...options };
  return openStore(all, env, {});
}

/** Records conditions in the order of their changes: "+code" begins, "-code" ends. */
function recordingSink(): ConditionSink & { readonly events: string[]; readonly raised: Condition[] } {
  const events: string[] = [];
  const raised: Condition[] = [];
  return {
    events,
    raised,
    raise: (condition) => {
      events.push(`+${condition.code}`);
      raised.push(condition);
    },
    clear: (code) => events.push(`-${code}`),
  };
}

async function failureOf(work: Promise<unknown>): Promise<WalrustError> {
  const error = await work.then(
    () => null,
    (caught) => caught,
  );
  if (error === null) throw new Error("it resolved");
  return error as WalrustError;
}

const HTML = { "content-type": "text/html; charset=utf-8" };
const PAGE = "<!DOCTYPE html><html><body>Please sign in</body></html>";

/** Servers in a store's place: a name, and an answer to every request. */
const STRANGERS: [string, Answer][] = [
  ["a portal's page", { status: 200, headers: HTML, body: PAGE }],
  ["a portal's page with an ETag", { status: 200, headers: { ...HTML, etag: '"abc"' }, body: PAGE }],
  [
    "a page that calls itself XML",
    { status: 200, headers: { "content-type": "application/xml" }, body: PAGE },
  ],
  ["a page without a type", { status: 200, body: PAGE }],
  ["a portal's redirect", { status: 302, headers: { ...HTML, location: "http://login.test/" }, body: PAGE }],
  ["a balancer's OK", { status: 200, headers: { "content-type": "text/plain" }, body: "OK" }],
  ["an API's JSON", { status: 200, headers: { "content-type": "application/json" }, body: "{}" }],
  ["an empty 200", { status: 200 }],
  ["an empty 204", { status: 204 }],
  ["a 202", { status: 202 }],
  ["a page with 404", { status: 404, headers: HTML, body: PAGE }],
  ["a page with 412", { status: 412, headers: HTML, body: PAGE }],
  ["a page with 501", { status: 501, headers: HTML, body: PAGE }],
  ["a document of another service", { status: 200, body: "<Envelope><Body/></Envelope>" }],
];

describe.each(STRANGERS)("S3Store meets %s", (name, instead) => {
  const status = instead.status;
  const isStrangeRefusal = status === 302 || status === 404 || status === 412 || status === 501;

  function inject(kind: RequestKind, count = 100): void {
    server.inject({ kind, when: "before", answer: { instead }, count });
  }

  async function expectStranger(work: Promise<unknown>): Promise<void> {
    const error = await failureOf(work);
    expect([error.code, error.retryable, isNotTheStore(error)]).toEqual(["storage", true, true]);
    expect(error.message).toContain("the answer is not the store's");
    expect(error.hint).toContain("check the endpoint");
  }

  test("put is not acknowledged, and succeeds when the store is back", async () => {
    inject("put", 2);
    await expectStranger(open().put("k", textBody("x"), { createOnly: true, metadata: { a: "b" } }));
    await expectStranger(open().put("k", textBody("x")));
    expect(server.objects.size).toBe(0);
    inject("put", 3);
    const patient = { retry: { maxRetries: 5, baseDelayMs: 100, maxDelayMs: 1000 } };
    await open(patient).put("k", textBody("x"), { createOnly: true, metadata: { a: "b" } });
    expect(server.objects.get("bucket/p/k")?.bytes.toString()).toBe("x");
  });

  test("a listing fails instead of being empty", async () => {
    inject("list");
    await expectStranger(keysOf(open(), ""));
    await expectStranger(open().listFolders(""));
  });

  test.skipIf(status === 204)("a delete is not done", async () => {
    const store = open();
    await store.put("k", textBody("x"));
    for (const kind of ["deleteMany", "deleteOne"] as const) inject(kind);
    await expectStranger(store.delete(["k"]));
    expect(await keysOf(store, "")).toEqual(["k"]);
  });

  test("no step of a multipart upload is acknowledged", async () => {
    const body = { kind: "bytes", bytes: patternBytes(17 * 1024 * 1024) } as const;
    for (const kind of ["createUpload", "putPart", "completeUpload"] as const) {
      server.reset();
      inject(kind);
      await expectStranger(open().put("big", body, { createOnly: true, metadata: { a: "b" } }));
      expect([kind, server.objects.size]).toEqual([kind, 0]);
    }
  });

  test.skipIf(isStrangeRefusal)("a head and a get give no object", async () => {
    for (const kind of ["head", "get"] as const) inject(kind);
    // A head of a page shows its type alone; a page of another type still has no ETag.
    await expectStranger(open().head("k"));
    await expectStranger(open().get("k"));
  });

  test("the probe concludes nothing about the store", async () => {
    for (const kind of ["put", "head", "createUpload", "deleteMany", "deleteOne"] as const) inject(kind);
    const store = open();
    await failureOf(store.probe("probe"));
    expect(store.capabilities.conditionalPut).toBe("unknown");
    server.reset();
    expect((await store.probe("probe")).conditionalPut).toBe("yes");
  });

  test(`the condition lasts as long as ${name} answers`, async () => {
    const conditions = recordingSink();
    const store = open({ conditions });
    inject("put", 3);
    for (let round = 0; round < 3; round++) await failureOf(store.put("k", textBody("x")));
    expect(conditions.raised.at(0)).toMatchObject({ code: "not-the-store", health: "unhealthy" });
    await store.put("k", textBody("x"));
    expect(conditions.events.at(-1)).toBe("-not-the-store");
  });
});

describe("S3Store accepts valid stores", () => {
  test("ETags that are no MD5, or only resemble one: S3Store reads one object back, once", async () => {
    for (const etags of ["opaque", "strange"] as const) {
      server.reset();
      server.options.etags = etags;
      const store = open();
      for (const key of ["a", "b", "c"]) {
        await store.put(key, textBody(key), { createOnly: true, metadata: { writer: "me" } });
      }
      expect([etags, server.count("put"), server.count("get")]).toEqual([
        etags,
        3,
        etags === "strange" ? 1 : 0,
      ]);
    }
  });

  test("an ETag of other bytes is a failure, and S3Store deletes the wrongly stored object", async () => {
    const body = textBody("what was sent");
    const stored: Answer = { status: 200, headers: { etag: `"${"0".repeat(32)}"` } };
    server.inject({ kind: "put", when: "after", answer: { instead: stored } });
    server.inject({
      kind: "get",
      when: "after",
      answer: {
        instead: { status: 200, headers: { etag: '"x"', "x-amz-meta-a": "b" }, body: "what was stored" },
      },
    });
    const error = await failureOf(open().put("k", body, { createOnly: true, metadata: { a: "b" } }));
    expect([error.message.includes("other bytes than walrust sent"), error.retryable]).toEqual([true, true]);
    expect(server.objects.size).toBe(0);
  });

  test("a checksum of other bytes is a failure", async () => {
    const etag = `"${new Bun.CryptoHasher("md5").update("x").digest("hex")}"`;
    const checksum = new Bun.CryptoHasher("sha256").update("y").digest("base64");
    const stored = { status: 200, headers: { etag, "x-amz-checksum-sha256": checksum } };
    server.inject({ kind: "put", when: "before", answer: { instead: stored } });
    await expectCode(open().put("k", textBody("x"), { createOnly: true }), "not-found");
  });

  test("an object under a KMS key has another ETag: S3Store reads nothing back", async () => {
    const headers = { etag: `"${"1".repeat(32)}"`, "x-amz-server-side-encryption": "aws:kms" };
    server.inject({ kind: "put", when: "after", answer: { instead: { status: 200, headers } } });
    await open().put("k", textBody("x"));
    expect(server.count("get")).toBe(0);
  });

  test("an empty answer labelled as HTML still carries an ETag", async () => {
    const etag = `"${new Bun.CryptoHasher("md5").update("x").digest("hex")}"`;
    server.inject({
      kind: "put",
      when: "after",
      answer: { instead: { status: 200, headers: { ...HTML, etag } } },
    });
    await open().put("k", textBody("x"));
    server.inject({ kind: "deleteOne", when: "after", answer: { instead: { status: 204, headers: HTML } } });
    server.options.deleteMany = { status: 501, body: "<Error><Code>NotImplemented</Code></Error>" };
    expect(await open().delete(["k"])).toEqual([]);
  });

  test("a completion without an ETag, or with another spelling of the key, takes a HEAD", async () => {
    const body = { kind: "bytes", bytes: patternBytes(17 * 1024 * 1024) } as const;
    const results = ["", "<Key>p%2Fbig</Key><ETag>x</ETag>", "<Key>/bucket/p/big</Key><ETag>x</ETag>"];
    for (const [index, result] of results.entries()) {
      server.reset();
      const xml = `<CompleteMultipartUploadResult>${result}</CompleteMultipartUploadResult>`;
      server.inject({
        kind: "completeUpload",
        when: "after",
        answer: { instead: { status: 200, body: xml } },
      });
      await open().put("big", body, { createOnly: true, metadata: { writer: "me" } });
      expect([result, server.count("head")]).toEqual([result, index === 1 ? 1 : 2]);
    }
  });

  test("a body or head without a length gets its length from a listing", async () => {
    const bytes = patternBytes(300_000);
    await open().put("k", { kind: "bytes", bytes }, { metadata: { a: "b" } });
    await open().put("k-longer", textBody("another"));
    for (const omits of [
      { bodyLength: true },
      { headLength: true },
      { bodyLength: true, headLength: true },
    ]) {
      server.options.omits = omits;
      const body = await open().get("k");
      expect([body.sizeBytes, body.metadata]).toEqual([300_000, { a: "b" }]);
      expect(Buffer.compare(await body.bytes(), bytes)).toBe(0);
      expect((await open().head("k")).sizeBytes).toBe(300_000);
      expect(await text(await open().get("k", { range: { offset: 0, length: 0 } }))).toBe("");
    }
  });

  test("a body without a length fails if it ends early or is too long", async () => {
    await open().put("k", textBody("0123456789"));
    server.options.omits = { bodyLength: true };
    for (const body of ["01234", "0123456789 and more"]) {
      server.inject({
        kind: "get",
        when: "after",
        answer: { instead: { status: 200, headers: { etag: '"x"' }, body } },
      });
      await expectCode(
        open()
          .get("k")
          .then((found) => found.bytes()),
        "storage",
      );
    }
  });
});

describe("S3Store and a bucket with a retention", () => {
  test("sends Content-MD5 once the bucket demands it, from then on with every body", async () => {
    server.options.needsContentMd5 = true;
    const store = open();
    for (const key of ["a", "b"]) await store.put(key, textBody(key), { createOnly: true });
    expect([server.count("put"), server.objects.size]).toEqual([3, 2]);
    const body = { kind: "bytes", bytes: patternBytes(17 * 1024 * 1024) } as const;
    await open().put("big", body, { createOnly: true, metadata: { writer: "me" } });
    expect(server.objects.get("bucket/p/big")?.bytes.byteLength).toBe(body.bytes.byteLength);
  });

  test("with contentMd5 sends it from the first put", async () => {
    await open({ contentMd5: true }).put("k", textBody("x"));
    const md5 = new Bun.CryptoHasher("md5").update("x").digest("base64");
    expect(server.lastHeaders.get("put")?.["content-md5"]).toBe(md5);
  });

  test("delete reports the keys that the store retains, and why, as one lasting condition", async () => {
    const conditions = recordingSink();
    const store = open({ conditions });
    for (const key of ["a", "b", "c"]) await store.put(key, textBody("x"));
    server.options.undeletable = ["p/b"];
    expect(await store.delete(["a", "b", "c"])).toEqual([{ key: "b", reason: "AccessDenied (held)" }]);
    expect(await keysOf(store, "")).toEqual(["b"]);
    await store.put("d", textBody("x"));
    expect(await store.delete(["d"])).toEqual([]);
    expect(conditions.events).toEqual(["+deletes-refused"]);
    expect(conditions.raised[0]!.message).toContain("refuses to delete 1 of 3 objects");
  });

  test("delete fails for an error that is no refusal", async () => {
    const errors = "<Error><Key>p/a</Key><Code>InternalError</Code><Message>later</Message></Error>";
    const answer = { status: 200, body: `<DeleteResult>${errors}</DeleteResult>` };
    server.inject({ kind: "deleteMany", when: "before", answer: { instead: answer } });
    const error = await failureOf(open().delete(["a", "b"]));
    expect([error.code, error.retryable]).toEqual(["storage", true]);
    expect(error.message).toContain("1 of 2 objects were not deleted, the first is p/a");
  });

  test("delete goes key by key after a refused DeleteObjects, from then on", async () => {
    const refusals: [number, string][] = [
      [501, "NotImplemented"],
      [405, "MethodNotAllowed"],
      [403, "AccessDenied"],
      [400, "NotImplemented"],
      [404, ""],
    ];
    for (const [status, code] of refusals) {
      server.reset();
      server.options.deleteMany = { status, body: `<Error><Code>${code}</Code></Error>` };
      const store = open();
      for (const key of ["a", "b", "c"]) await store.put(key, textBody("x"));
      expect(await store.delete(["a", "none"])).toEqual([]);
      server.options.undeletable = ["p/b"];
      expect((await store.delete(["b", "c"])).map(({ key }) => key)).toEqual(["b"]);
      expect([status, await keysOf(store, "")]).toEqual([status, ["b"]]);
      expect([server.count("deleteMany"), server.count("deleteOne")]).toEqual([1, 4]);
      server.options.undeletable = [];
    }
  });

  test("delete with wrong credentials fails instead of retaining keys", async () => {
    await open().put("k", textBody("x"));
    await expectCode(open({ secretAccessKey: "other" }).delete(["k"]), "auth");
  });
});

describe("S3Store with a store that does not enforce create-only writes", () => {
  test("the probe finds a completion that ignores its condition, and later puts check first", async () => {
    server.options.conditionalComplete = "ignored";
    const conditions = recordingSink();
    const store = open({ conditions });
    expect(await store.probe("probe")).toEqual({ conditionalPut: "yes", conditionalComplete: "no" });
    expect([server.objects.size, server.uploads.size]).toEqual([0, 0]);
    expect(conditions.raised[0]).toMatchObject({ code: "weak-writes", health: "degraded" });
    const body = { kind: "bytes", bytes: patternBytes(17 * 1024 * 1024) } as const;
    await store.put("big", body, { createOnly: true, metadata: { writer: "me" } });
    await expectCode(
      store.put("big", body, { createOnly: true, metadata: { writer: "other" } }),
      "precondition",
    );
  });

  test("a probe that finds create-only writes enforced again ends the condition", async () => {
    server.options.conditionalPut = "ignored";
    const conditions = recordingSink();
    const store = open({ conditions });
    await store.probe("probe-1");
    server.options.conditionalPut = "yes";
    expect(await store.probe("probe-2")).toEqual({ conditionalPut: "yes", conditionalComplete: "yes" });
    expect(conditions.events).toEqual(["+weak-writes", "-weak-writes"]);
  });

  test("of two concurrent puts, the overwritten one is refused", async () => {
    server.options.conditionalPut = "ignored";
    const [one, two] = [open(), open()];
    for (const store of [one, two]) await store.probe(`probe-${store === one}`);
    // Both stores check before either puts, and neither checks again before both have put.
    server.gathering = { kind: "put", left: 2, all: Promise.withResolvers() };
    server.inject({ kind: "head", when: "before", answer: { status: 404, code: "" }, count: 2 });
    const outcomes = await Promise.allSettled([
      one.put("k", textBody("same size 1"), { createOnly: true, metadata: { writer: "one" } }),
      two.put("k", textBody("same size 2"), { createOnly: true, metadata: { writer: "two" } }),
    ]);
    const owner = server.objects.get("bucket/p/k")?.headers["x-amz-meta-writer"];
    const isLoserRefused = outcomes[owner === "one" ? 1 : 0]!.status === "rejected";
    const isWinnerAcknowledged = outcomes[owner === "one" ? 0 : 1]!.status === "fulfilled";
    expect([isWinnerAcknowledged, isLoserRefused]).toEqual([true, true]);
  });
});

describe("unfinished uploads", () => {
  const body = { kind: "bytes", bytes: patternBytes(17 * 1024 * 1024) } as const;

  test("lost answers to CreateMultipartUpload leave no upload behind when the put succeeds", async () => {
    server.inject({ kind: "createUpload", when: "after", answer: { status: 502, code: "" }, count: 4 });
    const patient = { retry: { maxRetries: 5, baseDelayMs: 100, maxDelayMs: 30_000 } };
    await open(patient).put("big", body, { createOnly: true, metadata: { writer: "me" } });
    expect([server.count("createUpload"), server.uploads.size, server.objects.size]).toEqual([5, 0, 1]);
  });

  test("unfinishedUploads omits the uploads of this process; abortUploads aborts the others", async () => {
    server.inject({ kind: "createUpload", when: "after", answer: { status: 502, code: "" }, count: 2 });
    for (const key of ["a/1", "b/1"]) await failureOf(open().put(key, body));
    const store = open({}, SILENT_LOG, systemEnv(SILENT_LOG));
    server.inject({ kind: "completeUpload", when: "before", answer: "hang" });
    const controller = new AbortController();
    const putting = failureOf(store.put("a/2", body, { signal: controller.signal }));
    while (server.count("completeUpload") === 0) await systemEnv(SILENT_LOG).turn();
    const found = (await store.unfinishedUploads?.("a/")) ?? [];
    expect(found.map(({ key }) => key)).toEqual(["a/1"]);
    expect(Math.abs(found[0]!.initiatedMs - Date.now())).toBeLessThan(60_000);
    await store.abortUploads?.([...found, ...found]);
    controller.abort(new Error("stopped"));
    await putting;
    expect([...server.uploads.values()].map(({ key }) => key)).toEqual(["p/b/1"]);
  });

  test("a store without a list of uploads is asked once", async () => {
    server.options.listsUploads = false;
    const store = open();
    expect([await store.unfinishedUploads?.("a/"), await store.unfinishedUploads?.("b/")]).toEqual([[], []]);
    expect(server.count("listUploads")).toBe(1);
  });
});

test("rootElementOrNull reads the root of an XML document and of nothing else", () => {
  const documents: [string, string | null][] = [
    [
      '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="x"><A/></ListBucketResult>',
      "ListBucketResult",
    ],
    ["\uFEFF<a:Error>x</a:Error>", "Error"],
    ["<DeleteResult/>", "DeleteResult"],
    ["  <A/>", "A"],
    ["", null],
    ["OK", null],
    ["{}", null],
    ["<!DOCTYPE html><html>", null],
    ["<", null],
  ];
  for (const [xml, root] of documents) expect([xml, rootElementOrNull(xml)]).toEqual([xml, root]);
});

/**
 * parseDestination, s3Address and openStore: the destinations that users may write, and the errors for all
 * others.
 */
import { describe, expect, test } from "bun:test";
import { SILENT_LOG, systemEnv } from "../../src/env.ts";
import { openStore } from "../../src/index.ts";
import { parseDestination } from "../../src/storage/parse-destination.ts";
import { s3Address, s3ObjectPath } from "../../src/storage/s3/s3-address.ts";
import { S3Server } from "../support/servers/s3-server.ts";
import { textBody } from "./contract/store-helpers.ts";

const env = systemEnv(SILENT_LOG);

describe("parseDestination", () => {
  test("parseDestination reads buckets with and without a prefix, and directories", () => {
    expect(parseDestination("s3://bucket")).toEqual({ kind: "s3", bucket: "bucket", prefix: "" });
    expect(parseDestination("s3://bucket/")).toEqual({ kind: "s3", bucket: "bucket", prefix: "" });
    expect(parseDestination("S3://my.bucket-1/a/b c/")).toEqual({
      kind: "s3",
      bucket: "my.bucket-1",
      prefix: "a/b c",
    });
    expect(parseDestination("file:///backup/")).toEqual({ kind: "file", path: "/backup" });
    expect(parseDestination("file:///backup/of%20db")).toEqual({ kind: "file", path: "/backup/of db" });
  });

  const refused: [string, string][] = [
    ["", "no scheme"],
    ["/backup", "no scheme"],
    ["bucket/prefix", "no scheme"],
    ["gs://bucket", "gs:// is unknown"],
    ["s3://", "names no bucket"],
    ["s3:///prefix", "names no bucket"],
    ["s3://ab", "is no bucket name"],
    ["s3://Bucket", "is no bucket name"],
    ["s3://a..b", "is no bucket name"],
    ["s3://bucket/a//b", "empty segment"],
    ["s3://bucket/../x", '".."'],
    ["s3://bucket?endpoint=x", "options of their own"],
    ["s3://id:hunter2@bucket/x", "keys do not belong"],
    ["file://backup", "not absolute"],
    ["file:relative", "no scheme"],
    ["file:///", "root directory"],
    ["file:///100%", "no escape"],
  ];
  for (const [text, reason] of refused) {
    test(`parseDestination refuses ${JSON.stringify(text)}`, () => {
      const error = caught(() => parseDestination(text));
      expect([error["code"], String(error["message"]).includes(reason)]).toEqual(["usage", true]);
      expect(String(error["message"])).not.toContain("hunter2");
    });
  }
});

describe("s3Address", () => {
  test("s3Address is a virtual host at AWS and a path at an endpoint, by default", () => {
    const bucket = "bucket";
    const region = "eu-west-1";
    expect(s3Address({ bucket, region })).toEqual({
      origin: "https://bucket.s3.eu-west-1.amazonaws.com",
      host: "bucket.s3.eu-west-1.amazonaws.com",
      bucketPath: "/",
      twiceNamed: null,
    });
    expect(s3Address({ bucket, region, pathStyle: true }).bucketPath).toBe("/bucket/");
    expect(s3Address({ bucket: "a.b", region }).bucketPath).toBe("/a.b/");
    expect(s3Address({ bucket, region: "cn-north-1" }).host).toBe("bucket.s3.cn-north-1.amazonaws.com.cn");
    const endpoint = "http://minio:9000/base/";
    expect(s3Address({ bucket, region, endpoint })).toEqual({
      origin: "http://minio:9000",
      host: "minio:9000",
      bucketPath: "/base/bucket/",
      twiceNamed: null,
    });
    expect(s3Address({ bucket, region, endpoint: "https://s3.example.com", pathStyle: false })).toEqual({
      origin: "https://bucket.s3.example.com",
      host: "bucket.s3.example.com",
      bucketPath: "/",
      twiceNamed: null,
    });
    expect(s3ObjectPath(s3Address({ bucket, region, endpoint }), "a b/c+d")).toBe("/base/bucket/a%20b/c%2Bd");
  });

  test("s3Address detects an endpoint that already names the bucket", () => {
    const named = (bucket: string, endpoint?: string): string | null =>
      s3Address({ bucket, region: "r", ...(endpoint === undefined ? {} : { endpoint }) }).twiceNamed;
    expect(named("my.bucket", "https://s3.example.com/my.bucket")).toBe("my.bucket");
    expect(named("bucket", "https://s3.example.com/base/bucket/")).toBe("bucket");
    expect(named("bucket", "https://bucket.s3.example.com:9000")).toBe("bucket");
    expect(named("bucket", "https://s3.example.com/bucket/base")).toBeNull();
    expect(named("bucket", "https://buckets.s3.example.com/my-bucket")).toBeNull();
    expect(named("s3")).toBeNull();
  });

  test("s3Address refuses an endpoint that is no plain URL, without quoting the endpoint", () => {
    for (const endpoint of ["minio:9000", "ftp://x", "https://id:hunter2@x", "https://x/?a=b", "x"]) {
      const error = caught(() => s3Address({ bucket: "bucket", region: "r", endpoint }));
      expect([error["code"], String(error["message"]).includes("hunter2")]).toEqual(["config", false]);
    }
  });
});

describe("openStore", () => {
  test("openStore opens the kind of store that the destination names", () => {
    const file = openStore({ url: "file:///backup" }, env, {});
    expect([file.url, file.layout]).toEqual(["file:///backup", "file"]);
    const keys = { accessKeyId: "id", secretAccessKey: "secret" };
    const s3 = openStore({ url: "s3://bucket/p/", ...keys }, env, {});
    expect([s3.url, s3.layout, s3.capabilities.conditionalPut]).toEqual(["s3://bucket/p", "s3", "unknown"]);
  });

  test("openStore refuses a KMS key with an encryption that uses none", () => {
    const options = { url: "s3://bucket", accessKeyId: "id", secretAccessKey: "s", sseKmsKeyId: "key-1" };
    const error = caught(() => openStore({ ...options, sse: "AES256" }, env, {}));
    expect([error["code"], error["message"]]).toEqual([
      "config",
      "Cannot use sse_kms_key_id: sse is AES256, expected aws:kms",
    ]);
    for (const sse of ["aws:kms", "aws:kms:dsse"]) openStore({ ...options, sse }, env, {});
    openStore(options, env, {});
  });

  test("openStore takes endpoint, region and keys from the environment", async () => {
    const server = await S3Server.start({ region: "eu-west-1" });
    const environment = {
      AWS_ENDPOINT_URL: "http://127.0.0.1:1",
      AWS_ENDPOINT_URL_S3: server.url,
      AWS_REGION: "eu-west-1",
      AWS_ACCESS_KEY_ID: "test",
      AWS_SECRET_ACCESS_KEY: "testsecret",
    };
    await openStore({ url: "s3://bucket" }, env, environment).put("k", textBody("x"));
    expect([...server.objects.keys()]).toEqual(["bucket/k"]);
    server.stop();
  });
});

function caught(run: () => unknown): Record<string, unknown> {
  try {
    run();
  } catch (error) {
    return error as Record<string, unknown>;
  }
  throw new Error("nothing was thrown");
}

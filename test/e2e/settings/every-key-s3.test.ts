/**
 * The effect of the keys of [s3] and [[databases]], observed from outside: at the store, and in the bucket.
 */
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Variables } from "../../support/processes/binary.ts";
import {
  closeApplications,
  configured,
  folderSettings,
  type Settings,
  serverSettings,
} from "../../support/runs/configured-watch.ts";
import { Authority } from "../../support/servers/certificates.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { TlsFront } from "../../support/servers/tls-front.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(30_000);

afterEach(closeApplications);

describe("[s3]", () => {
  let server: S3Server;
  beforeEach(async () => {
    server = await S3Server.start();
  });
  afterEach(() => server.stop());

  /** The headers of the listing that `walrust list` asks for. */
  async function listHeaders(settings: Settings, env: Variables = {}) {
    const place = { "s3.bucket": '"s3://bucket/vm"', "s3.endpoint": `"${server.url}"` };
    const { run } = await configured({ ...place, ...settings }, { stems: [], env });
    const { exitCode, stderr } = await run(["list"]);
    expect([exitCode, stderr, server.refusals]).toEqual([0, "", []]);
    return server.lastHeaders.get("list")!;
  }

  const KEYS = { "s3.access_key_id": '"test"', "s3.secret_access_key": '"testsecret"' };

  test("s3.bucket is the destination of objects, with its prefix", async () => {
    const { settings, bucket } = folderSettings();
    const here = await configured(settings);
    expect((await here.run(["snapshot", "app.db"])).exitCode).toBe(0);
    expect((await bucket.objects("app")).length).toBe(1);
    const there = await configured({ ...serverSettings(server), "s3.bucket": '"s3://bucket/a/b"' });
    expect((await there.run(["snapshot", "app.db"])).exitCode).toBe(0);
    expect([...server.objects.keys()]).toContain("bucket/a/b/app/0009/0000000000000001-0000000000000001.ltx");
  });

  test("s3.endpoint receives the requests", async () => {
    await listHeaders(KEYS);
    expect(server.count("list")).toBeGreaterThan(0);
  });

  test("s3.region stands in the scope of the signature", async () => {
    server.options.region = "eu-north-1";
    const headers = await listHeaders({ ...KEYS, "s3.region": '"eu-north-1"' });
    expect(headers["authorization"]).toContain("/eu-north-1/s3/aws4_request");
  });

  test("s3.access_key_id and s3.secret_access_key sign, also from files", async () => {
    Object.assign(server.options, { accessKeyId: "AKIDKEY", secretAccessKey: "its/secret" });
    const keys = { "s3.access_key_id": '"AKIDKEY"', "s3.secret_access_key": '"its/secret"' };
    expect((await listHeaders(keys))["authorization"]).toContain("Credential=AKIDKEY/");
    const folder = tempFolder("secrets");
    writeFileSync(join(folder, "id"), "AKIDKEY\n");
    writeFileSync(join(folder, "secret"), "its/secret\n");
    const files = {
      "s3.access_key_id_file": `"${folder}/id"`,
      "s3.secret_access_key_file": `"${folder}/secret"`,
    };
    expect((await listHeaders(files))["authorization"]).toContain("Credential=AKIDKEY/");
  });

  test("s3.session_token is sent and signed", async () => {
    server.options.sessionToken = "the-token";
    const headers = await listHeaders({ ...KEYS, "s3.session_token": '"the-token"' });
    expect(headers["x-amz-security-token"]).toBe("the-token");
    expect(headers["authorization"]).toContain("x-amz-security-token");
  });

  test("s3.profile takes keys from the files of AWS", async () => {
    Object.assign(server.options, { accessKeyId: "PROFILEID", secretAccessKey: "profile-secret" });
    const file = join(tempFolder("aws"), "credentials");
    const text = "[backup]\naws_access_key_id = PROFILEID\naws_secret_access_key = profile-secret\n";
    writeFileSync(file, text);
    const headers = await listHeaders({ "s3.profile": '"backup"' }, { AWS_SHARED_CREDENTIALS_FILE: file });
    expect(headers["authorization"]).toContain("Credential=PROFILEID/");
  });

  test("s3.storage_class and s3.sse are headers of new objects", async () => {
    const settings = { "s3.storage_class": '"STANDARD_IA"', "s3.sse": '"aws:kms"' };
    const { run } = await configured({ ...serverSettings(server), ...settings });
    expect((await run(["snapshot", "app.db"])).exitCode).toBe(0);
    const [object] = [...server.objects].filter(([key]) => key.endsWith(".ltx")).map(([, found]) => found);
    expect(object?.headers["x-amz-storage-class"]).toBe("STANDARD_IA");
    expect(object?.headers["x-amz-server-side-encryption"]).toBe("aws:kms");
  });

  test("s3.sse_kms_key_id encrypts new objects with that key, and contradicts AES256", async () => {
    const settings = { ...serverSettings(server), "s3.sse_kms_key_id": '"key-1"' };
    const { run } = await configured(settings);
    expect((await run(["snapshot", "app.db"])).exitCode).toBe(0);
    const [object] = [...server.objects].filter(([key]) => key.endsWith(".ltx")).map(([, found]) => found);
    expect(object?.headers).toMatchObject({
      "x-amz-server-side-encryption": "aws:kms",
      "x-amz-server-side-encryption-aws-kms-key-id": "key-1",
    });
    const other = await configured({ ...settings, "s3.sse": '"AES256"' });
    const { exitCode, stderr } = await other.run(["list"]);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining("sse is AES256, expected aws:kms")]);
  });

  test("s3.ca_file is trusted beside the system's, AWS_CA_BUNDLE too, and no other is", async () => {
    const authority = new Authority();
    const front = await TlsFront.to(server.url, authority.server());
    const place = { "s3.bucket": '"s3://bucket/vm"', "s3.endpoint": `"${front.url}"`, ...KEYS };
    const list = async (settings: Settings, env: Variables, file?: string) => {
      const { folder, run } = await configured({ ...place, ...settings }, { stems: [], env });
      if (file !== undefined) writeFileSync(join(folder, file), authority.cert);
      return await run(["list"]);
    };
    try {
      // A relative path begins at the folder of its file.
      expect((await list({ "s3.ca_file": '"our-ca.pem"' }, {}, "our-ca.pem")).exitCode).toBe(0);
      expect((await list({}, { AWS_CA_BUNDLE: authority.path })).exitCode).toBe(0);
      expect((await list({}, { NODE_EXTRA_CA_CERTS: authority.path })).exitCode).toBe(0);
      expect((await list({}, { SSL_CERT_FILE: authority.path })).exitCode).toBe(0);
      const missing = await list({ "s3.ca_file": '"our-ca.pem"' }, {});
      expect([missing.exitCode, missing.stderr]).toEqual([
        2,
        expect.stringContaining("our-ca.pem (ca_file)"),
      ]);
      server.reset();
      for (const env of [{}, { NODE_TLS_REJECT_UNAUTHORIZED: "0" }]) {
        const { exitCode, stderr } = await list({}, env);
        expect([exitCode, server.count("list")]).toEqual([4, 0]);
        expect(stderr).toContain("cannot be verified");
        expect(stderr).toContain("ca_file in [s3], AWS_CA_BUNDLE");
        const isWarned = stderr.includes("NODE_TLS_REJECT_UNAUTHORIZED=0 is ignored");
        expect(isWarned).toBe("NODE_TLS_REJECT_UNAUTHORIZED" in env);
      }
    } finally {
      await front.stop();
    }
  });

  test("s3.content_md5 sends it with the first upload, before the store demands it", async () => {
    const { run } = await configured({ ...serverSettings(server), "s3.content_md5": "true" });
    server.options.needsContentMd5 = true;
    expect((await run(["snapshot", "app.db"])).exitCode).toBe(0);
    expect([server.lastHeaders.get("put")?.["content-md5"]?.length, server.count("put")]).toEqual([24, 2]);
  });
});

describe("[s3] with a host name", () => {
  /** Requested hosts and paths: a proxy sees names that cannot be resolved. */
  let asked: string[];
  let proxy: Server;
  beforeEach(async () => {
    asked = [];
    proxy = createServer((request, response) => {
      asked.push((request.url ?? "").replace(/\?.*/, ""));
      response.writeHead(403).end();
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    proxy.listen(0, "127.0.0.1", resolve);
    await promise;
  });
  afterEach(() => {
    proxy.closeAllConnections();
    proxy.close();
  });

  test.each([
    ["true", "http://s3.test/bucket/"],
    ["false", "http://bucket.s3.test/"],
  ])("s3.path_style = %s says where the bucket's name stands", async (value, url) => {
    const keys = { "s3.access_key_id": '"a"', "s3.secret_access_key": '"b"' };
    const place = { "s3.bucket": '"s3://bucket"', "s3.endpoint": '"http://s3.test"' };
    const env = { http_proxy: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}` };
    const settings = { ...place, ...keys, "s3.path_style": value };
    const { run } = await configured(settings, { stems: [], env });
    expect((await run(["list"])).exitCode).toBe(4);
    expect(new Set(asked)).toEqual(new Set([url]));
  });
});

describe("[[databases]]", () => {
  test("databases.path selects databases, databases.prefix and databases.name place them", async () => {
    const { settings, bucket } = folderSettings();
    const entries = `
[[databases]]
path = "app.db"
name = "shop"
prefix = "production"
[[databases]]
path = "tenant-*.db"
prefix = "tenants"
`;
    const stems = ["app", "tenant-1", "tenant-2", "other"];
    const { watch } = await configured(settings, { stems, entries });
    const running = await watch(3);
    const names = ["production/shop", "tenants/tenant-1", "tenants/tenant-2"];
    for (const name of names) await running.waitForTxid(1, name);
    expect(await running.stop()).toBe(0);
    for (const name of names) expect((await bucket.objects(name)).length).toBeGreaterThan(0);
    expect(
      running
        .eventsOf("watching")
        .map(({ database }) => database)
        .sort(),
    ).toEqual(names);
  });

  test("databases.allow_empty lets a glob match nothing at start", async () => {
    const entries = (more: string): string => `[[databases]]\npath = "none-*.db"\n${more}`;
    const strict = await configured(folderSettings().settings, { stems: [], entries: entries("") });
    const { exitCode, stderr } = await strict.run(["watch"]);
    expect([exitCode, stderr.includes("matches nothing")]).toEqual([2, true]);
    const lenient = { stems: [], entries: entries("allow_empty = true\n") };
    const { watch } = await configured(folderSettings().settings, lenient);
    const running = await watch();
    await running.waitFor("the start", ({ stderr: said }) => said.includes("replicating"));
    expect(await running.stop()).toBe(0);
  });
});

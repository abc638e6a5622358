/**
 * The certificates that walrust accepts from a store. No environment variable switches the verification off.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { openStore } from "../../../src/index.ts";
import { sendRequest } from "../../../src/observability/outgoing.ts";
import { NO_RETRY } from "../../../src/storage/contract/retry.ts";
import { DEFAULT_TLS_TRUST, readTlsTrust } from "../../../src/storage/network/tls-trust.ts";
import { Authority } from "../../support/servers/certificates.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { TlsFront } from "../../support/servers/tls-front.ts";
import { tempFolder } from "../../support/temp.ts";
import { keysOf } from "../contract/store-helpers.ts";

const env = systemEnv(SILENT_LOG);
let authority: Authority;
let server: S3Server;
let front: TlsFront;

beforeAll(async () => {
  authority = new Authority();
  server = await S3Server.start();
  front = await TlsFront.to(server.url, authority.server());
});

afterAll(async () => {
  await front.stop();
  server.stop();
});

/** "ok", or the error message of listing the bucket. */
async function listing(caFile?: string, environment: Record<string, string> = {}): Promise<string> {
  const keys = { accessKeyId: "test", secretAccessKey: "testsecret" };
  const options = { url: "s3://bucket", endpoint: front.url, ...keys, retry: NO_RETRY };
  const store = openStore(caFile === undefined ? options : { ...options, caFile }, env, environment);
  try {
    return (await keysOf(store, "")).length === 0 ? "ok" : "objects";
  } catch (error) {
    return (error as Error).message;
  } finally {
    await store.close();
  }
}

describe("readTlsTrust", () => {
  test("trusts a private authority from ca_file or AWS_CA_BUNDLE, or one from each", async () => {
    const other = new Authority("another authority");
    expect(await listing()).toContain("certificate");
    expect(await listing(other.path)).toContain("certificate");
    expect(await listing(authority.path)).toBe("ok");
    expect(await listing(undefined, { AWS_CA_BUNDLE: authority.path })).toBe("ok");
    expect(await listing(authority.path, { AWS_CA_BUNDLE: other.path })).toBe("ok");
    expect(await listing(other.path, { AWS_CA_BUNDLE: authority.path })).toBe("ok");
  });

  test("keeps trusting the known authorities", () => {
    const { ca = [] } = readTlsTrust(authority.path, {});
    expect(ca.length).toBeGreaterThan(50);
    expect(new Set(ca).size).toBe(ca.length);
    expect(readTlsTrust(undefined, {})).toBe(DEFAULT_TLS_TRUST);
    expect(readTlsTrust(undefined, { AWS_CA_BUNDLE: "" })).toBe(DEFAULT_TLS_TRUST);
  });

  test("verifies despite NODE_TLS_REJECT_UNAUTHORIZED=0", async () => {
    const before = process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
    process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0";
    try {
      expect(await listing()).toContain("certificate");
      const request = { method: "GET", url: new URL(front.url), headers: {} } as const;
      const sending = sendRequest(request, env, new AbortController().signal);
      expect(await sending.then(String, String)).toContain("UNABLE_TO_VERIFY_LEAF_SIGNATURE");
    } finally {
      if (before === undefined) delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
      else process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = before;
    }
  });

  const broken: [string, string | null, string][] = [
    ["a file that is missing", null, "ENOENT"],
    ["a file without certificates", "no PEM\n", "the file has none"],
    [
      "a certificate that is none",
      "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
      "number 1 of 1",
    ],
  ];
  for (const [label, content, reason] of broken) {
    test(`${label} is a configuration error that names the setting and the file`, () => {
      const path = join(tempFolder("ca"), "ca.pem");
      if (content !== null) writeFileSync(path, content);
      for (const [name, call] of [
        ["ca_file", () => readTlsTrust(path, {})],
        ["AWS_CA_BUNDLE", () => readTlsTrust(undefined, { AWS_CA_BUNDLE: path })],
      ] as const) {
        expect(call).toThrow(expect.objectContaining({ code: "config" }));
        expect(call).toThrow(`${path} (${name})`);
        expect(call).toThrow(reason);
      }
    });
  }

  test("rejects a FIFO in the place of the file at once", () => {
    const path = join(tempFolder("trust"), "ca.pem");
    Bun.spawnSync(["mkfifo", path]);
    expect(() => readTlsTrust(path, {})).toThrow("not a regular file");
  });
});

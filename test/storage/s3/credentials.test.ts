/** Credentials: their sources, their lifetime, and the SDK's chain for every source that is not static. */

import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { DEFAULT_TLS_TRUST } from "../../../src/storage/network/tls-trust.ts";
import { cachedSource, credentialSource } from "../../../src/storage/s3/credentials.ts";
import type { Credentials } from "../../../src/storage/s3/sigv4.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

const env = systemEnv(SILENT_LOG);

describe("credentialSource", () => {
  const environment = {
    AWS_ACCESS_KEY_ID: "env-id",
    AWS_SECRET_ACCESS_KEY: "env-secret",
    AWS_SESSION_TOKEN: "env-token",
  };

  test("credentialSource takes keys from the options before those of the environment", async () => {
    const options = { accessKeyId: "id", secretAccessKey: "secret" };
    expect(await credentialSource(options, environment, "r", env).get()).toEqual(options);
    expect(await credentialSource({}, environment, "r", env).get()).toEqual({
      accessKeyId: "env-id",
      secretAccessKey: "env-secret",
      sessionToken: "env-token",
    });
    expect(credentialSource(options, environment, "r", env).refresh(options, true)).toBe(false);
  });

  test("credentialSource takes replaceable keys first, and reads them again when refused", async () => {
    const [old, next] = ["1", "2"].map((accessKeyId) => ({ accessKeyId, secretAccessKey: "s" }));
    const keys = {
      current: old!,
      refresh(): boolean {
        const isNew = this.current !== next;
        this.current = next!;
        return isNew;
      },
    };
    const source = credentialSource({ accessKeyId: "id", secretAccessKey: "s", keys }, environment, "r", env);
    expect(await source.get()).toBe(old!);
    // Of two requests that were refused together, the second one finds the new keys, too.
    expect([source.refresh(old!, false), source.refresh(old!, false)]).toEqual([true, true]);
    expect([await source.get(), source.refresh(next!, false)]).toEqual([next!, false]);
  });

  test("credentialSource refuses half a pair of keys", () => {
    expect(() => credentialSource({ accessKeyId: "id" }, {}, "r", env)).toThrow(
      "only one of accessKeyId and",
    );
    expect(() => credentialSource({}, { AWS_SECRET_ACCESS_KEY: "s" }, "r", env)).toThrow(
      "only one of AWS_ACCESS_KEY_ID and",
    );
  });
});

describe("cachedSource", () => {
  test("cachedSource loads once for many requests, and again five minutes before the expiry", async () => {
    let nowMs = 0;
    let loadCount = 0;
    const source = cachedSource(
      async () => ({ accessKeyId: String(++loadCount), secretAccessKey: "s", expiresMs: nowMs + 3_600_000 }),
      { nowMs: () => nowMs },
    );
    const many = await Promise.all([source.get(), source.get(), source.get()]);
    expect(many.map((keys) => keys.accessKeyId)).toEqual(["1", "1", "1"]);
    nowMs = 3_600_000 - 5 * 60_000 - 1;
    expect((await source.get()).accessKeyId).toBe("1");
    nowMs += 1;
    expect((await source.get()).accessKeyId).toBe("2");
  });

  test("cachedSource reloads after refresh, and retries after a failure", async () => {
    const forced: boolean[] = [];
    let isFailing = true;
    const source = cachedSource(
      async (isForced): Promise<Credentials> => {
        forced.push(isForced);
        if (isFailing) throw new Error("no keys");
        return { accessKeyId: "id", secretAccessKey: "s" };
      },
      { nowMs: () => 0 },
    );
    await expect(source.get()).rejects.toThrow("no keys");
    isFailing = false;
    const first = await source.get();
    expect(source.refresh(first, false)).toBe(false);
    expect(source.refresh(first, true)).toBe(true);
    const second = await source.get();
    expect(second).not.toBe(first);
    // Another request with the first keys was refused meanwhile.
    expect(source.refresh(first, true)).toBe(true);
    expect(await source.get()).toBe(second);
    expect(forced).toEqual([false, false, true]);
  });
});

/** Puts an object from a child process whose environment has only the given variables. */
async function putFromProcess(url: string, environment: Record<string, string>): Promise<string> {
  const script = join(tempFolder("sdk"), "put.ts");
  const source = (file: string) => JSON.stringify(join(import.meta.dir, "../../../src", file));
  writeFileSync(
    script,
    `import { systemEnv, SILENT_LOG } from ${source("env.ts")};
     import { openStore } from ${source("index.ts")};
     const profile = process.env.USE_PROFILE;
     const endpoint = ${JSON.stringify(url)};
     const options = { url: "s3://bucket/p", endpoint, ...(profile ? { profile } : {}) };
     const retry = { maxRetries: 0, baseDelayMs: 0, maxDelayMs: 0 };
     const body = { kind: "bytes", bytes: new Uint8Array(3) };
     const store = openStore({ ...options, retry }, systemEnv(SILENT_LOG));
     const outcome = store.put("k", body).then(() => "put", (error) => error.code + ": " + error.message);
     console.log(await outcome);`,
  );
  const child = Bun.spawn([process.execPath, script], {
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: tempFolder("home"),
      AWS_EC2_METADATA_DISABLED: "true",
      ...environment,
    },
    stdout: "pipe",
    stderr: "inherit",
  });
  return (await child.stdout.text()).trim();
}

describe("the SDK's chain", () => {
  test("a profile of the AWS files signs requests, before keys of the environment", async () => {
    const server = await S3Server.start({ accessKeyId: "profile-id", secretAccessKey: "profile-secret" });
    const file = join(tempFolder("aws"), "credentials");
    writeFileSync(file, "[work]\naws_access_key_id = profile-id\naws_secret_access_key = profile-secret\n");
    const environment = { AWS_SHARED_CREDENTIALS_FILE: file, USE_PROFILE: "work" };
    const others = { AWS_ACCESS_KEY_ID: "x", AWS_SECRET_ACCESS_KEY: "y" };
    expect(await putFromProcess(server.url, { ...environment, ...others })).toBe("put");
    server.stop();
  }, 20_000);

  test("a lack of any keys is an auth error", async () => {
    expect(await putFromProcess("http://127.0.0.1:1", {})).toStartWith("auth: Cannot find keys for S3");
  }, 20_000);

  test("keys that the store calls expired are replaced once", async () => {
    const server = await S3Server.start({ sessionToken: "second" });
    const tokens = ["first", "second"];
    const source = cachedSource(
      async () => ({
        accessKeyId: "test",
        secretAccessKey: "testsecret",
        sessionToken: tokens.shift() ?? "none",
      }),
      env,
    );
    const { S3Client } = await import("../../../src/storage/s3/s3-client.ts");
    const { s3Address } = await import("../../../src/storage/s3/s3-address.ts");
    const region = "us-east-1";
    const address = s3Address({ bucket: "bucket", region, endpoint: server.url });
    const client = new S3Client({
      address,
      region,
      credentials: source,
      env,
      stallMs: 30_000,
      trust: DEFAULT_TLS_TRUST,
      reachability: undefined,
    });
    await client.send({ action: "use", method: "HEAD", fullKey: null });
    expect(server.refusals).toEqual(["ExpiredToken"]);
    server.options.sessionToken = "third";
    await expect(client.send({ action: "use", method: "HEAD", fullKey: null })).rejects.toThrow("400");
    expect(server.refusals).toEqual(["ExpiredToken", "ExpiredToken", "ExpiredToken"]);
    server.stop();
  });
});

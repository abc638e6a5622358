/**
 * The AWS SDK's chain talks to an STS with a certificate of a private authority. The chain trusts the
 * authority only through AWS_CA_BUNDLE. No environment variable switches the verification off.
 */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { credentialSource } from "../../../src/storage/s3/credentials.ts";
import { Authority } from "../../support/servers/certificates.ts";
import { tempFolder } from "../../support/temp.ts";

const env = systemEnv(SILENT_LOG);
const ANSWER = `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIASTS</AccessKeyId>
<SecretAccessKey>sts-secret</SecretAccessKey><SessionToken>sts-token</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>`;

let authority: Authority;
let sts: Bun.Server<undefined>;
let asked: string[];
const kept = new Map<string, string | undefined>();

beforeEach(() => {
  authority = new Authority();
  asked = [];
  sts = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    tls: authority.server(),
    fetch: async (request) => {
      asked.push(await request.text());
      return new Response(ANSWER, { headers: { "content-type": "text/xml" } });
    },
  });
  const token = join(tempFolder("token"), "token");
  writeFileSync(token, "the-identity");
  const variables = {
    AWS_WEB_IDENTITY_TOKEN_FILE: token,
    AWS_ROLE_ARN: "arn:aws:iam::123456789012:role/backup",
    AWS_ENDPOINT_URL_STS: `https://127.0.0.1:${sts.port}`,
    AWS_EC2_METADATA_DISABLED: "true",
    AWS_ACCESS_KEY_ID: undefined,
    AWS_SECRET_ACCESS_KEY: undefined,
    AWS_SESSION_TOKEN: undefined,
    AWS_PROFILE: undefined,
    NODE_TLS_REJECT_UNAUTHORIZED: "0",
  };
  for (const [name, value] of Object.entries(variables)) set(name, value);
});

function set(name: string, value: string | undefined): void {
  if (!kept.has(name)) kept.set(name, process.env[name]);
  if (value === undefined) delete process.env[name];
  else process.env[name] = value;
}

afterEach(async () => {
  for (const [name, value] of kept) set(name, value);
  kept.clear();
  await sts.stop(true);
});

test("the chain trusts the authority in AWS_CA_BUNDLE", async () => {
  const source = credentialSource({}, { AWS_CA_BUNDLE: authority.path }, "us-east-1", env);
  expect(await source.get()).toMatchObject({
    accessKeyId: "ASIASTS",
    secretAccessKey: "sts-secret",
    sessionToken: "sts-token",
  });
  expect(asked.length).toBe(1);
  expect(asked[0]).toContain("WebIdentityToken=the-identity");
});

test("the chain sends no identity to a server that it cannot verify", async () => {
  const source = credentialSource({}, {}, "us-east-1", env);
  await expect(source.get()).rejects.toThrow("Cannot find keys for S3");
  expect(asked).toEqual([]);
});

/**
 * S3Store passes the contract on the in-process server, which verifies every signature, and on two real
 * servers.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { openStore } from "../../../src/index.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { type Minio, startMinio } from "../../support/servers/minio.ts";
import { peerPathOrNull, testWith } from "../../support/servers/peers.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { startVersitygw, type Versitygw } from "../../support/servers/versitygw.ts";
import { storeContract } from "../contract/contract.ts";

const env = systemEnv(SILENT_LOG);
let server: S3Server;
let gateway: Versitygw | null = null;
let minio: Minio | null = null;
let bucketCount = 0;

beforeAll(async () => {
  server = await S3Server.start();
  if (peerPathOrNull("versitygw") !== null) gateway = await startVersitygw();
  if (peerPathOrNull("minio") !== null) minio = await startMinio();
});

afterAll(async () => {
  server.stop();
  await gateway?.stop();
  await minio?.stop();
});

function openOn(endpoint: string, url: string): ObjectStore {
  return openStore({ url, endpoint, accessKeyId: "test", secretAccessKey: "testsecret" }, env, {});
}

storeContract("S3Store on the in-process server", {
  open() {
    server.reset();
    return openOn(server.url, "s3://bucket/some prefix/of+mine");
  },
  openMissing: () => openOn(server.url, "s3://no-such-bucket/p"),
  checksums: "yes",
});

storeContract("S3Store without a prefix on the in-process server", {
  open() {
    server.reset();
    return openOn(server.url, "s3://bucket");
  },
  openMissing: () => openOn(server.url, "s3://no-such-bucket"),
  checksums: "yes",
});

storeContract("S3Store on versitygw", {
  open() {
    const name = `bucket-${++bucketCount}`;
    gateway!.createBucket(name);
    return openOn(gateway!.url, `s3://${name}/pre fix`);
  },
  openMissing: () => openOn(gateway!.url, "s3://no-such-bucket"),
  checksums: "yes",
  keepsStaleMetadata: true,
  test: testWith("versitygw"),
});

function openOnMinio(url: string): ObjectStore {
  const { url: endpoint, accessKeyId, secretAccessKey, caFile } = minio!;
  return openStore({ url, endpoint, accessKeyId, secretAccessKey, caFile }, env, {});
}

storeContract("S3Store on MinIO, over TLS with a private authority", {
  async open() {
    const name = `bucket-${++bucketCount}`;
    await minio!.createBucket(name);
    return openOnMinio(`s3://${name}/pre fix`);
  },
  openMissing: () => openOnMinio("s3://no-such-bucket"),
  checksums: "yes",
  test: testWith("minio"),
});

test("every request of the contract was signed correctly", () => {
  expect(server.refusals).toEqual([]);
});

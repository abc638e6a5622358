/**
 * A second real store for tests: MinIO over TLS, with a certificate of a private authority, on a free
 * loopback port and a temporary folder.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { readTlsTrust } from "../../../src/storage/network/tls-trust.ts";
import { staticSource } from "../../../src/storage/s3/credentials.ts";
import { s3Address } from "../../../src/storage/s3/s3-address.ts";
import { S3Client } from "../../../src/storage/s3/s3-client.ts";
import { tempFolder } from "../temp.ts";
import { Authority, writeCertificate } from "./certificates.ts";
import { freePort } from "./free-port.ts";
import { peerPath } from "./peers.ts";

const REGION = "us-east-1";
const START_LIMIT_MS = 30_000;

/** A running server. */
export interface Minio {
  readonly url: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** The PEM file of the authority. */
  readonly caFile: string;
  /** Creates a bucket; names have three characters or more. */
  createBucket(name: string): Promise<void>;
  stop(): Promise<void>;
}

/** Starts a server and waits until it answers. @throws Error if the server ends first or does not answer */
export async function startMinio(): Promise<Minio> {
  const data = join(tempFolder("minio"), "data");
  mkdirSync(data);
  const authority = new Authority();
  const { folder } = writeCertificate(authority.server());
  const port = freePort();
  const keys = { accessKeyId: "test", secretAccessKey: "testsecret" };
  const server = Bun.spawn(
    [peerPath("minio"), "server", "--certs-dir", folder, "--address", `127.0.0.1:${port}`, data],
    {
      stdio: ["ignore", "ignore", "ignore"],
      env: {
        PATH: process.env["PATH"] ?? "",
        HOME: folder,
        MINIO_ROOT_USER: keys.accessKeyId,
        MINIO_ROOT_PASSWORD: keys.secretAccessKey,
        MINIO_BROWSER: "off",
        MINIO_UPDATE: "off",
      },
    },
  );
  const url = `https://127.0.0.1:${port}`;
  const deadlineMs = performance.now() + START_LIMIT_MS;
  while (!(await isReady(url, authority.cert))) {
    if (server.exitCode !== null) throw new Error(`minio ended with ${server.exitCode} before it answered`);
    if (performance.now() > deadlineMs) throw new Error("minio did not answer in time");
  }
  return {
    url,
    ...keys,
    caFile: authority.path,
    async createBucket(name) {
      const client = new S3Client({
        address: s3Address({ bucket: name, region: REGION, endpoint: url }),
        region: REGION,
        credentials: staticSource(keys),
        env: systemEnv(SILENT_LOG),
        stallMs: START_LIMIT_MS,
        trust: readTlsTrust(authority.path, {}),
        reachability: undefined,
      });
      await client.send({ action: `create ${name}`, method: "PUT", fullKey: null });
      client.close();
    },
    async stop() {
      server.kill();
      await server.exited;
    },
  };
}

/** Whether the server serves S3. Its health pages answer earlier, while each S3 request is still a 503. */
async function isReady(url: string, ca: string): Promise<boolean> {
  try {
    const response = await fetch(url, { tls: { ca }, keepalive: false });
    if (response.status === 403) return true;
  } catch {
    // The server does not listen yet.
  }
  await Bun.sleep(20);
  return false;
}

/**
 * A real S3 gateway for tests: versitygw over a temporary folder, on a free loopback port. A bucket is a
 * folder.
 */
import { mkdirSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { tempFolder } from "../temp.ts";
import { freePort } from "./free-port.ts";
import { peerPath } from "./peers.ts";

/** A running gateway. */
export interface Versitygw {
  readonly url: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Creates a bucket; names have three characters or more. */
  createBucket(name: string): void;
  stop(): Promise<void>;
}

/** Starts a gateway and waits until it listens. @throws Error if the gateway ends first */
export async function startVersitygw(): Promise<Versitygw> {
  const folder = tempFolder("versitygw");
  const root = join(folder, "root");
  const sidecar = join(folder, "sidecar");
  for (const path of [root, sidecar]) mkdirSync(path);
  const port = freePort();
  const credentials = { accessKeyId: "test", secretAccessKey: "testsecret" };
  const gateway = Bun.spawn(
    [
      peerPath("versitygw"),
      ...["--access", credentials.accessKeyId, "--secret", credentials.secretAccessKey],
      ...["--port", `127.0.0.1:${port}`, "--quiet"],
      ...["posix", "--sidecar", sidecar, root],
    ],
    { stdin: "ignore", stdout: "ignore", stderr: "ignore" },
  );
  while (!(await canConnect(port))) {
    if (gateway.exitCode !== null)
      throw new Error(`versitygw ended with ${gateway.exitCode} before it listened`);
  }
  return {
    url: `http://127.0.0.1:${port}`,
    ...credentials,
    createBucket: (name) => mkdirSync(join(root, name), { recursive: true }),
    async stop() {
      gateway.kill();
      await gateway.exited;
    },
  };
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

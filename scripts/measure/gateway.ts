/**
 * The object storage of the benchmark and the soak: versitygw on a free loopback port over a temporary
 * folder. A bucket is a folder and an object is a file, so the benchmark sees objects without a request. The
 * access log of the gateway holds every answered request, so the server counts the requests, not their
 * sender.
 *
 * The gateway keeps connections alive, like every real store (versitygw's own default closes each one).
 */
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { ROOT } from "../toolchain.ts";
import type { Certificate } from "./certificate.ts";
import { assertAlive, type Child, type Workspace } from "./workspace.ts";

/** Name of the only bucket. */
export const BUCKET = "bench";

/** Keys of the gateway. */
export const CREDENTIALS = { accessKeyId: "bench", secretAccessKey: "bench-secret", region: "us-east-1" };

/** A running gateway. */
export interface Gateway {
  readonly child: Child;
  readonly port: number;
  readonly bucketFolder: string;
  readonly accessLogPath: string;
}

/** Objects of a database at all levels, below a prefix. */
export function countStored(gateway: Gateway, prefix: string): number {
  return readdirSync(join(gateway.bucketFolder, prefix), { recursive: true, encoding: "utf8" }).filter(
    (name) => name.endsWith(".ltx"),
  ).length;
}

/** Path of the gateway's executable. */
export const GATEWAY_BINARY = join(ROOT, ".peers", "bin", "versitygw");

/**
 * Starts a gateway over `folder` and waits until it listens. A gateway over the same folder has the same
 * objects.
 * @throws Error when the gateway ends first
 */
export async function startGateway(
  workspace: Workspace,
  folder: string,
  certificate: Certificate | null,
  port = freePort(),
): Promise<Gateway> {
  const root = join(folder, "gateway-root");
  const sidecar = join(folder, "gateway-sidecar");
  const accessLogPath = join(folder, "access.log");
  const bucketFolder = join(root, BUCKET);
  for (const path of [bucketFolder, sidecar]) mkdirSync(path, { recursive: true });
  const { accessKeyId, secretAccessKey } = CREDENTIALS;
  const child = workspace.start("versitygw", {
    words: [
      GATEWAY_BINARY,
      ...["--access", accessKeyId, "--secret", secretAccessKey, "--port", `127.0.0.1:${port}`],
      ...["--quiet", "--keep-alive", "--access-log", accessLogPath],
      ...(certificate === null ? [] : ["--cert", certificate.certPath, "--key", certificate.keyPath]),
      ...["posix", "--sidecar", sidecar, root],
    ],
    env: {},
  });
  while (!(await canConnect(port))) assertAlive(child);
  return { child, port, bucketFolder, accessLogPath };
}

/** The folder of one level of one database; both tools use the same layout. */
export function levelFolder(
  gateway: Gateway,
  prefix: string,
  name: string,
  level: 0 | 1 | 2 | 3 | 9,
): string {
  return join(gateway.bucketFolder, prefix, name, `000${level}`);
}

/** The LTX objects in a level's folder. */
export function listObjects(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith(".ltx")) : [];
}

/** Total bytes of the objects below a prefix. */
export function storedBytes(gateway: Gateway, prefix: string): number {
  const folder = join(gateway.bucketFolder, prefix);
  const paths = readdirSync(folder, { recursive: true, withFileTypes: true });
  return paths
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
}

/** A loopback port that no program listens on. */
export function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop(true);
  return port;
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

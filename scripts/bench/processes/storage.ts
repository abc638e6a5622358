/**
 * The storage as a tool sees it: a gateway, and on request https and a slow line before it. The benchmark
 * itself reads the gateway's folder and log, so its own look at the storage costs the tool nothing.
 */
import { join } from "node:path";
import { makeCertificate } from "../../measure/certificate.ts";
import { type Gateway, startGateway } from "../../measure/gateway.ts";
import { type Child, readLog, type Workspace, waitUntil } from "../../measure/workspace.ts";
import { bunCommand } from "../../toolchain.ts";
import type { Link } from "../spec.ts";

/** An address of the storage. */
export interface Endpoint {
  readonly url: string;
  readonly port: number;
  /** PEM file of the authority behind https, or null for http. */
  readonly caPath: string | null;
}

/** A running storage. */
export interface Storage {
  readonly gateway: Gateway;
  /** Behind the slow line, if the link has one. */
  readonly endpoint: Endpoint;
  /** Direct address of the gateway. */
  readonly near: Endpoint;
  /** The processes that must stay alive. */
  readonly children: readonly Child[];
}

const LINE_LIMIT_MS = 30_000;

/** Starts a gateway and its line. @throws Error when one of them ends at once */
export async function startStorage(workspace: Workspace, folder: string, link: Link): Promise<Storage> {
  const certificate = link.scheme === "https" ? await makeCertificate(folder) : null;
  const gateway = await startGateway(workspace, folder, certificate);
  const address = (port: number): Endpoint => ({
    url: `${link.scheme}://127.0.0.1:${port}`,
    port,
    caPath: certificate?.certPath ?? null,
  });
  const near = address(gateway.port);
  if (link.delayMs === 0 && link.lineRate === 0) {
    return { gateway, endpoint: near, near, children: [gateway.child] };
  }
  const line = await startLine(workspace, gateway.port, link);
  return { gateway, endpoint: address(line.port), near, children: [gateway.child, line.child] };
}

async function startLine(
  workspace: Workspace,
  gatewayPort: number,
  { delayMs, lineRate }: Link,
): Promise<{ child: Child; port: number }> {
  const program = join(import.meta.dir, "slow-line-main.ts");
  const words = bunCommand(program, String(gatewayPort), String(2 * delayMs), String(lineRate));
  const child = workspace.start("slow-line", { words, env: {} });
  await waitUntil([child], "the slow line", LINE_LIMIT_MS, () => readLog(child).includes("\n"));
  return { child, port: Number(readLog(child).trim()) };
}

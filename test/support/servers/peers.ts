/**
 * The independent programs that serve as oracles: sqlite3, the ltx CLI, Litestream, versitygw, MinIO,
 * promtool, mypy, Python, a browser (Chromium or Chrome), the shells zsh and fish, groff and mandoc, dpkg-deb
 * and rpm. `bun run peers` installs them into `.peers/bin`; sqlite3 and those behind mypy are the system's. A
 * test whose peer is missing is skipped. With WALRUST_PEERS=required the test fails instead; with
 * WALRUST_PEERS=none every peer counts as missing, the system's sqlite3 too.
 */
import { test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";

export type PeerName =
  | "ltx"
  | "litestream"
  | "versitygw"
  | "minio"
  | "promtool"
  | "mypy"
  | "sqlite3"
  | "python3"
  | "chromium"
  | "zsh"
  | "fish"
  | "groff"
  | "mandoc"
  | "dpkg-deb"
  | "rpm";

/** Names of the executables that the system provides. */
const OF_SYSTEM: Readonly<Partial<Record<PeerName, readonly string[]>>> = {
  sqlite3: ["sqlite3"],
  python3: ["python3"],
  chromium: ["chromium", "chromium-browser", "google-chrome"],
  zsh: ["zsh"],
  fish: ["fish"],
  groff: ["groff"],
  mandoc: ["mandoc"],
  "dpkg-deb": ["dpkg-deb"],
  rpm: ["rpm"],
};

const PEERS_FOLDER = join(import.meta.dir, "../../../.peers/bin");

/** Whether a missing peer fails its tests instead of skipping them. */
export const PEERS_REQUIRED = process.env["WALRUST_PEERS"] === "required";

/** Whether every peer counts as missing, even an installed one. */
const NO_PEERS = process.env["WALRUST_PEERS"] === "none";

/** The path of a peer's executable, or null if the peer is not installed. */
export function peerPathOrNull(name: PeerName): string | null {
  if (NO_PEERS) return null;
  const local = join(PEERS_FOLDER, name);
  if (existsSync(local)) return local;
  return (OF_SYSTEM[name] ?? []).map((program) => Bun.which(program)).find((path) => path !== null) ?? null;
}

/** The path of a peer's executable. @throws Error if the peer is not installed */
export function peerPath(name: PeerName): string {
  const path = peerPathOrNull(name);
  if (path === null) throw new Error(`${name} is not installed: run \`bun run peers\``);
  return path;
}

/** `test`, or `test.skip` if one of the peers is missing and peers are not required. */
export function testWith(...names: PeerName[]): typeof test {
  const isMissing = names.some((name) => peerPathOrNull(name) === null);
  return isMissing && !PEERS_REQUIRED ? (test.skip as typeof test) : test;
}

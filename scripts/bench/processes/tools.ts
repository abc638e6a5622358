/**
 * The two compared programs: their commands for watching, copying once and restoring. Both run with their
 * defaults. Both name a database by its file stem and store it at the same keys below a prefix.
 */
import { writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { BUCKET, CREDENTIALS } from "../../measure/gateway.ts";
import type { Command, User } from "../../measure/workspace.ts";
import type { Endpoint } from "./storage.ts";

/** Names of the tools in the results. */
export type ToolName = "walrust" | "litestream";

/** A tool's own folder and its own prefix of the storage. */
export interface Site {
  readonly endpoint: Endpoint;
  readonly prefix: string;
  readonly folder: string;
  /** User of the tool's processes; null for the user of the benchmark. */
  readonly user: User | null;
}

/** Commands that copy a database once and restore it. */
export interface OneShots {
  copyOnce(site: Site, database: string): Command;
  restore(site: Site, database: string, target: string): Command;
}

/** One of the two tools. */
export interface Tool extends OneShots {
  readonly name: ToolName;
  /** @param statusPort port of the status server of walrust; absent: its default */
  watch(site: Site, databases: readonly string[], statusPort?: number): Command;
  /** Asks the watch for its state, as JSON; null: the tool has no such verb. */
  readonly status: ((site: Site) => Command) | null;
  /** Commands for the same work as the other tool's, where this tool's defaults do less. */
  readonly thorough: OneShots | null;
}

/** Key of a database below its prefix. */
export function nameOf(database: string): string {
  return basename(database, ".db");
}

/** walrust, run from this executable. */
export function walrustTool(binary: string): Tool {
  const env = {
    AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
    AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
    AWS_REGION: CREDENTIALS.region,
  };
  const command = ({ endpoint, prefix, user }: Site, ...words: string[]): Command => ({
    words: [binary, ...words, "-b", `s3://${BUCKET}/${prefix}`, "--endpoint", endpoint.url],
    env: { ...env, ...trust(endpoint) },
    user,
  });
  return {
    name: "walrust",
    watch: (site, databases, statusPort) => {
      const port = statusPort === undefined ? [] : ["--metrics-port", String(statusPort)];
      return command(site, "watch", ...databases, ...port);
    },
    status: (site) => command(site, "status", "--json"),
    copyOnce: (site, database) => command(site, "snapshot", database),
    restore: (site, database, target) => command(site, "restore", nameOf(database), "-o", target),
    thorough: null,
  };
}

/** Litestream, run from this executable. */
export function litestreamTool(binary: string): Tool {
  const command = (site: Site, databases: readonly string[], verb: string, ...words: string[]): Command => ({
    words: [binary, verb, "-config", writeConfig(site, databases), ...words],
    env: trust(site.endpoint),
    user: site.user,
  });
  return {
    name: "litestream",
    watch: (site, databases) => command(site, databases, "replicate"),
    status: null,
    copyOnce: (site, database) => command(site, [database], "replicate", "-once"),
    restore: (site, database, target) => command(site, [database], "restore", "-o", target, database),
    thorough: {
      copyOnce: (site, database) => command(site, [database], "replicate", "-once", "-force-snapshot"),
      restore: (site, database, target) =>
        command(site, [database], "restore", "-integrity-check", "full", "-o", target, database),
    },
  };
}

/** The authority for both tools. Litestream's own HTTP client refuses AWS_CA_BUNDLE. */
function trust({ caPath }: Endpoint): Record<string, string> {
  return caPath === null ? {} : { SSL_CERT_FILE: caPath };
}

/** Writes Litestream's configuration for these databases. @returns the path of the file */
function writeConfig({ endpoint, prefix, folder }: Site, databases: readonly string[]): string {
  const path = join(folder, "litestream.yml");
  const dbs = databases.map((database) => ({
    path: database,
    replica: {
      type: "s3",
      bucket: BUCKET,
      path: `${prefix}/${nameOf(database)}`,
      endpoint: endpoint.url,
      region: CREDENTIALS.region,
      "access-key-id": CREDENTIALS.accessKeyId,
      "secret-access-key": CREDENTIALS.secretAccessKey,
      "force-path-style": true,
    },
  }));
  // JSON is valid YAML, and needs no quoting rules of its own.
  writeFileSync(path, JSON.stringify({ dbs }, null, 2));
  return path;
}

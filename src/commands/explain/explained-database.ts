/**
 * Explains each database: its file as it is now, and the settings that it is replicated with.
 */
import { statSync } from "node:fs";
import { type ReplicationConfig, resolveDatabaseConfig } from "../../config/config.ts";
import { resolveOptions, type Sources } from "../../config/resolve.ts";
import { SECTIONS } from "../../config/settings/options.ts";
import { requirePinnable } from "../../database/pin/pinnable.ts";
import type { FoundDatabase } from "../../discovery/finder.ts";
import { WalrustError } from "../../errors.ts";
import { type CompressionSample, sampleCompression } from "../../forecast/compressibility.ts";
import { type ShownSetting, shownGroup } from "./shown-settings.ts";

/** A database that would be watched. */
export interface ExplainedDatabase {
  readonly path: string;
  readonly name: string;
  readonly isDiscovered: boolean;
  /** The line of its entry in walrust.toml, or null. */
  readonly entryLine: number | null;
  readonly bytes: number;
  readonly walBytes: number;
  /** Null when the file cannot be read. */
  readonly sample: CompressionSample | null;
  /** The reason why it cannot be watched, or null. */
  readonly problem: WalrustError | null;
  readonly config: ReplicationConfig;
  /** Settings of its own. */
  readonly overrides: readonly ShownSetting[];
}

/** Explains one database. Changes nothing. @throws WalrustError code "usage" or "config" */
export function explainDatabase(
  sources: Sources,
  config: ReplicationConfig,
  found: FoundDatabase,
): ExplainedDatabase {
  const { path, name, isDiscovered, entry } = found;
  const problem = problemOrNull(path);
  return {
    path,
    name,
    isDiscovered,
    entryLine: entry?.line ?? null,
    bytes: sizeOf(path),
    walBytes: sizeOf(`${path}-wal`),
    sample: sampleOrNull(path),
    problem,
    config: { ...config, ...resolveDatabaseConfig(sources, entry) },
    overrides: entry === null ? [] : overridesOf(sources, found),
  };
}

function overridesOf(sources: Sources, { entry }: FoundDatabase): ShownSetting[] {
  return SECTIONS.filter(({ isPerDatabase }) => isPerDatabase).flatMap(({ name, options }) =>
    shownGroup(name, options, resolveOptions(sources, options, entry)).filter(({ key }) =>
      entry?.overrides.has(`${name}.${key}`),
    ),
  );
}

function problemOrNull(path: string): WalrustError | null {
  try {
    requirePinnable(path);
    return null;
  } catch (error) {
    if (error instanceof WalrustError) return error;
    throw error;
  }
}

function sampleOrNull(path: string): CompressionSample | null {
  try {
    return sampleCompression(path);
  } catch (error) {
    if (error instanceof WalrustError) return null;
    throw error;
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/**
 * Lists the databases of `verify --all`: those with objects, and those with nothing but a manifest. The
 * latter lost all their objects, which no listing of objects shows.
 */
import type { WalrustError } from "../../errors.ts";
import { type WalkedDatabase, walkDatabases } from "../../storage/bucket/database-walk.ts";
import { concernsOneDatabase } from "../../storage/bucket/error-scope.ts";
import { detectForeignLayoutOrNull } from "../../storage/bucket/foreign-layout.ts";
import { readManifest } from "../../storage/bucket/manifest.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";

/** A name in a bucket that is to be verified. */
export interface Verifiable {
  readonly name: string;
  /** The error that keeps the database from being verified, or null. */
  readonly problem: WalrustError | null;
  /** The name is neither a file nor a folder, so nobody knows whether it was a database. */
  readonly isStranger?: boolean;
}

/** All databases to verify, sorted by name. @throws WalrustError with a storage code */
export async function listVerifiable(
  store: ObjectStore,
  signal: AbortSignal | undefined,
): Promise<Verifiable[]> {
  const found = await strangersIn(store, "");
  for await (const walked of walkDatabases(store, signal)) {
    const { name, objects, problem } = walked;
    // A database with objects reports its strangers among its own findings.
    if (objects.length === 0) found.push(...(await strangersIn(store, `${name}/`)));
    if (problem !== null) found.push({ name, problem });
    else {
      try {
        if (await isDatabase(store, walked, signal)) found.push({ name, problem: null });
      } catch (error) {
        if (!concernsOneDatabase(error)) throw error;
        found.push({ name, problem: error });
      }
    }
  }
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function strangersIn(store: ObjectStore, folder: string): Promise<Verifiable[]> {
  const leftovers = (await store.leftovers?.(folder)) ?? [];
  const strangers = leftovers.filter(({ kind }) => kind === "stranger");
  return strangers.map(({ key }) => ({ name: key, problem: null, isStranger: true }));
}

async function isDatabase(
  store: ObjectStore,
  { name, objects, hasOthers }: WalkedDatabase,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  if (objects.length > 0 || (await readManifest(store, name, signal)).kind !== "none") return true;
  return hasOthers && (await detectForeignLayoutOrNull(store, name, signal)) !== null;
}

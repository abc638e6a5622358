/**
 * The open descriptors and SQLite connections of the simulated process, so that a crash can close them as the
 * kernel does. Connections close first: as long as the pin's descriptors hold their locks, the close of a
 * connection neither checkpoints nor deletes the WAL, like the end of a killed process.
 */
import { closeSync } from "node:fs";

/** A connection that a crash closes. */
export interface OpenConnection {
  closeForCrash(): void;
}

const paths = new Map<number, string>();
const connections = new Set<OpenConnection>();

/** Registers an open descriptor. */
export function opened(fd: number, path: string): void {
  paths.set(fd, path);
}

/** Forgets a closed descriptor. */
export function closed(fd: number): void {
  paths.delete(fd);
}

/** The path that a descriptor was opened at, or has been renamed to; "" when it is not known. */
export function pathOf(fd: number): string {
  return paths.get(fd) ?? "";
}

/** A file got another name. */
export function renamed(from: string, to: string): void {
  for (const [fd, path] of paths) if (path === from) paths.set(fd, to);
}

/** Registers an open connection. */
export function connected(connection: OpenConnection): void {
  connections.add(connection);
}

/** Forgets a closed connection. */
export function disconnected(connection: OpenConnection): void {
  connections.delete(connection);
}

/** The paths of all open descriptors, and the number of open connections. */
export function openNow(): { readonly paths: readonly string[]; readonly connectionCount: number } {
  return { paths: [...paths.values()], connectionCount: connections.size };
}

/** Closes everything, as the kernel does for a process that was killed. */
export function closeAll(): void {
  for (const connection of connections) connection.closeForCrash();
  connections.clear();
  for (const fd of paths.keys()) closeSync(fd);
  paths.clear();
}

/**
 * Refuses file systems with unreliable locks or shared memory: network mounts, and mounts that a virtual
 * machine shares with its host. A pin would protect nothing there.
 */
import { statfsSync } from "node:fs";
import { WalrustError } from "../../errors.ts";

/**
 * Names by `f_type` of statfs(2). FUSE includes virtiofs, sshfs, s3fs and the shared folders of desktop VMs.
 */
const REFUSED_TYPES: ReadonlyMap<number, string> = new Map([
  [0x6969, "NFS"],
  [0xff534d42, "CIFS"],
  [0xfe534d42, "SMB2"],
  [0x517b, "SMB"],
  [0x01021997, "9p"],
  [0x65735546, "FUSE or virtiofs"],
  [0x00c36400, "Ceph"],
  [0x786f4256, "vboxsf"],
  [0xbacbacbc, "vmhgfs"],
  [0x7c7c6673, "prl_fs"],
  [0x5346414f, "AFS"],
  [0x6b414653, "AFS"],
  [0x73757245, "Coda"],
  [0x0bd00bd0, "Lustre"],
  [0x47504653, "GPFS"],
  [0x19830326, "BeeGFS"],
  [0x20030528, "OrangeFS"],
  [0x01161970, "GFS2"],
  [0x7461636f, "OCFS2"],
]);

/** The name of a refused file system by its statfs type, or null when the type is accepted. */
export function refusedFileSystemOrNull(statfsType: number): string | null {
  return REFUSED_TYPES.get(statfsType >>> 0) ?? null;
}

/**
 * Requires a local file system under `path`.
 * @throws WalrustError "database" when it is a network or VM-shared mount.
 */
export function requireLocalFileSystem(path: string): void {
  const name = refusedFileSystemOrNull(Number(statfsSync(path).type));
  if (name === null) return;
  throw new WalrustError("database", `Cannot pin ${path}: it is on ${name}, expected a local file system`, {
    hint: "Move the database to a local disk: SQLite in WAL mode needs shared memory and reliable locks",
    context: { path, fileSystem: name },
  });
}

/**
 * Refuses file systems with unreliable locks or shared memory: network mounts, and mounts that a virtual
 * machine shares with its host. A pin would protect nothing there.
 */
import { statfsSync } from "node:fs";
import { WalrustError } from "../../errors.ts";

const TMPFS = 0x01021994;
const OVERLAY = 0x794c7630;

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

/** Local file systems by `f_type` of statfs(2). */
const LOCAL_TYPES: ReadonlyMap<number, string> = new Map([
  [0xef53, "ext4"],
  [0x58465342, "XFS"],
  [0x9123683e, "btrfs"],
  [0x2fc12fc1, "ZFS"],
  [0xf2f52010, "F2FS"],
  [0xca451a4e, "bcachefs"],
  [TMPFS, "tmpfs"],
  [OVERLAY, "overlayfs"],
]);

/** The file system under a path: its name, and whether it outlives the machine or the container. */
export interface FileSystem {
  /** Its `f_type` as hex digits if the name is not known. */
  readonly name: string;
  /** Why files there are lost, or null. */
  readonly lossReason: string | null;
}

/** The file system under `path`. @throws the system's error */
export function fileSystemOf(path: string): FileSystem {
  const type = Number(statfsSync(path).type) >>> 0;
  const name = REFUSED_TYPES.get(type) ?? LOCAL_TYPES.get(type) ?? `type 0x${type.toString(16)}`;
  if (type === TMPFS) return { name, lossReason: "its files lie in memory, and are lost at a restart" };
  if (type === OVERLAY) return { name, lossReason: "its files lie in a container's layer, and go with it" };
  return { name, lossReason: null };
}

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

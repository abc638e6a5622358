/**
 * PURE: decides whether walrust may use a walrust.toml that it finds in the working directory. A file in a
 * stranger's folder could send this user's keys, or any file that a `*_file` key names, to the stranger's
 * server. A file that the user names with --config is used without this check.
 *
 * The file is trusted if and only if
 * 1. it, and the link that leads to it if there is one, belong to this user or to root;
 * 2. it is a regular file;
 * 3. others may not write to it, and neither may its group, unless that is this user's own private group.
 */

/** The facts that trust depends on. */
export interface FileFacts {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  readonly isFile: boolean;
}

const GROUP_WRITE = 0o020;
const OTHERS_WRITE = 0o002;
const OTHERS_READ = 0o004;

/**
 * The reason not to trust the file, or null.
 * @param link the owner of the link at the path, or of the file itself where there is no link
 * @param isPrivate whether this user is the only member of a group
 */
export function distrustOrNull(
  file: FileFacts,
  link: Pick<FileFacts, "uid">,
  ownUid: number,
  isPrivate: (gid: number) => boolean = () => false,
): string | null {
  const isOurs = (uid: number): boolean => uid === ownUid || uid === 0;
  if (!file.isFile) return "it is not a regular file";
  if (!isOurs(link.uid)) return `it belongs to another user (uid ${link.uid})`;
  if (!isOurs(file.uid)) return `it leads to a file of another user (uid ${file.uid})`;
  if ((file.mode & OTHERS_WRITE) !== 0) return "everybody may write to it";
  if ((file.mode & GROUP_WRITE) !== 0 && !isPrivate(file.gid)) return "its group may write to it";
  return null;
}

/** Whether every user of the machine can read the file. */
export function isWorldReadable({ mode }: Pick<FileFacts, "mode">): boolean {
  return (mode & OTHERS_READ) !== 0;
}

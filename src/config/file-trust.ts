/**
 * PURE: whether a configuration file that was found in the working directory may be obeyed. Somebody else's
 * folder may hold a walrust.toml that sends the keys of this user, or any file that `*_file` names, to a
 * server of theirs. A file that is named with --config is obeyed as it is: the user chose it.
 *
 * The file is trusted if and only if
 * 1. it, and the link that leads to it if there is one, belong to this user or to root;
 * 2. it is a regular file;
 * 3. others may not write to it, and neither may its group, unless that is this user's own private group.
 */

/** What is known of a file. */
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
 * Why the file is not trusted, or null.
 * @param link the owner of what lies at the path: of a link, or of the file itself
 * @param isPrivate whether a group has no other member than this user
 */
export function distrustOrNull(
  file: FileFacts,
  link: Pick<FileFacts, "uid">,
  ownUid: number,
  isPrivate: (gid: number) => boolean = () => false,
): string | null {
  const isOurs = (uid: number): boolean => uid === ownUid || uid === 0;
  if (!file.isFile) return "it is no regular file";
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

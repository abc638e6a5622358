/** Child processes of tests that run as another user than root, and the change of user inside the child. */

/** A user by numbers; the numbers need no entry in /etc/passwd. */
export interface OtherUser {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly umask: number;
}

/** Drops root for the user in a JSON argument; does nothing without an argument. */
export function becomeOtherUser(word: string | undefined): void {
  if (word === undefined) return;
  const { uid, gid, groups, umask } = JSON.parse(word) as OtherUser;
  process.umask(umask);
  process.setgroups?.([...groups]);
  process.setgid?.(gid);
  process.setuid?.(uid);
}

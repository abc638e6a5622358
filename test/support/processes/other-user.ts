/**
 * Child processes of tests that run as another user than root: who they are, and how they become that.
 */

/** A user by numbers; nobody of that name has to exist. */
export interface OtherUser {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly umask: number;
}

/** Gives up root for a user told as JSON on the command line; without one nothing changes. */
export function becomeOtherUser(word: string | undefined): void {
  if (word === undefined) return;
  const { uid, gid, groups, umask } = JSON.parse(word) as OtherUser;
  process.umask(umask);
  process.setgroups?.([...groups]);
  process.setgid?.(gid);
  process.setuid?.(uid);
}

/**
 * One way to each failure of each verb: the setup, the words of the call, the exit code, and the expected
 * message. The setups are real: files, folders, an S3 server, locks.
 */
import { Database } from "bun:sqlite";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { takeHostLockOrNull } from "../../../src/database/files/host-lock.ts";
import type { Variables } from "../processes/binary.ts";
import {
  altered,
  configFile,
  fifo,
  flipByte,
  replacedFile,
  rollbackDatabase,
  snapshotFile,
  type World,
} from "../processes/exit-world.ts";

/** A failing call and its expected outcome. */
export interface ExitCase {
  readonly verb: string;
  readonly code: number;
  readonly what: string;
  /** The words after the verb. Cleanup for after the call goes to `undo`. */
  readonly words: (world: World, undo: (() => void)[]) => readonly string[];
  readonly env?: (world: World) => Variables;
  /** The error's code, or null where the report itself is the result. */
  readonly error: string | null;
  /** Expected parts of the message. */
  readonly said: readonly string[];
  /** Expected part of the hint; null if the user can do nothing. */
  readonly hint: string | null;
}

const envOfNowhere = ({ nowhere }: World): Variables => nowhere.env;
const NO_BUCKET = { error: "missing-bucket", said: ["s3://no-such-bucket/vm", "the bucket does not exist"] };

/** Failures of the destination that every verb has in common. */
function storageCases(): ExitCase[] {
  const calls: readonly (readonly [verb: string, words: (world: World) => readonly string[]])[] = [
    ["watch", ({ database }) => [database]],
    ["snapshot", ({ database }) => [database]],
    ["restore", ({ folder }) => ["app", "-o", join(folder, "restored.db")]],
    ["list", () => []],
    ["verify", () => ["app"]],
    ["compact", () => ["app"]],
  ];
  const ofBucket = calls.map(
    ([verb, words]): ExitCase => ({
      verb,
      code: 4,
      what: "the bucket does not exist",
      words: (world) => [...words(world), ...world.nowhere.words],
      env: envOfNowhere,
      ...NO_BUCKET,
      hint: "bucket",
    }),
  );
  return [
    ...ofBucket,
    {
      verb: "replicate",
      code: 4,
      what: "the bucket does not exist",
      words: ({ nowhere, folder }) => [
        "s3://no-such-bucket/vm/app",
        ...["--endpoint", nowhere.words.at(-1)!, "--local", join(folder, "replica.db"), "--once"],
      ],
      env: envOfNowhere,
      error: "missing-bucket",
      said: ["no-such-bucket", "does not exist"],
      hint: "bucket",
    },
    {
      verb: "doctor",
      code: 4,
      what: "the bucket does not exist",
      words: ({ database, nowhere }) => [database, ...nowhere.words],
      env: envOfNowhere,
      error: null,
      said: NO_BUCKET.said,
      hint: "bucket",
    },
    {
      verb: "explain",
      code: 4,
      what: "the bucket does not exist",
      words: ({ database, nowhere }) => [database, ...nowhere.words],
      env: envOfNowhere,
      error: null,
      said: NO_BUCKET.said,
      hint: "bucket",
    },
  ];
}

/** Mistakes in the configuration that every verb has in common. */
function usageCases(): ExitCase[] {
  const verbs = [
    ...["watch", "snapshot", "restore", "undo", "list", "verify"],
    ...["compact", "replicate", "serve", "status", "sync", "reload", "doctor", "explain", "pragma"],
  ];
  return verbs.map((verb) => ({
    verb,
    code: 2,
    what: "an option that there is not",
    words: () => ["app", "--configg", "walrust.toml"],
    error: "usage",
    said: ["Unknown option --configg"],
    hint: "Did you mean --config?",
  }));
}

const OWN_CASES: readonly ExitCase[] = [
  {
    verb: "watch",
    code: 3,
    what: "the only database is not in WAL mode",
    words: (world) => [rollbackDatabase(world), ...world.there, "--no-metrics"],
    error: "not-wal",
    said: ["rollback.db", "not in WAL mode"],
    hint: "PRAGMA journal_mode=WAL",
  },
  {
    verb: "snapshot",
    code: 3,
    what: "another walrust has the database",
    words: ({ database, there }, undo) => {
      const release = takeHostLockOrNull(database);
      if (release === null) throw new Error("the lock is held");
      undo.push(release);
      return [database, ...there];
    },
    error: "locked",
    said: ["app.db", "another walrust"],
    hint: "walrust",
  },
  {
    verb: "restore",
    code: 2,
    what: "the target exists",
    words: ({ database, there }) => ["app", "-o", database, ...there],
    error: "usage",
    said: ["app.db exists"],
    hint: "--force",
  },
  {
    verb: "restore",
    code: 2,
    what: "the target is a device or pipe, even with --force",
    words: ({ there }) => ["app", "-o", fifo(), "--force", ...there],
    error: "usage",
    said: ["pipe is no regular file"],
    hint: "-o",
  },
  {
    verb: "restore",
    code: 3,
    what: "the target's folder is a file",
    words: ({ database, there }) => ["app", "-o", join(database, "below", "x.db"), ...there],
    error: "database",
    said: ["Cannot create the folder", "ENOTDIR"],
    hint: "-o",
  },
  {
    verb: "restore",
    code: 3,
    what: "the target is in use",
    words: ({ database, there }, undo) => {
      const connection = new Database(database);
      connection.run("BEGIN");
      connection.query("SELECT * FROM row").all();
      undo.push(() => connection.close(true));
      return ["app", "-o", database, "--force", ...there];
    },
    error: "database",
    said: ["app.db is in use"],
    hint: "Stop the application",
  },
  {
    verb: "restore",
    code: 5,
    what: "the snapshot is damaged",
    words: (world) => [
      ...["app", "-o", join(world.folder, "restored.db")],
      ...altered(world, (app) => flipByte(snapshotFile(app))),
    ],
    error: "corrupt",
    said: ["0000000000000001-0000000000000001.ltx"],
    hint: "walrust verify",
  },
  {
    verb: "restore",
    code: 6,
    what: "there is no such backup",
    words: ({ folder, there }) => ["other", "-o", join(folder, "restored.db"), ...there],
    error: "restore",
    said: ['No backup of "other" in file://'],
    hint: "walrust list",
  },
  {
    verb: "restore",
    code: 6,
    what: "the point in time is before the oldest",
    words: ({ folder, there }) => [
      ...["app", "-o", join(folder, "restored.db"), ...there],
      ...["--point-in-time", "2001-01-01T00:00:00Z"],
    ],
    error: "restore",
    said: ["2001-01-01T00:00:00.000Z is before the oldest capture"],
    hint: "txid:1 of ",
  },
  {
    verb: "list",
    code: 6,
    what: "there is no such backup",
    words: ({ there }) => ["other", ...there],
    error: "restore",
    said: ['No backup of "other" in file://'],
    hint: "walrust list",
  },
  {
    verb: "verify",
    code: 1,
    what: "the manifest is damaged",
    words: (world) => ["app", ...altered(world, (app) => writeFileSync(join(app, "manifest.json"), "{"))],
    error: null,
    said: ["manifest-unreadable"],
    hint: null,
  },
  {
    verb: "verify",
    code: 3,
    what: "there is no room for a trial",
    words: ({ there }) => ["app", "--restore", ...there],
    env: ({ database }) => ({ TMPDIR: join(database, "tmp") }),
    error: "database",
    said: ["Cannot make a temporary folder", "ENOTDIR"],
    hint: "TMPDIR",
  },
  {
    verb: "verify",
    code: 5,
    what: "the snapshot is damaged",
    words: (world) => ["app", ...altered(world, (app) => flipByte(snapshotFile(app)))],
    error: null,
    said: ["A RESTORE IS IN DANGER"],
    hint: null,
  },
  {
    verb: "verify",
    code: 6,
    what: "there is no such backup",
    words: ({ there }) => ["other", ...there],
    error: "restore",
    said: ['No backup of "other" in file://'],
    hint: "walrust list",
  },
  {
    verb: "compact",
    code: 3,
    what: "another walrust has the database and does not answer",
    words: ({ database, there }, undo) => {
      const release = takeHostLockOrNull(database);
      if (release === null) throw new Error("the lock is held");
      undo.push(release);
      return ["app", "--force", ...there];
    },
    error: "locked",
    said: ["Another walrust holds", "app.db and does not answer"],
    hint: "stop that walrust",
  },
  {
    verb: "compact",
    code: 6,
    what: "there is no such backup",
    words: ({ there }) => ["other", ...there],
    error: "restore",
    said: ['No backup of "other" in file://'],
    hint: "walrust list",
  },
  {
    verb: "replicate",
    code: 3,
    what: "the path is no replica",
    words: ({ database, bucket }) => [`file://${bucket}/app`, "--local", database, "--once"],
    error: "database",
    said: ["app.db is not a replica of"],
    hint: "--local",
  },
  {
    verb: "replicate",
    code: 5,
    what: "the snapshot is damaged",
    words: (world) => {
      const [, url] = altered(world, (app) => flipByte(snapshotFile(app)));
      return [`${url}/app`, "--local", join(world.folder, "replica.db"), "--once"];
    },
    error: "corrupt",
    said: ["0000000000000001-0000000000000001.ltx"],
    hint: "walrust verify",
  },
  {
    verb: "replicate",
    code: 6,
    what: "there is no such backup",
    words: ({ bucket, folder }) => [
      `file://${bucket}/other`,
      ...["--local", join(folder, "replica.db"), "--once"],
    ],
    error: "restore",
    said: ["other"],
    hint: "walrust",
  },
  {
    verb: "serve",
    code: 3,
    what: "the file is no replica",
    words: ({ database }) => ["--db", database, "--port", "0"],
    error: "database",
    said: ["is no replica that walrust serve has made"],
    hint: "--db",
  },
  {
    verb: "undo",
    code: 3,
    what: "another walrust has the database",
    words: ({ folder }, undo) => {
      const path = replacedFile(folder);
      const release = takeHostLockOrNull(path);
      if (release === null) throw new Error("the lock is held");
      undo.push(release);
      return [path];
    },
    error: "locked",
    said: ["undone.db", "Another walrust"],
    hint: "Stop the watch",
  },
  {
    verb: "undo",
    code: 6,
    what: "no restore has replaced a file",
    words: ({ database }) => [database],
    error: "restore",
    said: ["nothing to undo", "app.db"],
    hint: "--force",
  },
  {
    verb: "doctor",
    code: 3,
    what: "a database is not in WAL mode",
    words: (world) => [rollbackDatabase(world), ...world.there],
    error: null,
    said: ["rollback.db", "not in WAL mode"],
    hint: "PRAGMA journal_mode=WAL",
  },
  {
    verb: "explain",
    code: 3,
    what: "the only database is not in WAL mode",
    words: (world) => [rollbackDatabase(world), ...world.there],
    error: null,
    said: ["rollback.db", "not in WAL mode"],
    hint: "PRAGMA journal_mode=WAL",
  },
  {
    verb: "status",
    code: 3,
    what: "no watch replicates the database",
    words: ({ there }) => ["none", ...there],
    error: null,
    said: ["No watch of this user replicates none."],
    hint: "`walrust status` without a name",
  },
  {
    verb: "sync",
    code: 2,
    what: "neither NAME nor --all is given",
    words: ({ there }) => [...there],
    error: "usage",
    said: ["Give the NAME of a database, or --all"],
    hint: "walrust status",
  },
  {
    verb: "reload",
    code: 3,
    what: "no watch runs",
    words: ({ there }) => [...there],
    error: "database",
    said: ["No watch of this user that replicates to"],
    hint: "Start one",
  },
  {
    verb: "pragma",
    code: 1,
    what: "the disk is full",
    words: () => ["-o", "/dev/full"],
    error: "internal",
    said: ["Cannot write /dev/full: ENOSPC"],
    hint: "room",
  },
  {
    verb: "pragma",
    code: 2,
    what: "the folder is missing",
    words: ({ folder }) => ["-o", join(folder, "none", "x.sql")],
    error: "usage",
    said: ["Cannot write to", "ENOENT"],
    hint: "-o",
  },
  {
    verb: "snapshot",
    code: 2,
    what: "a configuration file that is wrong",
    words: ({ database }) => [database, "--config", configFile("[sync]\nmax_change = 1\n")],
    error: "config",
    said: ["walrust.toml:2:1", 'Unknown key "max_change" in [sync]'],
    hint: "Did you mean max_changes?",
  },
];

/** All failures except those that need a history or a signal. */
export const EXIT_CASES: readonly ExitCase[] = [...usageCases(), ...storageCases(), ...OWN_CASES];

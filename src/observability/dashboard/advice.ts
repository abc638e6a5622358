/**
 * PURE: the remedy for each failure of a database that walrust keeps watching. Conditions and many failures
 * bring a hint of their own; these are for the others. Each is one or two sentences to the person on call.
 */

const BY_CODE: Readonly<Record<string, string>> = {
  database: "Check that the file exists, and that walrust may read and write it and its folder.",
  "database-busy": "Another process holds the database; walrust tries again by itself.",
  "not-wal": "Run PRAGMA journal_mode = WAL on the database; walrust then continues by itself.",
  locked: "Another walrust watches this database: stop it, or leave the work to it.",
  storage: "Check the network, the endpoint and the store. Captured files wait on disk; nothing is lost.",
  "not-found": "Run walrust verify NAME: it lists the objects that are missing.",
  "missing-bucket": "Check the name of the bucket and the endpoint; walrust does not create buckets.",
  auth: "Check the credentials and their permissions in the store. Captured files wait on disk.",
  "foreign-writer":
    "Decide which walrust keeps this prefix. Give the other one another name or prefix, and start it again.",
  integrity: "Run walrust verify NAME --read-data; walrust snapshot PATH makes the present state restorable.",
  corrupt: "Run walrust verify NAME --read-data; walrust snapshot PATH makes the present state restorable.",
  internal: "This is a bug in walrust: the log of the watch has the details.",
  starting: "Wait: walrust is opening the database. If this lasts, the log of the watch has the reason.",
  paused:
    "The store takes no uploads, and the captured files fill their share of the disk. Check the store, or " +
    "raise [cache] max_size. walrust continues by itself, and uploads what has changed.",
  lag: "Check the line to the store. If uploads never catch up, use a longer wal_sync_interval.",
  "circuit-open":
    "Check the store; walrust tries one request from time to time, and then continues by itself.",
  store: "Check the network, the endpoint and the store. Captured files wait on disk; nothing is lost.",
};

const ELSE = "The log of the watch has the details; walrust tries again by itself.";

/** The remedy for a problem without a hint of its own. */
export function adviceFor(code: string): string {
  return Object.hasOwn(BY_CODE, code) ? BY_CODE[code]! : ELSE;
}

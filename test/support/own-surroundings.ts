/**
 * Prepares a test process before its first test: private folders for sockets and for the state home. No test
 * thus finds a watch of this machine or leaves files in `/run/walrust` or `/var/lib/walrust`. Child processes
 * inherit the folders and the umask 022. Where each user has a group of its own, the usual umask is 002, and
 * a group could write to new folders.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "walrust-own-"));
process.env["XDG_RUNTIME_DIR"] = folder;
process.env["STATE_DIRECTORY"] = join(folder, "state");
delete process.env["RUNTIME_DIRECTORY"];
process.umask(0o022);
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

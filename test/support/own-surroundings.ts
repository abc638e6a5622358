/**
 * Before all tests of a process: folders of its own for sockets and for the state home, so that no test meets
 * a watch of this machine, or leaves anything in `/run/walrust` or `/var/lib/walrust`. Children inherit them,
 * and a umask: where a user has a group of its own it is 002, and new folders would not be the user's alone.
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

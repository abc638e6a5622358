/** `walrust man`: the page of the executable, with the date of its commit. */
import { expect, test } from "bun:test";
import packageJson from "../../../package.json";
import { documentOf, mustWalrust } from "../../support/processes/binary.ts";
import { peerPath, testWith } from "../../support/servers/peers.ts";

test("walrust man prints the page, the same every time, and one document with --json", async () => {
  const [page, again] = await Promise.all([mustWalrust(["man"]), mustWalrust(["man"])]);
  expect(page.stdout).toBe(again.stdout);
  expect(page.stderr).toBe("");
  const { version } = packageJson;
  // The date of the commit, of a build in a repository.
  const title = /^\.TH "WALRUST" "1" "(\d{4}-\d\d-\d\d)?" "walrust ([^"]+)" /m.exec(page.stdout);
  expect(title?.[2]).toBe(version);
  expect(documentOf(await mustWalrust(["man", "--json"]))).toEqual({ page: page.stdout.trimEnd() });
});

testWith("groff")("groff reads the page without a warning", async () => {
  const { stdout } = await mustWalrust(["man"]);
  const child = Bun.spawn([peerPath("groff"), "-man", "-ww", "-Tutf8", "-z"], {
    stdin: Buffer.from(stdout),
    stdout: "pipe",
    stderr: "pipe",
  });
  expect([await child.stderr.text(), await child.exited]).toEqual(["", 0]);
});

/** The last access to a file, beside other descriptors and other names of the file. */
import { expect, test } from "bun:test";
import { closeSync, linkSync, openSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isLastAccess } from "../../../src/database/files/sole-descriptor.ts";
import { takeLeaseOrNull } from "../../support/processes/lease.ts";
import { tempFolder } from "../../support/temp.ts";

function newFile(): string {
  const path = join(tempFolder("sole"), "file");
  writeFileSync(path, "content");
  return path;
}

test("a file without a name and without another descriptor has one access", async () => {
  const path = newFile();
  const endLease = await takeLeaseOrNull(path);
  await endLease?.();
  const fd = openSync(path, "r+");
  rmSync(path);
  // False on a file system without leases.
  expect(isLastAccess(fd)).toBe(endLease !== null);
  closeSync(fd);
});

test.each(["r", "r+"])("another descriptor, opened with %p, is another access", (flags) => {
  const path = newFile();
  const [fd, other] = [openSync(path, "r+"), openSync(path, flags)];
  rmSync(path);
  expect(isLastAccess(fd)).toBe(false);
  closeSync(other);
  closeSync(fd);
});

test("a name is another access", () => {
  const path = newFile();
  const fd = openSync(path, "r+");
  expect(isLastAccess(fd)).toBe(false);
  linkSync(path, `${path}.second`);
  rmSync(path);
  expect(isLastAccess(fd)).toBe(false);
  closeSync(fd);
});

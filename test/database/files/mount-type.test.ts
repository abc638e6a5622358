/** The file systems that walrust refuses. */
import { expect, test } from "bun:test";
import { refusedFileSystemOrNull, requireLocalFileSystem } from "../../../src/database/files/mount-type.ts";
import { tempFolder } from "../../support/temp.ts";

const EXT4 = 0xef53;
const XFS = 0x58465342;
const TMPFS = 0x01021994;
const BTRFS = 0x9123683e;
const OVERLAYFS = 0x794c7630;

test("refusedFileSystemOrNull accepts local file systems", () => {
  for (const type of [EXT4, XFS, TMPFS, BTRFS, OVERLAYFS]) expect(refusedFileSystemOrNull(type)).toBeNull();
});

test("refusedFileSystemOrNull names network and VM-shared ones, signed or not", () => {
  expect(refusedFileSystemOrNull(0x6969)).toBe("NFS");
  expect(refusedFileSystemOrNull(0xff534d42)).toBe("CIFS");
  expect(refusedFileSystemOrNull(0xff534d42 | 0)).toBe("CIFS");
  expect(refusedFileSystemOrNull(0x01021997)).toBe("9p");
  expect(refusedFileSystemOrNull(0x65735546)).toBe("FUSE or virtiofs");
});

test("requireLocalFileSystem accepts the file system of a temporary folder", () => {
  expect(() => requireLocalFileSystem(tempFolder("fs"))).not.toThrow();
});

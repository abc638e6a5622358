/** The record of an unfinished upload: what a torn or foreign file leaves of it, and which files are gone. */
import { expect, test } from "bun:test";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { UploadRecord, uploadRecords } from "../../../src/replication/upload/upload-record.ts";
import { tempFolder } from "../../support/temp.ts";

const BEGUN = {
  location: "s3://bucket/p at http://s3",
  key: "app/k.ltx",
  uploadId: "id+/=",
  subject: "ab12",
};

function newRecord(): { record: UploadRecord; path: string; spoolPath: string } {
  const spoolPath = join(tempFolder("record"), "file.ltx");
  const record = new UploadRecord(spoolPath);
  return { record, path: `${spoolPath}.upload`, spoolPath };
}

test("UploadRecord gives a begun upload and its parts to the next process, until it ends", () => {
  const { record, spoolPath } = newRecord();
  expect(record.readOrNull()).toBeNull();
  record.begin(BEGUN);
  record.addPart(1, '"e1"');
  record.addPart(3, '"e3"');
  const next = new UploadRecord(spoolPath);
  expect(next.readOrNull()).toEqual({
    ...BEGUN,
    etags: new Map([
      [1, '"e1"'],
      [3, '"e3"'],
    ]),
  });
  next.begin({ ...BEGUN, uploadId: "other" });
  expect(record.readOrNull()).toEqual({ ...BEGUN, uploadId: "other", etags: new Map() });
  record.end();
  record.end();
  expect(next.readOrNull()).toBeNull();
});

test("UploadRecord torn at any byte gives the parts before the cut, or nothing", () => {
  const { record, path } = newRecord();
  record.begin(BEGUN);
  record.addPart(1, '"e1"');
  record.addPart(2, '"e2"');
  const bytes = readFileSync(path);
  const [first = 0, second = 0] = [...bytes.keys()].filter((index) => bytes[index] === 10);
  for (let length = 0; length <= bytes.length; length++) {
    writeFileSync(path, bytes.subarray(0, length));
    const found = record.readOrNull();
    if (length <= first) expect(found).toBeNull();
    else expect(found?.etags.size).toBe(length <= second ? 0 : length < bytes.length ? 1 : 2);
  }
  writeFileSync(path, Buffer.concat([bytes.subarray(0, second + 1), Buffer.alloc(20)]));
  expect(record.readOrNull()?.etags.size).toBe(1);
});

test("UploadRecord that came with a copy of its folder belongs to the original", () => {
  const { record, spoolPath } = newRecord();
  record.begin(BEGUN);
  record.addPart(1, '"e1"');
  const [folder, copy] = [dirname(spoolPath), join(tempFolder("record"), "copy")];
  cpSync(folder, copy, { recursive: true });
  expect(new UploadRecord(join(copy, "file.ltx")).readOrNull()).toBeNull();
  expect(uploadRecords(copy)).toMatchObject([{ upload: null, hasFile: false }]);
  renameSync(folder, `${folder}-renamed`);
  expect(uploadRecords(`${folder}-renamed`)).toMatchObject([{ upload: BEGUN }]);
});

test.each([
  ["a folder", (path: string) => mkdirSync(path)],
  ["a link", (path: string) => symlinkSync("/etc/hostname", path)],
  ["a huge file", (path: string) => writeFileSync(path, Buffer.alloc((2 << 20) + 1))],
  ["a list", (path: string) => writeFileSync(path, "[]\n")],
  ["an upload without an id", (path: string) => writeFileSync(path, '{"location":"l","key":"k"}\n')],
])("UploadRecord takes %s for no record", (_, make) => {
  const { record, path } = newRecord();
  make(path);
  expect(record.readOrNull()).toBeNull();
});

test("UploadRecord that cannot be written does not end the upload", () => {
  const { record, path } = newRecord();
  record.addPart(1, '"e1"');
  rmSync(join(path, ".."), { recursive: true });
  record.begin(BEGUN);
  expect(record.readOrNull()).toBeNull();
});

test("uploadRecords tells records with their spool file from those without", () => {
  const { record, spoolPath } = newRecord();
  const folder = join(spoolPath, "..");
  record.begin(BEGUN);
  expect(uploadRecords(folder)).toMatchObject([{ upload: BEGUN, hasFile: false }]);
  writeFileSync(spoolPath, "LTX");
  const [found] = uploadRecords(folder);
  expect(found).toMatchObject({ upload: BEGUN, hasFile: true });
  found?.remove();
  expect([existsSync(`${spoolPath}.upload`), uploadRecords(folder)]).toEqual([false, []]);
  expect(uploadRecords(join(folder, "missing"))).toEqual([]);
});

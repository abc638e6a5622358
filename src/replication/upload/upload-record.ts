/**
 * The record of an unfinished multipart upload, in the file `<spool file>.upload` beside the spool file.
 *
 *   line 1   {"location", "key", "uploadId", "subject"} as JSON (storage/contract/upload-memory.ts), and
 *            "home", the folder and the machine that the record was written on (local/state-origin.ts)
 *   line n   [part number, ETag] as JSON, one line for each acknowledged part
 *
 * The file is not fsynced. A first line that is torn makes the record void, and the upload begins anew. A
 * torn later line voids the lines from there on, and the store then compares those parts by their content. A
 * part counts only if the store lists it with its size, so a line that is wrong costs a comparison, never
 * data.
 *
 * A record without its spool file belongs to an upload that nobody continues: the file was given up, or lost.
 * Reconciliation aborts that upload. The id proves that the upload is ours, unless the record came with a
 * copy of its folder: then the original may be sending it, and the record is void.
 */
import { closeSync, existsSync, fstatSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { systemCode, WalrustError } from "../../errors.ts";
import { openOwnForUpdate, readOwnOrNull, replaceOwn, writeWhole } from "../../local/own-file.ts";
import { isCopied, originOf, parseOrigin } from "../../local/state-origin.ts";
import type { BegunUpload, RememberedUpload, UploadMemory } from "../../storage/contract/upload-memory.ts";

const SUFFIX = ".upload";
/** 10,000 parts with ETags of some 60 characters, and more. */
const SIZE_MAX = 2 << 20;

/** The memory of the upload of one spool file. */
export class UploadRecord implements UploadMemory {
  readonly #path: string;

  /** @param spoolPath path of the spool file that is sent */
  constructor(spoolPath: string) {
    this.#path = spoolPath + SUFFIX;
  }

  readOrNull(): RememberedUpload | null {
    return readRecordOrNull(this.#path);
  }

  begin({ location, key, uploadId, subject }: BegunUpload): void {
    this.#attempt(() => {
      const home = originOf(dirname(this.#path));
      replaceOwn(this.#path, `${JSON.stringify({ location, key, uploadId, subject, home })}\n`);
    });
  }

  addPart(partNumber: number, etag: string): void {
    this.#attempt(() => {
      const fd = openOwnForUpdate(this.#path);
      try {
        const line = new TextEncoder().encode(`${JSON.stringify([partNumber, etag])}\n`);
        writeWhole(fd, line, fstatSync(fd).size);
      } finally {
        closeSync(fd);
      }
    });
  }

  end(): void {
    rmSync(this.#path, { force: true });
  }

  /** The disk may be full, which must not end an upload: without its record, the upload begins anew. */
  #attempt(write: () => void): void {
    try {
      write();
    } catch (error) {
      if (!(error instanceof WalrustError) && systemCode(error) === undefined) throw error;
    }
  }
}

/** The record of one spool file, and whether that file is still there. */
export interface FoundRecord {
  readonly upload: BegunUpload | null;
  readonly hasFile: boolean;
  readonly remove: () => void;
}

/** The records in a spool folder; none if somebody removed the folder. */
export function uploadRecords(spoolFolder: string): FoundRecord[] {
  return namesIn(spoolFolder).map((name) => {
    const path = join(spoolFolder, name);
    const hasFile = existsSync(path.slice(0, -SUFFIX.length));
    return { upload: readRecordOrNull(path), hasFile, remove: () => rmSync(path, { force: true }) };
  });
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => name.endsWith(SUFFIX));
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}

/** A record that is not ours, or too large, counts as none. */
function readRecordOrNull(path: string): RememberedUpload | null {
  let text: string | null;
  try {
    text = readOwnOrNull(path, SIZE_MAX);
  } catch (error) {
    if (error instanceof WalrustError) return null;
    throw error;
  }
  const [first, ...lines] = (text ?? "").split("\n");
  const upload = parseOrNull(first ?? "");
  // The last element is what follows the last line: empty, or a torn line.
  if (!isBegunUpload(upload) || lines.length === 0 || !isAtHome(upload, dirname(path))) return null;
  const etags = new Map<number, string>();
  for (const line of lines.slice(0, -1)) {
    const part = parseOrNull(line);
    if (!isPart(part)) break;
    etags.set(part[0], part[1]);
  }
  const { location, key, uploadId, subject } = upload;
  return { location, key, uploadId, subject, etags };
}

function parseOrNull(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}

function isBegunUpload(value: unknown): value is BegunUpload {
  if (typeof value !== "object" || value === null) return false;
  const { location, key, uploadId, subject } = value as Record<string, unknown>;
  return [location, key, uploadId, subject].every((field) => typeof field === "string" && field !== "");
}

/** Whether a record was written in this folder, and did not come with a copy of it. */
function isAtHome(record: object, folder: string): boolean {
  try {
    return !isCopied(parseOrigin("home" in record ? record.home : null), originOf(folder));
  } catch {
    return false;
  }
}

function isPart(value: unknown): value is readonly [number, string] {
  return Array.isArray(value) && Number.isInteger(value[0]) && typeof value[1] === "string";
}

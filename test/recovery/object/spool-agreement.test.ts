/**
 * A restore beside a spool that differs from the bucket: a put that took effect without an answer, a commit
 * that another machine replaced, and copies that vanish. The restore gives a state of the bucket's history.
 */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { hex, nextChain, sha256 } from "../../../src/format/chain.ts";
import { pageChecksum, xorChecksum } from "../../../src/format/crc64.ts";
import { decodeLtxFile } from "../../../src/format/ltx-decoder.ts";
import { LtxEncoder } from "../../../src/format/ltx-encoder.ts";
import { CHECKSUM_FLAG, type Checksum } from "../../../src/format/types.ts";
import { LocalPlaces } from "../../../src/local/places.ts";
import { type SpoolFile, spoolChunks } from "../../../src/local/spool.ts";
import type { PointInTime } from "../../../src/recovery/plan/restore-point.ts";
import { restore } from "../../../src/recovery/restore/restore-database.ts";
import { keyOf } from "../../../src/storage/bucket/catalog.ts";
import { encodeMetadata } from "../../../src/storage/contract/object-metadata.ts";
import type { ObjectMetadata, ObjectStore } from "../../../src/storage/contract/store.ts";
import { spooledHistory } from "../../support/histories/spooled-history.ts";
import { TINY_WRITER } from "../../support/histories/tiny-history.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const PLACES = LocalPlaces.standard();

function bytesOf(file: SpoolFile): Uint8Array {
  return new Uint8Array(Buffer.concat([...spoolChunks(file)].map((chunk) => chunk.slice())));
}

/** Puts bytes under the key of a captured file, as an upload after the captured file before it. */
async function putAs(
  store: ObjectStore,
  file: SpoolFile,
  bytes: Uint8Array,
  hasMetadata = true,
): Promise<void> {
  const { previousChain } = file;
  const metadata: ObjectMetadata = encodeMetadata({
    timeMs: null,
    sha256: hex(sha256(bytes)),
    chain: hex(nextChain(previousChain, sha256(bytes))),
    previousChain: hex(previousChain),
    writer: TINY_WRITER,
    version: "test",
  });
  const options = hasMetadata ? { metadata } : {};
  await store.put(keyOf(store, "app", file), { kind: "bytes", bytes }, options);
}

/** Captured TXIDs 1 to `count`, of which the bucket holds those up to `uploaded`. */
async function partlyUploaded(count: number, uploaded: number) {
  const { live, history } = spooledHistory(count);
  const memory = new MemoryStore();
  for (const file of live.pending.slice(0, uploaded)) await putAs(memory, file, bytesOf(file));
  return { ...live, history, memory };
}

type Partly = Awaited<ReturnType<typeof partlyUploaded>>;

/** The same commit with another content of the same length: another machine made and uploaded this one. */
function otherCommit(file: SpoolFile): Uint8Array {
  const pages: { pgno: number; data: Uint8Array }[] = [];
  const { header, trailer } = decodeLtxFile(bytesOf(file), (pgno, page) =>
    pages.push({ pgno, data: page.slice() }),
  );
  const last = pages.at(-1)!;
  const before = pageChecksum(last.pgno, last.data);
  last.data[last.data.length - 1]! ^= 2;
  const change = xorChecksum(before, pageChecksum(last.pgno, last.data));
  const chunks: Uint8Array[] = [];
  const encoder = new LtxEncoder(header, (chunk) => chunks.push(chunk.slice()));
  for (const { pgno, data } of pages) encoder.page(pgno, data);
  encoder.finish((xorChecksum(trailer.postApplyChecksum, change) | CHECKSUM_FLAG) as Checksum);
  const bytes = new Uint8Array(Buffer.concat(chunks));
  if (bytes.length !== file.sizeBytes) throw new Error("the other commit has another length");
  return bytes;
}

async function restoreAt(
  { path }: Pick<Partly, "path">,
  store: ObjectStore,
  onProgress: () => void = () => {},
  point: PointInTime = { kind: "latest" },
) {
  const { env, lines } = recordingEnv();
  const request = {
    name: "app",
    outputPath: path,
    force: false,
    dryRun: false,
    point,
    integrityMode: "off",
  } as const;
  const { txid, notice } = await restore(request, { store, env, places: PLACES, onProgress });
  const warnings = lines.filter(({ level }) => level === "warn").map(({ message }) => message);
  return { txid: Number(txid), notice, image: readFileSync(path), warnings };
}

/** The bytes that a machine without the spool restores. */
async function imageElsewhere(store: ObjectStore): Promise<Buffer> {
  return (await restoreAt({ path: join(tempFolder("elsewhere"), "app.db") }, store)).image;
}

// The local copy had the right name and length, and its own hash was right: the restore gave a commit that
// was never acknowledged.
test.each([true, false])(
  "a copy that is not the bucket's object is not used (metadata %p)",
  async (hasMetadata) => {
    const spooled = await partlyUploaded(5, 4);
    await putAs(spooled.memory, spooled.pending[4]!, otherCommit(spooled.pending[4]!), hasMetadata);
    const expected = await imageElsewhere(spooled.memory);
    const { txid, image, warnings } = await restoreAt(spooled, spooled.memory);
    expect(txid).toBe(5);
    expect(image.equals(expected)).toBe(true);
    expect(image.equals(spooled.history.images.get(5)!)).toBe(false);
    expect(warnings.filter((line) => line.includes("the local copies cannot be used"))).toHaveLength(1);
  },
);

// One object that the bucket had already made the restore ignore everything that waited behind it.
test("captures that wait behind a put without an answer are restored", async () => {
  const spooled = await partlyUploaded(6, 4);
  const { txid, image, warnings } = await restoreAt(spooled, spooled.memory);
  expect([txid, warnings]).toEqual([6, []]);
  expect(image.equals(spooled.history.images.get(6)!)).toBe(true);
});

test("captures that wait behind another machine's commit are not restored", async () => {
  const spooled = await partlyUploaded(6, 4);
  await putAs(spooled.memory, spooled.pending[4]!, otherCommit(spooled.pending[4]!));
  const expected = await imageElsewhere(spooled.memory);
  const { txid, image, warnings } = await restoreAt(spooled, spooled.memory);
  expect(txid).toBe(5);
  expect(image.equals(expected)).toBe(true);
  expect(warnings.filter((line) => line.includes("the local copies cannot be used"))).toHaveLength(1);
});

test("copies that vanish while they are read are replaced by the bucket's objects", async () => {
  const spooled = await partlyUploaded(5, 5);
  const folder = spooled.paths.spoolFolder;
  const files = readdirSync(folder).filter((name) => name.endsWith(".ltx"));
  // As a watch that prunes what it has uploaded, once the restore has opened the first copies.
  const onProgress = (): void => {
    for (const name of files) rmSync(join(folder, name), { force: true });
  };
  const { txid, image } = await restoreAt(spooled, spooled.memory, onProgress);
  expect(txid).toBe(5);
  expect(image.equals(spooled.history.images.get(5)!)).toBe(true);
});

// A time was looked up in the bucket alone: during an outage it gave the state from before the outage, and
// said that there were no later captures.
test.each([
  [4, 4, null],
  [5, 5, null],
  [60, 6, "the newest capture is of 1970-01-01T00:16:40.006Z; there are no later captures"],
])(
  "a time %d ms after the beginning finds TXID %d among the waiting captures",
  async (ms, expected, notice) => {
    const spooled = await partlyUploaded(6, 4);
    const point: PointInTime = { kind: "time", timeMs: 1_000_000 + ms };
    const restored = await restoreAt(spooled, spooled.memory, () => {}, point);
    expect([restored.txid, restored.notice, restored.warnings]).toEqual([expected, notice, []]);
    expect(restored.image.equals(spooled.history.images.get(expected)!)).toBe(true);
  },
);

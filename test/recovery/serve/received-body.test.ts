/** Bodies in memory and in files without a name: chunks, ranges, and nothing that stays. */
import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { ReceivedBody } from "../../../src/recovery/serve/received-body.ts";
import { failureOf } from "../../support/failure-of.ts";
import { tempFolder } from "../../support/temp.ts";

const env = systemEnv(SILENT_LOG);

async function collect(body: ReceivedBody): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body.chunks(env)) chunks.push(chunk.slice());
  return Buffer.concat(chunks);
}

describe("ReceivedBody", () => {
  for (const sizeBytes of [0, 1, 65_536, 65_537, 1_000_000]) {
    test(`gives ${sizeBytes} bytes back`, async () => {
      const folder = tempFolder("body");
      const body = new ReceivedBody(sizeBytes, join(folder, "push"));
      const bytes = Buffer.alloc(sizeBytes, "walrust");
      for (let at = 0; at < sizeBytes; at += 50_000) body.write(bytes.subarray(at, at + 50_000));
      expect(body.missingBytes).toBe(0);
      expect((await collect(body)).equals(bytes)).toBe(true);
      // A second reader gets the same bytes.
      expect((await collect(body)).equals(bytes)).toBe(true);
      expect(Buffer.from(body.range(3, 10))).toEqual(bytes.subarray(3, 13));
      expect(Buffer.from(body.range(sizeBytes - 1, 10))).toEqual(bytes.subarray(Math.max(0, sizeBytes - 1)));
      expect(readdirSync(folder)).toEqual([]);
      body.close();
      body.close();
    });
  }

  test("refuses a large body where no file can be made", async () => {
    const make = async (): Promise<ReceivedBody> => new ReceivedBody(1 << 20, "/nonexistent/folder/push");
    expect(await failureOf(make())).toMatchObject({ code: "database", retryable: true });
    expect((await make().catch(() => null)) === null).toBe(true);
  });
});

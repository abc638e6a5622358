/**
 * The memory that one increment allocates on its way from the WAL to the store, from 10,000 increments in a
 * process that never collects garbage. This amount decides how often the engine collects, and how much
 * garbage hundreds of databases keep in between.
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { tempFolder } from "../../support/temp.ts";

const SCRIPT = join(import.meta.dir, "..", "..", "support", "processes", "increment-allocation-main.ts");
/** The capture of a commit of one page: 19 KB. Its pages and its LTX bytes go through shared buffers. */
const CAPTURE_BYTES_MAX = 24_000;
/** Its upload, without the client of the store: 9.5 KB, of it 4.5 KB for the body. */
const UPLOAD_BYTES_MAX = 13_000;

test.skipIf(process.platform !== "linux")(
  "an increment of one page allocates at most 24 KB for its capture and 13 KB for its upload",
  async () => {
    const child = Bun.spawn([process.execPath, SCRIPT, join(tempFolder("allocation"), "app.db"), "10000"], {
      env: { ...process.env, BUN_JSC_useGC: "0" },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const output = await child.stdout.text();
    expect(await child.exited).toBe(0);
    const { captureBytes, uploadBytes } = JSON.parse(output) as Record<string, number>;
    // Nothing at all would mean that garbage was collected.
    expect(captureBytes).toBeGreaterThan(1_000);
    expect(captureBytes).toBeLessThanOrEqual(CAPTURE_BYTES_MAX);
    expect(uploadBytes).toBeLessThanOrEqual(UPLOAD_BYTES_MAX);
  },
  180_000,
);

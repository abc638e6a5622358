/**
 * The executable with a second real store: MinIO over TLS with a certificate of a private authority. A watch
 * runs beside a writing application, and a restore has all its commits.
 */
import { expect, setDefaultTimeout } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createAppDatabase, judgeAppDatabase } from "../../support/histories/app-rows.ts";
import { AppWriter } from "../../support/processes/app-writer.ts";
import { documentOf, mustWalrust, runWalrust } from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { startMinio } from "../../support/servers/minio.ts";
import { testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

testWith("minio")("watch, list, verify and restore with MinIO and a private authority", async () => {
  const minio = await startMinio();
  try {
    await minio.createBucket("backup");
    const folder = tempFolder("minio-app");
    const database = join(folder, "app.db");
    createAppDatabase(database);
    const { url, accessKeyId, secretAccessKey, caFile } = minio;
    const keys = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
    const words = ["-b", "s3://backup/vm1", "--endpoint", url];

    const untrusted = await runWalrust(["list", ...words], { env: keys });
    expect([untrusted.exitCode, untrusted.stderr]).toEqual([4, expect.stringContaining("ca_file in [s3]")]);

    const env = { ...keys, AWS_CA_BUNDLE: caFile };
    const watch = await WatchProcess.start([database, ...words], { env });
    const writer = new AppWriter(database, folder, { writer: 1, seed: 1, isRestless: true });
    await writer.waitForCommits(50);
    await watch.waitForUploads(3);
    await writer.stop();
    expect(await watch.stop()).toBe(0);
    expect(watch.stderr).not.toContain("create-only");

    const config = `[s3]\nbucket = "s3://backup/vm1"\nendpoint = "${url}"\nca_file = "ca.pem"\n`;
    writeFileSync(join(folder, "walrust.toml"), config);
    writeFileSync(join(folder, "ca.pem"), await Bun.file(caFile).text());
    const there = { env: keys, cwd: folder };
    const restored = await mustWalrust(["restore", "app", "-o", "restored.db", "--json"], there);
    expect(documentOf(restored)).toMatchObject({ restored: true, damaged: [] });
    expect(judgeAppDatabase(join(folder, "restored.db")).get(1)).toBe(writer.newest());
    expect((await mustWalrust(["verify", "--all", "--read-data", "--restore"], there)).stdout).toContain(
      "ok",
    );
  } finally {
    await minio.stop();
  }
});

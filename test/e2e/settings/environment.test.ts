/**
 * Settings from environment variables in the running program: a watch without a setting in its file, the rank
 * of a variable, the errors and warnings, and no secret in any output.
 */
import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { HookServer } from "../../observability/hook-server.ts";
import { documentOf, runWalrust } from "../../support/processes/binary.ts";
import { closeApplications, configured } from "../../support/runs/configured-watch.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(30_000);

let server: S3Server;
beforeEach(async () => {
  server = await S3Server.start();
});
afterEach(async () => {
  server.stop();
  await closeApplications();
});

/** The server as variables, with the secret key in a file. */
function serverVariables(): Record<string, string> {
  const path = join(tempFolder("secret"), "key");
  writeFileSync(path, `${server.options.secretAccessKey}\n`, { mode: 0o600 });
  return {
    WALRUST_S3_BUCKET: "s3://bucket/vm",
    WALRUST_S3_ENDPOINT: server.url,
    WALRUST_S3_ACCESS_KEY_ID: server.options.accessKeyId!,
    WALRUST_S3_SECRET_ACCESS_KEY_FILE: path,
    // Keys of another account, which must not sign.
    AWS_ACCESS_KEY_ID: "OTHERKEY",
    AWS_SECRET_ACCESS_KEY: "OTHERSECRET",
    AWS_SESSION_TOKEN: "OTHERTOKEN",
  };
}

test("a watch takes destination, keys, webhook and intervals from variables, first of all", async () => {
  const hook = new HookServer();
  try {
    const env = {
      ...serverVariables(),
      WALRUST_SYNC_MAX_CHANGES: "1",
      WALRUST_WEBHOOKS_URL: `http://${hook.host}/hook`,
      WALRUST_WEBHOOKS_SECRET: "hunter2",
    };
    const entries = '[[databases]]\npath = "app.db"\nmax_changes = 1000000\n';
    const { watch, commit, run } = await configured({}, { env, entries });
    const running = await watch();
    await commit();
    await running.waitFor("a snapshot for the change", () =>
      running.uploads("app").some(({ kind, txid = 0 }) => kind === "snapshot" && txid >= 2),
    );
    server.inject({
      kind: "put",
      when: "before",
      key: /\.ltx$/,
      answer: { status: 403, code: "AccessDenied" },
      count: 1,
    });
    await commit();
    await hook.received(1);
    expect(hook.requests[0]!.headers.get("x-walrust-signature")).toStartWith("sha256=");
    expect(await running.stop()).toBe(0);
    expect(server.refusals).toEqual([]);
    const listed = await run(["list", "--json"]);
    const { databases } = documentOf<{ databases: { name: string }[] }>(listed);
    expect(databases.map(({ name }) => name)).toEqual(["app"]);
    for (const secret of [server.options.secretAccessKey!, "hunter2", "/hook"]) {
      expect(running.stderr + listed.stdout + listed.stderr).not.toContain(secret);
    }
  } finally {
    hook.close();
  }
});

test("explain names the variable of each value; a flag goes before it", async () => {
  const env = {
    ...serverVariables(),
    WALRUST_SYNC_SNAPSHOT_INTERVAL: "1800",
    WALRUST_COMPACTION_LEVELS: "10s,1m",
    WALRUST_HEARTBEAT_URL: "https://hc.example/ping/SECRETPATH",
    WALRUST_RETENTION_HOURLY: "5",
  };
  const { run } = await configured({ "sync.snapshot_interval": "60" }, { env });
  interface Explained {
    settings: { key: string; value: unknown; origin: string; from: string }[];
  }
  const explained = await run(["explain", "--json", "--retain-hourly", "6"]);
  expect(explained.exitCode).toBe(0);
  const { settings } = documentOf<Explained>(explained);
  const shown = (key: string): unknown[] => {
    const found = settings.find((one) => one.key === key);
    return [found?.value, found?.origin, found?.from];
  };
  expect([
    shown("sync.snapshot_interval"),
    shown("compaction.levels"),
    shown("heartbeat.url"),
    shown("s3.secret_access_key"),
    shown("s3.session_token"),
    shown("retention.hourly"),
  ]).toEqual([
    [1800, "environment", "WALRUST_SYNC_SNAPSHOT_INTERVAL"],
    [["10s", "1m"], "environment", "WALRUST_COMPACTION_LEVELS"],
    ["https://hc.example/…", "environment", "WALRUST_HEARTBEAT_URL"],
    ["(set, not shown)", "environment", "WALRUST_S3_SECRET_ACCESS_KEY_FILE"],
    [null, "default", "default"],
    [6, "flag", "--retain-hourly"],
  ]);
  const text = await run(["explain"]);
  expect(text.stdout).toContain("WALRUST_SYNC_SNAPSHOT_INTERVAL");
  for (const secret of [server.options.secretAccessKey!, "SECRETPATH", "OTHERSECRET"]) {
    expect(explained.stdout + explained.stderr + text.stdout + text.stderr).not.toContain(secret);
  }
});

test("a wrong value exits with 2 and names the variable, also for a verb without the setting", async () => {
  const env = { WALRUST_SYNC_SNAPSHOT_INTERVAL: "hourly" };
  const { exitCode, stderr } = await runWalrust(["list", "-b", "file:///nowhere"], { env });
  expect(exitCode).toBe(2);
  expect(stderr).toContain('WALRUST_SYNC_SNAPSHOT_INTERVAL is "hourly", expected seconds');
  const bucket = await runWalrust(["list", "--json"], { env: { WALRUST_S3_BUCKET: "gs://bucket" } });
  expect(bucket.exitCode).toBe(2);
  expect(bucket.stdout + bucket.stderr).toContain("WALRUST_S3_BUCKET: ");
  // A link that Kubernetes makes for a service of this name.
  const linked = { WALRUST_METRICS_PORT: "tcp://10.0.0.7:16767", WALRUST_METRICS_SERVICE_HOST: "10.0.0.7" };
  const { exitCode: code, stderr: log } = await runWalrust(["pragma"], { env: linked });
  expect([code, log]).toEqual([0, ""]);
});

test("a variable that resembles a setting is a warning without its value, and others are none", async () => {
  const env = { WALRUST_S3_SECRET_KEY: "hunter2", WALRUST_PEERS: "required", WALRUST_TRACE: "" };
  const { exitCode, stderr } = await runWalrust(["pragma"], { env });
  expect(exitCode).toBe(0);
  expect(stderr.trimEnd().split("\n")).toHaveLength(1);
  expect(stderr).toContain("WALRUST_S3_SECRET_KEY is no setting of walrust, and has no effect");
  expect(stderr).not.toContain("hunter2");
});

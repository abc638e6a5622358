/**
 * The time that a client waits for a watch: 10 s for the acknowledgement, then until the answer or a signal.
 */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { isProcessStopped } from "../../../src/database/files/file-users.ts";
import type { Env } from "../../../src/env.ts";
import { WalrustError } from "../../../src/errors.ts";
import { RuntimeFolders } from "../../../src/local/folders/runtime-folder.ts";
import { askWatchOrNull } from "../../../src/replication/control/control-client.ts";
import type { ControlRequest } from "../../../src/replication/control/control-request.ts";
import { serveControl } from "../../../src/replication/control/control-server.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { gate } from "../../support/servers/faulty-store.ts";
import { tempFolder } from "../../support/temp.ts";

const DESTINATION = "s3://memory";
const SNAPSHOT: ControlRequest = { verb: "snapshot", path: "/db", destination: DESTINATION };

/** Time stands still, so only its signal ends a sleep. */
const STILL: Pick<Env, "sleep"> = {
  sleep: (_, signal) =>
    new Promise((resolve) => signal?.addEventListener("abort", () => resolve(), { once: true })),
};

/** Announces a socket of this name that handles a connection as the test chooses. */
async function serveRaw(
  name: string,
  onConnection: (socket: Socket) => void,
): Promise<{ folder: string; server: Server }> {
  const folder = tempFolder("waits");
  const path = join(folder, name);
  const server = createServer(onConnection);
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(path, resolve);
  await promise;
  writeFileSync(join(folder, "watch.socket"), path);
  return { folder, server };
}

async function failureOf(work: Promise<unknown>): Promise<WalrustError> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (error instanceof WalrustError) return error;
  throw error ?? new Error("it did not fail");
}

/** Sends one line and reads until the server closes. */
function linesOf(path: string, request: unknown): Promise<unknown[]> {
  const { promise, resolve } = Promise.withResolvers<unknown[]>();
  let text = "";
  const socket = connect(path);
  socket.on("data", (data) => {
    text += data.toString();
  });
  socket.on("close", () => {
    const lines = text.trimEnd().split("\n");
    resolve(lines.map((line) => JSON.parse(line) as unknown));
  });
  socket.write(`${JSON.stringify(request)}\n`);
  return promise;
}

test("a request is acknowledged before its answer", async () => {
  const server = serveControl(RuntimeFolders.standard(), async () => "done");
  const answer = { ok: true, result: "done" };
  expect(await linesOf(server.path, SNAPSHOT)).toEqual([{ ok: true, accepted: true }, answer]);
  server.close();
});

test("a watch that accepts the connection and sends nothing is named after 10 s", async () => {
  const { folder, server } = await serveRaw("walrust-77-0a.sock", () => {});
  const sleeps: number[] = [];
  const env = { sleep: async (durationMs: number) => void sleeps.push(durationMs) };
  const asker = { env, signal: new AbortController().signal };
  const error = await failureOf(askWatchOrNull(folder, SNAPSHOT, asker));
  expect(sleeps).toEqual([1_000, 9_000]);
  expect([error.code, error.exitCode]).toEqual(["locked", 3]);
  expect(error.message).toMatch(/^The watch with pid 77 does not answer: .* has sent nothing for 10 s$/);
  expect(error.hint).toContain("kill -KILL 77");
  sleeps.length = 0;
  const hasty = { ...asker, acknowledgeLimitMs: 4_000 };
  expect((await failureOf(askWatchOrNull(folder, SNAPSHOT, hasty))).message).toEndWith("for 4 s");
  expect(sleeps).toEqual([1_000, 3_000]);
  server.close();
});

test("a watch that is stopped is named after 1 s, with the way to let it go on", async () => {
  const child = Bun.spawn(["sleep", "1000"]);
  process.kill(child.pid, "SIGSTOP");
  const { folder, server } = await serveRaw(`walrust-${child.pid}-0a.sock`, () => {});
  const sleeps: number[] = [];
  const sleep = async (durationMs: number): Promise<void> => {
    sleeps.push(durationMs);
    await waitUntil(() => isProcessStopped(child.pid));
  };
  const asker = { env: { sleep }, signal: new AbortController().signal };
  const error = await failureOf(askWatchOrNull(folder, SNAPSHOT, asker));
  expect(sleeps).toEqual([1_000]);
  expect(error.message).toContain("the process is stopped (SIGSTOP)");
  expect(error.hint).toContain(`kill -CONT ${child.pid}`);
  child.kill("SIGKILL");
  await child.exited;
  server.close();
});

test("the client waits for an acknowledged request past the limit", async () => {
  const folder = tempFolder("waits");
  const door = gate();
  const server = serveControl(RuntimeFolders.standard(), async () => {
    await door.passed;
    return "late";
  });
  server.announce({ stateFolder: folder, destination: DESTINATION, name: folder });
  let isHeard = false;
  const sleep = async (durationMs: number, signal?: AbortSignal): Promise<void> => {
    await STILL.sleep(durationMs, signal);
    isHeard = true;
  };
  const asked = askWatchOrNull(folder, SNAPSHOT, { env: { sleep }, signal: new AbortController().signal });
  await waitUntil(() => isHeard);
  door.open();
  expect(await asked).toBe("late");
  server.close();
});

test("the client does not contact a socket with a name that no watch uses", async () => {
  const { folder, server } = await serveRaw("watch-77.sock", (socket) => {
    socket.on("data", () => socket.end(`${JSON.stringify({ ok: true, result: "of another" })}\n`));
  });
  const sleep = (): Promise<void> => Promise.resolve();
  const asker = { env: { sleep }, signal: new AbortController().signal };
  expect(await askWatchOrNull(folder, SNAPSHOT, asker)).toBe(null);
  server.close();
});

test("a watch that ends after the acknowledgement counts as unanswered", async () => {
  const { folder, server } = await serveRaw("walrust-77-0a.sock", (socket) => {
    socket.on("data", () => socket.end('{"ok":true,"accepted":true}\n'));
  });
  const error = await failureOf(askWatchOrNull(folder, SNAPSHOT));
  expect(error.message).toBe("The running watch ended before it answered");
  server.close();
});

test("a client that is aborted returns at once, and the watch completes the request", async () => {
  const folder = tempFolder("waits");
  const door = gate();
  let handled = 0;
  let finished = 0;
  const server = serveControl(RuntimeFolders.standard(), async () => {
    if (++handled === 1) await door.passed;
    return ++finished;
  });
  server.announce({ stateFolder: folder, destination: DESTINATION, name: folder });
  const leaving = new AbortController();
  const failure = failureOf(askWatchOrNull(folder, SNAPSHOT, { env: STILL, signal: leaving.signal }));
  await waitUntil(() => handled === 1);
  leaving.abort();
  expect((await failure).message).toContain("the running watch goes on");
  expect(finished).toBe(0);
  door.open();
  await waitUntil(() => finished === 1);
  expect(await askWatchOrNull(folder, SNAPSHOT)).toBe(2);
  server.close();
});

const READ_HALF = { phase: "reading", doneBytes: 1, totalBytes: 2 } as const;

test("progress goes as lines before the answer to a client that asks for it, and to no other", async () => {
  const server = serveControl(RuntimeFolders.standard(), async (_, onProgress) => {
    onProgress(READ_HALF);
    return "done";
  });
  const [accepted, answer] = [
    { ok: true, accepted: true },
    { ok: true, result: "done" },
  ];
  const line = { ok: true, progress: READ_HALF };
  expect(await linesOf(server.path, { ...SNAPSHOT, progress: true })).toEqual([accepted, line, answer]);
  expect(await linesOf(server.path, SNAPSHOT)).toEqual([accepted, answer]);
  server.close();
});

test.each([
  ["in one piece", [`${JSON.stringify({ ok: true, progress: READ_HALF })}\n`]],
  ["cut anywhere", [...`${JSON.stringify({ ok: true, progress: READ_HALF })}\n`]],
  ["of an earlier version, which sends none", []],
])("the client takes the progress of a watch, %s, and its answer", async (_, pieces) => {
  const { folder, server } = await serveRaw("walrust-77-0b.sock", async (socket) => {
    const write = (text: string): Promise<void> => new Promise((done) => socket.write(text, () => done()));
    await write('{"ok":true,"accepted":true}\n');
    for (const piece of pieces) await write(piece);
    socket.end('{"ok":true,"result":"done"}\n');
  });
  const heard: unknown[] = [];
  const asker = { env: STILL, signal: new AbortController().signal };
  const onProgress = (progress: unknown): void => void heard.push(progress);
  expect(await askWatchOrNull(folder, SNAPSHOT, { ...asker, onProgress })).toBe("done");
  expect(heard).toEqual(pieces.length === 0 ? [] : [READ_HALF]);
  server.close();
});

test("a watch that ends after some progress has given no answer", async () => {
  const { folder, server } = await serveRaw("walrust-77-0c.sock", (socket) => {
    socket.end(`{"ok":true,"accepted":true}\n${JSON.stringify({ ok: true, progress: READ_HALF })}\n`);
  });
  const asker = { env: STILL, signal: new AbortController().signal, onProgress: () => {} };
  const error = await failureOf(askWatchOrNull(folder, SNAPSHOT, asker));
  expect([error.code, error.message]).toEqual(["internal", "The running watch ended before it answered"]);
  server.close();
});

test("a client that reads nothing costs the watch one line", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  let lineCount = 0;
  const server = serveControl(RuntimeFolders.standard(), async (_, onProgress) => {
    // The buffers of a socket hold some hundred KB.
    for (lineCount = 0; lineCount < 100_000; lineCount++) onProgress(READ_HALF);
    resolve();
    return "done";
  });
  const socket = connect(server.path);
  socket.pause();
  socket.write(`${JSON.stringify({ ...SNAPSHOT, progress: true })}\n`);
  await promise;
  let text = "";
  const ended = new Promise((done) => socket.on("close", done));
  socket.on("data", (data) => {
    text += data.toString();
  });
  socket.resume();
  await ended;
  const lines = text.trimEnd().split("\n");
  expect(JSON.parse(lines.at(-1)!)).toEqual({ ok: true, result: "done" });
  expect(lines.length).toBeLessThan(50_000);
  server.close();
});

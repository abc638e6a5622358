/** The socket of a running watch: the protocol, hostile input, and the leftovers of a killed watch. */

import { expect, spyOn, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { basename, join } from "node:path";
import { takeHostLockOrNull } from "../../../src/database/files/host-lock.ts";
import { WalrustError } from "../../../src/errors.ts";
import { RuntimeFolders } from "../../../src/local/folders/runtime-folder.ts";
import { askWatchByNameOrNull, askWatchOrNull } from "../../../src/replication/control/control-client.ts";
import type { ControlRequest } from "../../../src/replication/control/control-request.ts";
import { type ControlServer, serveControl } from "../../../src/replication/control/control-server.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { askForSnapshot } from "../../support/runs/watch-requests.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { runtimeFoldersIn } from "../../support/runtime-folders.ts";
import { FaultyStore, gate, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const DESTINATION = "s3://memory";
const SNAPSHOT: ControlRequest = { verb: "snapshot", path: "/db", destination: DESTINATION };

/** A server whose answers the test supplies, announced in a state folder. */
function serve(handle: (request: ControlRequest) => Promise<unknown>): {
  folder: string;
  server: ControlServer;
} {
  const folder = tempFolder("control");
  const server = serveControl(RuntimeFolders.standard(), handle);
  server.announce({ stateFolder: folder, destination: DESTINATION, name: folder });
  return { folder, server };
}

/** Sends bytes unchanged and reads until the server closes. */
function exchange(path: string, ...chunks: (string | Uint8Array)[]): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let answer = "";
  const socket = connect(path);
  socket.on("data", (data) => {
    answer += data.toString();
  });
  socket.on("close", () => resolve(answer));
  socket.on("error", () => resolve(answer));
  socket.on("connect", async () => {
    for (const chunk of chunks) {
      socket.write(chunk);
      // The server runs in this process, so it reads each chunk before the test writes the next.
      for (let turns = 0; turns < 20; turns++) await new Promise((next) => setImmediate(next));
    }
  });
  return promise;
}

async function failureOf(work: Promise<unknown>): Promise<WalrustError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof WalrustError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

test("a request is answered, by state folder and by name", async () => {
  const { folder, server } = serve(async ({ verb, path }) => ({ verb, path }));
  expect(await askWatchOrNull(folder, SNAPSHOT)).toEqual({ verb: "snapshot", path: "/db" });
  expect(await askWatchByNameOrNull(DESTINATION, folder, SNAPSHOT)).toEqual({
    verb: "snapshot",
    path: "/db",
  });
  expect(await askWatchByNameOrNull("s3://other", folder, SNAPSHOT)).toBeNull();
  server.close();
  expect(await askWatchOrNull(folder, SNAPSHOT)).toBeNull();
  expect(await askWatchByNameOrNull(DESTINATION, folder, SNAPSHOT)).toBeNull();
});

test("only the owner can open the socket and the files that announce it", () => {
  const { folder, server } = serve(async () => null);
  expect(statSync(join(folder, "watch.socket")).mode & 0o777).toBe(0o600);
  expect(statSync(server.path).mode & 0o777).toBe(0o600);
  server.close();
  expect([existsSync(server.path), existsSync(join(folder, "watch.socket"))]).toEqual([false, false]);
});

test("an error keeps its code, message and hint over the socket", async () => {
  const { folder, server } = serve(async () => {
    throw new WalrustError("foreign-writer", "somebody else", { hint: "stop it" });
  });
  const error = await failureOf(askWatchOrNull(folder, SNAPSHOT));
  expect([error.code, error.message, error.hint]).toEqual(["foreign-writer", "somebody else", "stop it"]);
  server.close();
});

test("a path too long for a socket gets its socket in the temporary folder", async () => {
  const folder = tempFolder("control");
  const deep = join(folder, "x".repeat(120));
  mkdirSync(deep, { mode: 0o700 });
  const server = serveControl(runtimeFoldersIn(deep), async () => "long");
  server.announce({ stateFolder: folder, destination: DESTINATION, name: folder });
  expect(await askWatchOrNull(folder, SNAPSHOT)).toBe("long");
  server.close();
  expect(existsSync(server.path)).toBe(false);
});

test.each([
  ["no announcement", null],
  ["an empty one", ""],
  ["a path that does not exist", "/nonexistent/watch.sock"],
  ["a file that is no socket", "file"],
  ["a NUL in the path", "a\0b"],
  ["a path longer than an address", `/${"y".repeat(200)}`],
] as const)("askWatchOrNull with %s: no watch runs", async (_, content) => {
  const folder = tempFolder("control");
  writeFileSync(join(folder, "plain"), "");
  const text = content === "file" ? join(folder, "plain") : content;
  if (text !== null) writeFileSync(join(folder, "watch.socket"), text);
  expect(await askWatchOrNull(folder, SNAPSHOT)).toBeNull();
});

test.each([
  ["no JSON", "garbage\n"],
  ["null", "null\n"],
  ["an array", "[]\n"],
  ["no verb", "{}\n"],
  ["an unknown verb", '{"verb":"drop"}\n'],
  ["bytes", new Uint8Array([0, 255, 254, 10])],
  ["deep nesting", `${"[".repeat(50_000)}\n`],
] as const)("a server that receives %s answers with an error and continues", async (_, sent) => {
  let handled = 0;
  const { folder, server } = serve(async () => ++handled);
  const answer = JSON.parse(await exchange(server.path, sent)) as { ok: boolean };
  expect(answer.ok).toBe(false);
  expect(await askWatchOrNull(folder, SNAPSHOT)).toBe(1);
  server.close();
});

test("a server that receives too much without an end closes the connection and continues", async () => {
  const { folder, server } = serve(async () => "still here");
  await exchange(server.path, "x".repeat(1_000_000));
  expect(await askWatchOrNull(folder, SNAPSHOT)).toBe("still here");
  server.close();
});

test("a client that disconnects before the answer disturbs no other", async () => {
  const door = gate();
  const { folder, server } = serve(async () => {
    await door.passed;
    return "answered";
  });
  const socket = connect(server.path);
  socket.write(`${JSON.stringify(SNAPSHOT)}\n`, () => socket.destroy());
  await waitUntil(() => socket.destroyed);
  door.open();
  expect(await askWatchOrNull(folder, SNAPSHOT)).toBe("answered");
  server.close();
});

test("a request that arrives byte by byte is one request, and later bytes are none", async () => {
  let handled = 0;
  const { server } = serve(async () => ++handled);
  const bytes = [...new TextEncoder().encode(`${JSON.stringify(SNAPSHOT)}\n`)];
  const answer = await exchange(server.path, ...bytes.map((byte) => new Uint8Array([byte])));
  expect(answer).toBe('{"ok":true,"accepted":true}\n{"ok":true,"result":1}\n');
  server.close();
});

// Regression: the server did not send the part that exceeded the socket's buffer, and both sides waited.
test("an answer larger than a socket's buffer arrives whole", async () => {
  const keys = Array.from({ length: 60_000 }, (_, index) => `app/0000/${index}-${index}.ltx`);
  const { folder, server } = serve(async () => keys);
  let answer: unknown = null;
  askWatchOrNull(folder, SNAPSHOT).then(
    (result) => {
      answer = result;
    },
    () => {},
  );
  await waitUntil(() => answer !== null, 1_500).finally(() => server.close());
  expect(answer).toEqual(keys);
});

// Regression: the bytes of a character in two packets were decoded apart.
test("a name beyond ASCII survives being cut anywhere", async () => {
  const { server } = serve(async ({ path }) => path);
  const bytes = new TextEncoder().encode(`${JSON.stringify({ ...SNAPSHOT, path: "/dä" })}\n`);
  const cut = bytes.indexOf(0xc3) + 1;
  const answer = await exchange(server.path, bytes.slice(0, cut), bytes.slice(cut));
  server.close();
  expect(JSON.parse(answer.trimEnd().split("\n").at(-1)!)).toEqual({ ok: true, result: "/dä" });
});

// Regression: the server found the answered line again in the bytes received so far.
test("bytes after a request do not repeat it", async () => {
  let handled = 0;
  const door = gate();
  const { server } = serve(async () => {
    handled++;
    await door.passed;
  });
  const answer = exchange(server.path, `${JSON.stringify(SNAPSHOT)}\n`, " ", " ");
  await waitUntil(() => handled > 0);
  const other = exchange(server.path, "null\n");
  await other;
  door.open();
  await answer;
  server.close();
  expect(handled).toBe(1);
});

test("a watch refuses a database that it does not have, and one that it replicates elsewhere", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const run = await new WatchRun([targetOf(path)], store).watching();
  const folder = targetOf(path).paths.folder;
  expect(readFileSync(join(folder, "watch.socket"), "utf8")).toContain(".sock");
  const unknown = failureOf(askWatchOrNull(folder, { ...SNAPSHOT, path: "/other.db" }));
  expect((await unknown).message).toContain("/other.db is not watched");
  const elsewhere = failureOf(askWatchOrNull(folder, { ...SNAPSHOT, path, destination: "s3://other" }));
  expect((await elsewhere).code).toBe("locked");
  await run.stop();
  await app.close();
});

// Regression: the snapshot that ran cleared what was due at its end, also for a request that came after its
// start.
test("a snapshot requested during a snapshot is taken after it", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const first = gate();
  let turns = 0;
  const turn = async (): Promise<void> => {
    if (++turns > 1) return void (await new Promise((resolve) => setImmediate(resolve)));
    await first.passed;
  };
  const run = await new WatchRun([targetOf(path)], store).watching();
  await run.commit(app, "INSERT INTO t(v) VALUES (zeroblob(3000000))");
  await run.stop();
  const again = await new WatchRun([targetOf(path)], store, {}, { turn }).watching();
  turns = 0;
  const one = askForSnapshot(path, store);
  await waitUntil(() => turns > 0);
  let isAnswered = false;
  const two = askForSnapshot(path, store).finally(() => {
    isAnswered = true;
  });
  two.catch(() => {});
  await askWatchOrNull(targetOf(path).paths.folder, { ...SNAPSHOT, path: "/other" }).catch(() => {});
  first.open();
  await one;
  await waitUntil(() => isAnswered, 1_500).finally(async () => {
    await again.stop();
    await app.close();
  });
});

// Regression: the request waited until nothing was pending, which beside a busy application may never happen.
test("a snapshot request ends when its object is stored, though later increments wait", async () => {
  const { path, app } = await newDatabase();
  const store = new FaultyStore(new MemoryStore());
  const run = await new WatchRun([targetOf(path)], store).watching();
  await run.uploaded(1);
  await run.commit(app, "INSERT INTO t(v) VALUES (1)");
  const door = gate();
  store.before = (operation, key) => {
    if (operation === "put" && key.includes("/0000/")) throw unreachable();
    return operation === "put" && key.includes("/0009/") ? door.passed : undefined;
  };
  let isAnswered = false;
  const asked = askForSnapshot(path, store).finally(() => {
    isAnswered = true;
  });
  asked.catch(() => {});
  const isSnapshot = (key: string): boolean => key.includes("/0009/") && key.endsWith("2.ltx");
  await run.until("the snapshot", () => store.puts.some(isSnapshot));
  await app.must("INSERT INTO t(v) VALUES (2)");
  await run.until("the increment", () => store.puts.at(-1)!.includes("0000000000000003"));
  door.open();
  await waitUntil(() => isAnswered, 1_500).finally(async () => {
    store.before = () => {};
    await run.stop();
    await app.close();
  });
});

test("the host lock alone refuses a second watch, and a released lock does not", async () => {
  const { path, app } = await newDatabase();
  const release = takeHostLockOrNull(path);
  expect(release).not.toBeNull();
  expect(takeHostLockOrNull(path)).toBeNull();
  release?.();
  const again = takeHostLockOrNull(path);
  expect(again).not.toBeNull();
  again?.();
  await app.close();
});

test("a starting watch deletes announcements of databases and sockets that are gone", async () => {
  const folder = tempFolder("control");
  const own = join(folder, "walrust");
  mkdirSync(own, { mode: 0o700 });
  const named = (digit: string): string => join(own, digit.repeat(32));
  writeFileSync(join(folder, "app.db"), "");
  writeFileSync(`${named("a")}.path`, join(folder, "app.db"));
  writeFileSync(`${named("b")}.path`, join(folder, "none.db"));
  writeFileSync(named("c"), join(own, "walrust-1.sock"));
  writeFileSync(join(own, "of-somebody-else"), join(folder, "none.db"));
  const killed = await deadSocket(join(own, "walrust-1-0123abcd.sock"));
  const server = serveControl(runtimeFoldersIn(folder), async () => null);
  await waitUntil(() => !existsSync(killed));
  const left = readdirSync(own).filter((name) => name !== basename(server.path));
  expect(left.sort()).toEqual([`${"a".repeat(32)}.path`, "of-somebody-else"].sort());
  // The second watch leaves the socket of the first alone.
  const second = serveControl(runtimeFoldersIn(folder), async () => null);
  expect(await exchange(server.path, `${JSON.stringify(SNAPSHOT)}\n`)).toContain('"ok":true');
  second.close();
  server.close();
});

test("a socket gets its name when it listens: before, a sweep of another watch would remove it", () => {
  const folder = tempFolder("control");
  const listen = Bun.listen.bind(Bun);
  const seen: string[] = [];
  const spy = spyOn(Bun, "listen").mockImplementation(((options: Parameters<typeof listen>[0]) => {
    const listener = listen(options);
    seen.push(...readdirSync(join(folder, "walrust")));
    return listener;
  }) as typeof Bun.listen);
  let server: ControlServer;
  try {
    server = serveControl(runtimeFoldersIn(folder), async () => null);
  } finally {
    spy.mockRestore();
  }
  expect(seen).toEqual([`${basename(server.path)}.new`]);
  expect(readdirSync(join(folder, "walrust"))).toEqual([basename(server.path)]);
  server.close();
});

test("a starting watch removes a socket that has no name if its process was killed long ago", async () => {
  const folder = tempFolder("control");
  const own = join(folder, "walrust");
  mkdirSync(own, { mode: 0o700 });
  const starting = await deadSocket(join(own, "walrust-1-0123abcd.sock.new"));
  const killed = await deadSocket(join(own, "walrust-1-4567abcd.sock.new"));
  const anHourAgo = Date.now() / 1000 - 3_600;
  utimesSync(killed, anHourAgo, anHourAgo);
  const server = serveControl(runtimeFoldersIn(folder), async () => null);
  await waitUntil(() => !existsSync(killed));
  expect(existsSync(starting)).toBe(true);
  server.close();
});

/** A socket whose process was killed. */
async function deadSocket(path: string): Promise<string> {
  const end = "() => process.kill(process.pid, 9)";
  const script = `require("node:net").createServer().listen(${JSON.stringify(path)}, ${end})`;
  await Bun.spawn([process.execPath, "-e", script], { stdio: ["ignore", "ignore", "ignore"] }).exited;
  expect(existsSync(path)).toBe(true);
  return path;
}

test.skipIf(process.getuid?.() !== 0)("a socket of another user is not asked", async () => {
  const folder = tempFolder("control");
  let asked = 0;
  const server = serveControl(runtimeFoldersIn(folder), async () => ++asked);
  server.announce({ stateFolder: folder, destination: DESTINATION, name: "app", path: "/db" });
  chownSync(server.path, 4242, 4242);
  expect(await askWatchOrNull(folder, SNAPSHOT, undefined, runtimeFoldersIn(folder))).toBeNull();
  expect(asked).toBe(0);
  server.close();
});

test("a watch is found by path though its state lies where the client does not search", async () => {
  const folder = tempFolder("control");
  const server = serveControl(runtimeFoldersIn(folder), async () => "found");
  server.announce({ stateFolder: folder, destination: DESTINATION, name: "app", path: "/db" });
  const elsewhere = tempFolder("control");
  expect(await askWatchOrNull(elsewhere, SNAPSHOT, undefined, runtimeFoldersIn(folder))).toBe("found");
  server.withdraw({ stateFolder: folder, destination: DESTINATION, name: "app", path: "/db" });
  expect(await askWatchOrNull(elsewhere, SNAPSHOT, undefined, runtimeFoldersIn(folder))).toBeNull();
  server.close();
});

test("a folder for sockets that others can change is not used", async () => {
  const folder = tempFolder("control");
  mkdirSync(join(folder, "walrust"));
  chmodSync(join(folder, "walrust"), 0o777);
  const server = serveControl(runtimeFoldersIn(folder), async () => null);
  expect(server.path.startsWith(folder)).toBe(false);
  server.close();
});

/** The configuration that an application hands over, and the end of the application. */
import { expect, test } from "bun:test";
import { Owner } from "../../../src/commands/shared/owner.ts";
import { failureOf } from "../../support/failure-of.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** An input whose chunks the test sends. */
function inputOf(): { input: ReadableStream<Uint8Array>; controller: ReadableStreamDefaultController } {
  let controller: ReadableStreamDefaultController | null = null;
  const input = new ReadableStream<Uint8Array>({
    start(given) {
      controller = given;
    },
  });
  return { input, controller: controller! };
}

test("Owner reads its configuration over any borders of chunks, and then waits for the end", async () => {
  const { input, controller } = inputOf();
  const owner = new Owner(1, () => input);
  const text = '[s3]\nbucket = "file:///é"\n';
  for (const byte of bytes(`${JSON.stringify(text)}\n`)) controller.enqueue(new Uint8Array([byte]));
  expect(await owner.configuration()).toBe(text);
  let isGone = false;
  const gone = owner.gone().then(() => {
    isGone = true;
  });
  controller.enqueue(bytes("anything"));
  await Promise.resolve();
  expect(isGone).toBe(false);
  controller.close();
  await gone;
  expect(isGone).toBe(true);
});

test.each([
  ["with the first", ['"text"\n\n']],
  ["later", ['"text"\n', "\n"]],
])(
  "Owner takes a second line for the end, sent %s: another process may hold the input",
  async (_, pieces) => {
    const { input, controller } = inputOf();
    const owner = new Owner(1, () => input);
    for (const piece of pieces) controller.enqueue(bytes(piece));
    expect(await owner.configuration()).toBe("text");
    await owner.gone();
  },
);

test("Owner of an application that names a file passes over the first line", async () => {
  const { input, controller } = inputOf();
  const owner = new Owner(1, () => input);
  controller.enqueue(bytes('""\n'));
  let isGone = false;
  const gone = owner.gone().then(() => {
    isGone = true;
  });
  // A reading of the stream takes some turns.
  for (let turn = 0; turn < 100; turn++) await Promise.resolve();
  expect(isGone).toBe(false);
  controller.enqueue(bytes("\n"));
  await gone;
});

test("Owner takes a broken input for an end", async () => {
  const { input, controller } = inputOf();
  const owner = new Owner(1, () => input);
  controller.error(new Error("EIO"));
  await owner.gone();
});

test.each(["", "[s3]\n", "{}\n", '"no end'])(
  "Owner refuses an input that is no JSON string: %j",
  async (text) => {
    const { input, controller } = inputOf();
    controller.enqueue(bytes(text));
    controller.close();
    const error = await failureOf(new Owner(1, () => input).configuration());
    expect(error).toMatchObject({ code: "usage", hint: "Run walrust VERB" });
  },
);

test("Owner refuses a configuration beyond its limit", async () => {
  const { input, controller } = inputOf();
  for (let megabytes = 0; megabytes < 10; megabytes++) controller.enqueue(new Uint8Array(1 << 20).fill(97));
  expect((await failureOf(new Owner(1, () => input).configuration())).code).toBe("usage");
});

test("Owner is alive as long as it is the parent", () => {
  let parent = 7;
  const owner = new Owner(
    7,
    () => inputOf().input,
    () => parent,
  );
  expect(owner.isAlive).toBe(true);
  parent = 1;
  expect(owner.isAlive).toBe(false);
});

test("Owner leaves its input unread until it is asked", () => {
  new Owner(1, () => {
    throw new Error("it was opened");
  });
});

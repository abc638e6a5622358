/** Lines over the borders of chunks, of characters, and beyond the limit. */
import { expect, test } from "bun:test";
import { textLines } from "../../src/library/text-lines.ts";

async function linesOf(chunks: readonly Uint8Array[], lengthMax?: number): Promise<string[]> {
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
  return Array.fromAsync(textLines(stream, lengthMax));
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("textLines splits at each newline, wherever the chunks end", async () => {
  const text = bytes('{"a":"é€😀"}\n\n{"b":2}\nlast');
  for (let size = 1; size <= text.length; size++) {
    const chunks = [];
    for (let at = 0; at < text.length; at += size) chunks.push(text.slice(at, at + size));
    expect(await linesOf(chunks)).toEqual(['{"a":"é€😀"}', "", '{"b":2}', "last"]);
  }
});

test("textLines gives no line for an empty stream or after a last newline", async () => {
  expect(await linesOf([])).toEqual([]);
  expect(await linesOf([bytes("a\n")])).toEqual(["a"]);
});

test("textLines cuts a line off at the limit and goes on with the next", async () => {
  expect(await linesOf([bytes("abc"), bytes("def\ng"), bytes("hijk")], 4)).toEqual(["abcd", "ghij"]);
});

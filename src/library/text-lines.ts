/**
 * Splits a stream of bytes into lines of text, without copying the start of a long line again and again.
 */

/** The most characters of a line. */
export const LINE_LENGTH_MAX = 256 * 1024 * 1024;

/**
 * The lines of a stream, without line ends; the last one even if it has none. A longer line than `lengthMax`
 * is cut off.
 */
export async function* textLines(
  stream: ReadableStream<Uint8Array>,
  lengthMax = LINE_LENGTH_MAX,
): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let parts: string[] = [];
  let length = 0;
  const add = (part: string): void => {
    const kept = part.slice(0, lengthMax - length);
    if (kept !== "") parts.push(kept);
    length += kept.length;
  };
  const take = (): string => {
    const line = parts.join("");
    parts = [];
    length = 0;
    return line;
  };
  for await (const chunk of stream) {
    const pieces = decoder.decode(chunk, { stream: true }).split("\n");
    const rest = pieces.pop()!;
    for (const piece of pieces) {
      add(piece);
      yield take();
    }
    add(rest);
  }
  add(decoder.decode());
  if (length > 0) yield take();
}

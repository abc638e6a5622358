/** The identity of a candidate: exact, whatever numbers the file system gives its files. */
import { describe, expect, test } from "bun:test";
import { inodeOf } from "../../src/discovery/candidates.ts";

describe("inodeOf", () => {
  const never = (): never => {
    throw new Error("read again");
  };

  test("takes small numbers as they are", () => {
    expect(inodeOf({ dev: 66, ino: Number.MAX_SAFE_INTEGER }, never)).toBe("66:9007199254740991");
  });

  test.each([2n ** 53n, 2n ** 63n, 2n ** 64n - 2n])("tells neighbours apart from %p on", (first) => {
    const texts = [first, first + 1n].map((ino) => {
      return inodeOf({ dev: 66, ino: Number(ino) }, () => ({ dev: 66n, ino }));
    });
    expect(texts).toEqual([`66:${first}`, `66:${first + 1n}`]);
  });

  test("reads a device number that is too large again", () => {
    expect(inodeOf({ dev: 2 ** 60, ino: 7 }, () => ({ dev: 2n ** 60n + 1n, ino: 7n }))).toBe(
      "1152921504606846977:7",
    );
  });
});

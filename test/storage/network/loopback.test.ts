/** The addresses that lead to this machine alone. */
import { expect, test } from "bun:test";
import { isLoopback } from "../../../src/storage/network/loopback.ts";

test("isLoopback knows the addresses of this machine alone", () => {
  for (const host of ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
    expect([host, isLoopback(host)]).toEqual([host, true]);
  const others = [
    "0.0.0.0",
    "::",
    "10.0.0.1",
    "127.0.0.1.example",
    "1127.0.0.1",
    "localhost.example",
    "127.1",
    "",
  ];
  for (const host of others) expect([host, isLoopback(host)]).toEqual([host, false]);
});

/**
 * A slow line in a process of its own: `bun slow-line-main.ts PORT ROUND_TRIP_MS [BYTES_PER_SECOND [LISTEN]]`.
 * Prints the port it listens on.
 */
import { SlowLine } from "./slow-line.ts";

const [port = 0, roundTripMs = 0, bytesPerSecond = 0, listenPort = 0] = process.argv.slice(2).map(Number);
const line = new SlowLine({
  port,
  roundTripMs,
  listenPort,
  ...(bytesPerSecond > 0 ? { bytesPerSecond } : {}),
});
console.log(line.port);

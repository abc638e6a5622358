/**
 * A slow line in a process of its own. Arguments: the port of the store, the round trip in ms, the upload
 * rate in bytes a second (0: no limit) and the port to listen on (0: a free port). Prints the port of the
 * line.
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

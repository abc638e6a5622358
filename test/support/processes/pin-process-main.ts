/**
 * A second process with a pin, as another user: opens the pin, prints the outcome, and closes the pin when
 * stdin ends. A second line on stdin converts the pin to a mark and runs a checkpoint cycle.
 */
import { createInterface } from "node:readline";
import { checkpointCycle } from "../../../src/database/checkpoint.ts";
import { Pin } from "../../../src/database/pin/pin.ts";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { errorMessage } from "../../../src/errors.ts";
import { becomeOtherUser } from "./other-user.ts";

becomeOtherUser(process.argv[3]);
const env = systemEnv(SILENT_LOG);
let pin: Pin | null = null;
try {
  pin = Pin.open(process.argv[2] ?? "", env);
  process.stdout.write("pinned\n");
} catch (error) {
  process.stdout.write(`${errorMessage(error)}\n`);
}
for await (const _ of createInterface({ input: process.stdin })) {
  if (pin === null) continue;
  pin.mark();
  const { outcome } = checkpointCycle(pin, () => true, { truncate: false }, env);
  process.stdout.write(`${outcome}\n`);
}
pin?.close();

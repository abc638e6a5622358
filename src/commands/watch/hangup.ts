/**
 * Tells a SIGHUP that asks for a reload from the SIGHUP of a terminal that closes: the kernel takes the
 * terminal away from the process before it sends the signal.
 */
import { closeSync, constants, openSync } from "node:fs";

/** The terminal of this process, whatever its standard streams are. */
const TERMINAL = "/dev/tty";

/** Whether this process has a terminal. */
export function hasTerminal(): boolean {
  try {
    closeSync(openSync(TERMINAL, constants.O_RDONLY | constants.O_NOCTTY));
    return true;
  } catch {
    return false;
  }
}

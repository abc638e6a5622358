/**
 * State files that the present version does not write: of format 1, as earlier versions wrote them, with
 * the reader of those versions, and of another boot. They follow the formats, not the code under test.
 */
import { statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { crc64 } from "../../../src/format/crc64.ts";
import type { DatabaseState } from "../../../src/local/state.ts";

function checksumLine(body: string): string {
  return crc64(new TextEncoder().encode(body)).toString(16).padStart(16, "0");
}

/** Writes a state of format 1. @param fields replace fields; undefined removes one */
export function writeOldState(
  statePath: string,
  state: DatabaseState,
  fields: Readonly<Record<string, unknown>> = {},
): void {
  const { dev, ino } = statSync(dirname(statePath), { bigint: true });
  const body = JSON.stringify({
    format: 1,
    ...state,
    checksum: state.checksum.toString(16).padStart(16, "0"),
    home: { machine: null, boot: null, device: String(dev), inode: String(ino) },
    ...fields,
  });
  writeFileSync(statePath, `${body}\n${checksumLine(body)}\n`);
}

/** The state file as it would be if the kernel was restarted after it was made. */
export function rebooted(bytes: Uint8Array): Uint8Array {
  const end = bytes.indexOf(10);
  const line = new TextDecoder().decode(bytes.subarray(0, end));
  const sealed = new TextEncoder().encode(line.replace(/"boot":"[0-9a-f]/, '"boot":"x'));
  const after = new Uint8Array(bytes);
  after.set(sealed);
  after.set(new TextEncoder().encode(checksumLine(new TextDecoder().decode(sealed))), end + 1);
  return after;
}

/** The reading of a state file by earlier versions: "state", or the reason why the state is lost. */
export function oldReadingOf(bytes: Uint8Array): string {
  const lines = new TextDecoder().decode(bytes).split("\n");
  const body = lines[0] ?? "";
  if (lines[1] !== checksumLine(body)) return "state.json is torn or was edited";
  const { format } = JSON.parse(body) as { format: unknown };
  return format === 1 ? "state" : `format is ${format}, expected 1`;
}

/**
 * Replaces this process by another program (`execve`), which keeps every descriptor that the parent of this
 * process has passed on. `process.execve` closes all descriptors but the first three. That would release a
 * lock that only such a descriptor holds: of `flock --no-fork`, of `setlock`, or of a shell with `exec
 * 9>lock`.
 *
 * Bun marks inherited descriptors close-on-exec when it starts. The descriptors that the process has opened
 * itself by then are anonymous ones for events, which end here, and copies of the standard ones, which stay
 * open without an effect.
 */
import { FFIType, type Pointer, ptr } from "bun:ffi";
import { readdirSync, readlinkSync } from "node:fs";
import { libcFunctionsOrNull } from "../../env.ts";

const DESCRIPTORS = "/proc/self/fd";
/** Standard input, output and error output, which stay open in any case. */
const STANDARD_COUNT = 3;
const ANONYMOUS = "anon_inode:";
const F_SETFD = 2;
const FD_CLOEXEC = 1;

/**
 * Replaces this process. Returns only if the system refuses: then nothing has changed.
 * @param file path of the program
 * @param words the words of its command line, its name first
 */
export function replaceProcess(
  file: string,
  words: readonly string[],
  environment: Readonly<Record<string, string>>,
): void {
  const libc = libcFunctionsOrNull({
    execve: { args: [FFIType.ptr, FFIType.ptr, FFIType.ptr], returns: FFIType.i32 },
    fcntl: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  });
  if (libc === null) return;
  const program = new TextList([file]);
  const list = new TextList(words);
  const variables = new TextList(Object.entries(environment).map(([name, value]) => `${name}=${value}`));
  const inherited = inheritedDescriptors();
  for (const fd of inherited) libc.fcntl(fd, F_SETFD, 0);
  libc.execve(ptr(program.bytes), list.pointer, variables.pointer);
  for (const fd of inherited) libc.fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/** Texts as C programs expect them: an array of pointers to bytes that end with 0, and a null pointer. */
class TextList {
  /** All texts. The pointers are valid while the list is in use. */
  readonly bytes: Buffer;
  readonly #pointers: BigUint64Array;

  constructor(texts: readonly string[]) {
    this.bytes = Buffer.from([...texts, ""].map((text) => `${text}\0`).join(""));
    this.#pointers = new BigUint64Array(texts.length + 1);
    let address = ptr(this.bytes) as number;
    for (const [index, text] of texts.entries()) {
      this.#pointers[index] = BigInt(address);
      address += Buffer.byteLength(text) + 1;
    }
  }

  get pointer(): Pointer {
    return ptr(this.#pointers);
  }
}

/** The descriptors that were open before this process started, beyond the standard ones. */
function inheritedDescriptors(): number[] {
  const open = readdirSync(DESCRIPTORS).map(Number);
  return open.filter((fd) => fd >= STANDARD_COUNT && isInherited(fd));
}

function isInherited(fd: number): boolean {
  try {
    return !readlinkSync(`${DESCRIPTORS}/${fd}`).startsWith(ANONYMOUS);
  } catch {
    // The descriptor of the listing itself is closed.
    return false;
  }
}

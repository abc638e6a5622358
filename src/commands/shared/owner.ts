/**
 * Ties walrust to the application that runs it as a child process, through the library. Standard input is the
 * tie: its first line is the configuration as a JSON string, and a second line or its end stops walrust as a
 * signal does. The input ends when the application closes walrust and when the application dies. An
 * application that forks sends the second line, because its other processes hold the input open.
 *
 * Invariant: while the application lives, only the application stops walrust. A service manager and a
 * terminal send their signals to both processes; a walrust that obeyed would miss the commits that the
 * application makes until its own end.
 */
import { WalrustError } from "../../errors.ts";
import { dieWithParent } from "./parent-death.ts";

/**
 * The word before the verb, followed by the id of the application's process. Only the library uses it; no
 * help shows it.
 */
export const OWNED_WORD = "__owned-by";

/** Limit of the configuration, in bytes. */
const CONFIGURATION_SIZE_MAX = 8 * 1024 * 1024;
const NEWLINE = 0x0a;

/** Some bytes, or the end of them. */
interface Piece {
  readonly done: boolean;
  readonly value?: Uint8Array | undefined;
}

/** Reads bytes piece by piece. */
interface ByteReader {
  read(): Promise<Piece>;
}

/** The application that owns this process. */
export class Owner {
  #reader: ByteReader | null = null;
  /** The number of line ends that were read. */
  #lineCount = 0;

  /** @param pid the process id of the application */
  constructor(
    readonly pid: number,
    readonly input: () => ReadableStream<Uint8Array> = () => Bun.stdin.stream(),
    readonly parentPid: () => number = () => process.ppid,
  ) {}

  /** Ties this process to the application. @param pid its process id, as text */
  static attach(pid: string | undefined): Owner {
    const owner = new Owner(Number(pid));
    // Another process may have inherited the application's end of the pipe, and keep the pipe open.
    dieWithParent(owner.pid, "SIGTERM");
    return owner;
  }

  /** Whether the application still runs: a process whose parent has ended gets another one. */
  get isAlive(): boolean {
    return this.parentPid() === this.pid;
  }

  /**
   * Reads the configuration. To be called once, before `gone`.
   * @returns the text of a walrust.toml
   * @throws WalrustError code "usage" when the first line of the input is not a JSON string
   */
  async configuration(): Promise<string> {
    const chunks: Uint8Array[] = [];
    let sizeBytes = 0;
    while (this.#lineCount === 0) {
      const { value } = await this.#read();
      if (value === undefined || sizeBytes > CONFIGURATION_SIZE_MAX) throw noConfiguration();
      chunks.push(value);
      sizeBytes += value.length;
    }
    try {
      const text: unknown = JSON.parse(Buffer.concat(chunks).toString());
      if (typeof text === "string") return text;
    } catch {
      // The same error as for another value.
    }
    throw noConfiguration();
  }

  /** Resolves when the application has closed walrust, or has died. */
  async gone(): Promise<void> {
    try {
      while (this.#lineCount < 2 && !(await this.#read()).done);
    } catch {
      // A broken pipe is an end, too.
    }
  }

  async #read(): Promise<Piece> {
    // Not before the first reading: this process may replace itself until then, and keeps an unread input.
    this.#reader ??= this.input().getReader();
    const piece = await this.#reader.read();
    for (const byte of piece.value ?? []) if (byte === NEWLINE) this.#lineCount++;
    return piece;
  }
}

function noConfiguration(): WalrustError {
  return new WalrustError("usage", `${OWNED_WORD} is for the library: standard input has no configuration`, {
    hint: "Run walrust VERB",
  });
}

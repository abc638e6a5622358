/**
 * A service manager for tests: Python listens on a datagram socket, which Bun does not have, and prints the
 * lines of each message.
 */
import { eventually } from "../eventually.ts";
import { untilTestEnds } from "../processes/binary.ts";

const PROGRAM = `
import socket, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
address = sys.argv[1]
listener.bind("\\0" + address[1:] if address.startswith("@") else address)
print("listening", flush=True)
while True:
    print(listener.recv(65536).decode(), flush=True)
`;

/** A socket that records what it receives. */
export class NotifyListener {
  /** The lines of all messages. */
  readonly lines: string[] = [];

  private constructor(
    readonly address: string,
    readonly child: Bun.Subprocess<"ignore", "pipe", "inherit">,
  ) {}

  static readonly isAvailable = process.platform === "linux" && hasPython();

  /** Listens on a path, or on an abstract name after `@`. */
  static async start(address: string): Promise<NotifyListener> {
    const child = Bun.spawn(["python3", "-c", PROGRAM, address], { stdio: ["ignore", "pipe", "inherit"] });
    const listener = new NotifyListener(address, untilTestEnds(child));
    void listener.#read();
    await listener.received("listening");
    listener.lines.length = 0;
    return listener;
  }

  /** Waits for a line that is equal to `text`, or begins with it if it ends with `=`. */
  async received(text: string): Promise<void> {
    const isMeant = (line: string): boolean => (text.endsWith("=") ? line.startsWith(text) : line === text);
    await eventually(`the message ${text}`, async () => this.lines.some(isMeant));
  }

  async close(): Promise<void> {
    this.child.kill();
    await this.child.exited;
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const chunk of this.child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      this.lines.push(...lines);
    }
  }
}

/** A name on the PATH may be a stub that only says how to install Python. */
function hasPython(): boolean {
  return Bun.which("python3") !== null && Bun.spawnSync(["python3", "-c", ""]).exitCode === 0;
}

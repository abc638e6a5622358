/**
 * A headless browser, driven over the DevTools protocol as its own documentation describes it. Each page
 * records its requests, and the exceptions, errors and violations of a policy that the browser reports.
 *
 * Source: Chrome DevTools Protocol (Target, Runtime, Page, Input, Emulation, Network, Log), version 1.3.
 */
import { afterAll, afterEach } from "bun:test";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { peerPath } from "../servers/peers.ts";

const START_LIMIT_MS = 30_000;
const HOOK_LIMIT_MS = 60_000;
const BEHIND_SCRIPT = "/usr/lib/chromium/chromium";
/** The browser ends with the process of the test, even if that is killed. */
const WITH_PARENT = Bun.which("setpriv") === null ? [] : ["setpriv", "--pdeathsig", "KILL"];

/** How a page is shown. */
export interface PageOptions {
  readonly width?: number;
  readonly height?: number;
  readonly isDark?: boolean;
  /** A phone: touch, and a layout of this width. */
  readonly isPhone?: boolean;
}

type Answer = { readonly id?: number; readonly method?: string; readonly sessionId?: string } & Record<
  string,
  unknown
>;

/** One browser for the tests of a file: it starts in a second or, on a busy machine, in ten. */
let shared: Promise<Chromium> | null = null;

/**
 * Closes the pages at the end of each test, and the browser at the end of the file. Every test file calls
 * this itself: a hook that stands in this module would hold for the first file alone that imports it.
 */
export function closeBrowserAtEnd(): void {
  const options = { timeout: HOOK_LIMIT_MS };
  afterEach(async () => (await shared)?.closePages(), options);
  afterAll(async () => {
    await (await shared)?.close();
    shared = null;
  }, options);
}

/** Opens a page in a profile of its own and waits until it is loaded. */
export async function openInBrowser(url: string, options: PageOptions = {}): Promise<Page> {
  shared ??= Chromium.start().catch((error) => {
    shared = null;
    throw error;
  });
  return (await shared).open(url, options);
}

/** A browser beside the tests. */
class Chromium {
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  readonly #pages = new Map<string, Page>();
  readonly #profiles: unknown[] = [];
  #lastId = 0;

  private constructor(
    readonly child: Bun.Subprocess,
    readonly socket: WebSocket,
    readonly folder: string,
  ) {
    socket.addEventListener("message", ({ data }) => this.#receive(JSON.parse(String(data)) as Answer));
  }

  /** Starts a browser. @throws Error if it does not start */
  static async start(): Promise<Chromium> {
    const folder = mkdtempSync(join(tmpdir(), "walrust-chromium-"));
    const child = Bun.spawn(
      [
        ...WITH_PARENT,
        browserPath(),
        "--headless=new",
        "--remote-debugging-port=0",
        `--user-data-dir=${folder}`,
        ...["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"],
        ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
        ...["--hide-scrollbars", "--lang=en-GB", "about:blank"],
      ],
      { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, TZ: "UTC" } },
    );
    try {
      const socket = new WebSocket(await addressOf(child));
      await new Promise((resolve, reject) => {
        socket.addEventListener("open", resolve);
        socket.addEventListener("error", reject);
      });
      return new Chromium(child, socket, folder);
    } catch (error) {
      child.kill("SIGKILL");
      throw error;
    }
  }

  async open(url: string, options: PageOptions): Promise<Page> {
    const { browserContextId } = await this.send("Target.createBrowserContext");
    this.#profiles.push(browserContextId);
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank", browserContextId });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(this, String(sessionId));
    this.#pages.set(page.sessionId, page);
    for (const domain of ["Page", "Runtime", "Network", "Log"]) await page.send(`${domain}.enable`);
    const { width = 1280, height = 800, isDark = false, isPhone = false } = options;
    const deviceScaleFactor = isPhone ? 2 : 1;
    await page.send("Emulation.setDeviceMetricsOverride", {
      ...{ width, height, deviceScaleFactor, mobile: isPhone },
    });
    const scheme = { name: "prefers-color-scheme", value: isDark ? "dark" : "light" };
    await page.send("Emulation.setEmulatedMedia", { features: [scheme] });
    await page.goTo(url);
    return page;
  }

  /** Sends a command. @throws Error with the browser's message */
  async send(
    method: string,
    parameters: object = {},
    sessionId: string | null = null,
  ): Promise<Record<string, unknown>> {
    const id = ++this.#lastId;
    const answer = await new Promise<Answer>((resolve) => {
      this.#waiting.set(id, resolve);
      this.socket.send(JSON.stringify({ id, method, params: parameters, ...(sessionId && { sessionId }) }));
    });
    const { error, result } = answer as { error?: { message: string }; result?: Record<string, unknown> };
    if (error !== undefined) throw new Error(`${method}: ${error.message}`);
    return result ?? {};
  }

  async closePages(): Promise<void> {
    const profiles = this.#profiles.splice(0);
    this.#pages.clear();
    for (const browserContextId of profiles)
      await this.send("Target.disposeBrowserContext", { browserContextId });
  }

  /** Ends the browser. Its last processes may still write into their folder. */
  async close(): Promise<void> {
    await this.send("Browser.close").catch(() => {});
    this.socket.close();
    await this.child.exited;
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }

  #receive(answer: Answer): void {
    if (answer.id === undefined) {
      this.#pages
        .get(answer.sessionId ?? "")
        ?.observe(answer.method ?? "", answer["params"] as Record<string, unknown>);
      return;
    }
    this.#waiting.get(answer.id)?.(answer);
    this.#waiting.delete(answer.id);
  }
}

/** One page of a browser. */
export class Page {
  /** The addresses of all requests. */
  readonly requests: string[] = [];
  /** Exceptions, errors and violations of the policy, as the browser reports them. */
  readonly complaints: string[] = [];
  #loaded = (): void => {};

  constructor(
    readonly browser: Chromium,
    readonly sessionId: string,
  ) {}

  send(method: string, parameters: object = {}): Promise<Record<string, unknown>> {
    return this.browser.send(method, parameters, this.sessionId);
  }

  /** Goes to an address and waits until the page is loaded. */
  async goTo(url: string): Promise<void> {
    const loaded = new Promise<void>((resolve) => {
      this.#loaded = resolve;
    });
    await this.send("Page.navigate", { url });
    await loaded;
  }

  /** The value of an expression in the page. @throws Error if it throws there */
  async evaluate<Value>(expression: string): Promise<Value> {
    const answer = await this.send("Runtime.evaluate", {
      ...{ expression, awaitPromise: true, returnByValue: true },
    });
    const { exceptionDetails, result } = answer as {
      exceptionDetails?: { text: string; exception?: { description?: string } };
      result: { value: Value };
    };
    if (exceptionDetails !== undefined) {
      throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    }
    return result.value;
  }

  /** The texts of all elements that match. */
  texts(selector: string): Promise<string[]> {
    return this.each(selector, "one.textContent");
  }

  /** The value of an expression for `one`, which is each element that matches. */
  each<Value>(selector: string, expression: string): Promise<Value[]> {
    return this.evaluate(
      `[...document.querySelectorAll(${JSON.stringify(selector)})].map((one) => ${expression})`,
    );
  }

  /** Clicks the first element that matches, where it lies. */
  async click(selector: string): Promise<void> {
    const { x, y } = await this.evaluate<{ x: number; y: number }>(
      `(() => {
        const element = document.querySelector(${JSON.stringify(selector)});
        element.scrollIntoView({ block: "center" });
        const { x, y, width, height } = element.getBoundingClientRect();
        return { x: x + width / 2, y: y + height / 2 };
      })()`,
    );
    for (const type of ["mousePressed", "mouseReleased"]) {
      await this.send("Input.dispatchMouseEvent", { type, x, y, button: "left", clickCount: 1 });
    }
  }

  /** Presses keys one after the other: a name such as "ArrowDown", or one character. */
  async press(...keys: string[]): Promise<void> {
    for (const key of keys) {
      const text = key === "Enter" ? "\r" : key.length === 1 ? key : undefined;
      const windowsVirtualKeyCode = KEY_CODES[key] ?? 0;
      const pressed = { key, code: key.length === 1 ? "" : key, windowsVirtualKeyCode };
      await this.send("Input.dispatchKeyEvent", {
        ...pressed,
        type: text === undefined ? "rawKeyDown" : "keyDown",
        ...(text !== undefined && { text }),
      });
      await this.send("Input.dispatchKeyEvent", { ...pressed, type: "keyUp" });
    }
  }

  /** Writes a picture of the visible part. */
  async screenshot(path: string): Promise<void> {
    const { data } = await this.send("Page.captureScreenshot", { format: "png" });
    writeFileSync(path, Buffer.from(String(data), "base64"));
  }

  /** Takes an event of the browser. */
  observe(method: string, parameters: Record<string, unknown>): void {
    if (method === "Page.loadEventFired") this.#loaded();
    if (method === "Network.requestWillBeSent") {
      this.requests.push((parameters["request"] as { url: string }).url);
    }
    if (method === "Runtime.exceptionThrown") {
      const { exception, text } = parameters["exceptionDetails"] as {
        exception?: { description?: string };
        text: string;
      };
      this.complaints.push(exception?.description ?? text);
    }
    if (method === "Log.entryAdded") this.complaints.push((parameters["entry"] as { text: string }).text);
    if (method === "Runtime.consoleAPICalled") this.complaints.push(JSON.stringify(parameters["args"]));
  }
}

const KEY_CODES: Readonly<Record<string, number>> = {
  ...{ Enter: 13, Tab: 9, Escape: 27, Backspace: 8 },
  ...{ PageUp: 33, PageDown: 34, End: 35, Home: 36 },
  ...{ ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39, ArrowDown: 40 },
};

/** The browser itself: Debian's script starts a child, which would outlive the script. */
function browserPath(): string {
  const path = peerPath("chromium");
  return path === "/usr/bin/chromium" && existsSync(BEHIND_SCRIPT) ? BEHIND_SCRIPT : path;
}

/** The address that the browser prints once it listens. Later lines are read and dropped. */
function addressOf(child: Bun.Subprocess<"ignore", "ignore", "pipe">): Promise<string> {
  const timer = setTimeout(() => child.kill("SIGKILL"), START_LIMIT_MS);
  return new Promise((resolve, reject) => {
    const read = async (): Promise<void> => {
      let said = "";
      for await (const chunk of child.stderr.pipeThrough(new TextDecoderStream())) {
        said = (said + chunk).slice(-10_000);
        const address = said.match(/DevTools listening on (ws:\S+)/)?.[1];
        if (address === undefined) continue;
        clearTimeout(timer);
        resolve(address);
      }
      clearTimeout(timer);
      reject(new Error(`The browser did not start:\n${said}`));
    };
    void read();
  });
}

/**
 * Holds events until somebody reads them. The memory is bounded: when nobody reads, the oldest events are
 * dropped, and the next reading begins with the number of dropped ones.
 */

/** Stands for events that were dropped because nobody read them: the `count` oldest ones. */
export interface DroppedEvents {
  readonly event: "dropped";
  readonly count: number;
}

/** The most events that wait for a reader. */
export const WAITING_EVENTS_MAX = 1_000;

interface Waiter<T> {
  resolve(result: IteratorResult<T | DroppedEvents, undefined>): void;
  reject(error: unknown): void;
}

const DONE = { done: true, value: undefined } as const;

/** Events in order. Each event is read once. */
export class EventQueue<T> {
  #events: T[] = [];
  #dropped = 0;
  #waiters: Waiter<T>[] = [];
  #end: { readonly error: unknown } | null = null;

  constructor(readonly waitingMax = WAITING_EVENTS_MAX) {}

  /** Adds an event. */
  push(event: T): void {
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) return waiter.resolve({ done: false, value: event });
    this.#events.push(event);
    if (this.#events.length <= this.waitingMax) return;
    this.#events.shift();
    this.#dropped++;
  }

  /** No event follows. @param error what the reader gets after the last event, once; null: nothing */
  end(error: unknown): void {
    this.#end = { error };
    const [first, ...others] = this.#waiters.splice(0);
    if (first === undefined) return;
    this.#settle(first);
    for (const waiter of others) waiter.resolve(DONE);
  }

  /** Whether the error of the end waits for a reader. */
  get isErrorUnread(): boolean {
    return this.#end !== null && this.#end.error !== null;
  }

  /** The next event, when there is one. Rejects with the error of the end. */
  next(): Promise<IteratorResult<T | DroppedEvents, undefined>> {
    const count = this.#dropped;
    this.#dropped = 0;
    if (count > 0) return Promise.resolve({ done: false, value: { event: "dropped", count } });
    const [event] = this.#events;
    if (this.#events.length > 0) {
      this.#events.shift();
      return Promise.resolve({ done: false, value: event as T });
    }
    return new Promise((resolve, reject) => {
      const waiter = { resolve, reject };
      if (this.#end === null) this.#waiters.push(waiter);
      else this.#settle(waiter);
    });
  }

  #settle(waiter: Waiter<T>): void {
    const error = this.#end?.error ?? null;
    this.#end = { error: null };
    if (error === null) waiter.resolve(DONE);
    else waiter.reject(error);
  }
}

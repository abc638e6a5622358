/** Order, the bound on waiting events, and the end with and without an error. */
import { expect, test } from "bun:test";
import { EventQueue } from "../../src/library/event-queue.ts";

const DONE = { done: true, value: undefined } as const;
const given = (value: number) => ({ done: false, value }) as const;

test("EventQueue hands out events in order, before and after they come", async () => {
  const queue = new EventQueue<number>();
  queue.push(1);
  expect(await queue.next()).toEqual(given(1));
  const waiting = [queue.next(), queue.next()];
  queue.push(2);
  queue.push(3);
  expect(await Promise.all(waiting)).toEqual([given(2), given(3)]);
});

test("EventQueue drops the oldest events when nobody reads, and counts them", async () => {
  const queue = new EventQueue<number>(3);
  for (let event = 1; event <= 10; event++) queue.push(event);
  const read = [];
  for (let index = 0; index < 4; index++) read.push((await queue.next()).value);
  expect(read).toEqual([{ event: "dropped", count: 7 }, 8, 9, 10]);
  queue.push(11);
  expect(await queue.next()).toEqual(given(11));
});

test("EventQueue ends after the waiting events", async () => {
  const queue = new EventQueue<number>();
  queue.push(1);
  queue.end(null);
  expect(await queue.next()).toEqual(given(1));
  expect(await queue.next()).toEqual(DONE);
  expect(await queue.next()).toEqual(DONE);
});

test("EventQueue gives the error of the end to one reader, once", async () => {
  const queue = new EventQueue<number>();
  const readers = [queue.next(), queue.next()];
  queue.end(new Error("the end"));
  expect(queue.isErrorUnread).toBe(false);
  await expect(readers[0]!).rejects.toThrow("the end");
  expect(await readers[1]).toEqual(DONE);
  const late = new EventQueue<number>();
  late.end(new Error("the end"));
  expect(late.isErrorUnread).toBe(true);
  await expect(late.next()).rejects.toThrow("the end");
  expect(late.isErrorUnread).toBe(false);
  expect(await late.next()).toEqual(DONE);
});

/** The seeded chances of one run. All decisions of a run come from here, so a seed repeats the run. */
import { seededRandom } from "../../support/seeded-random.ts";

/** A source of seeded decisions. */
export class Chance {
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = seededRandom(seed);
  }

  /** A further source with numbers of its own. */
  fork(): Chance {
    return new Chance(this.below(0x1_0000_0000));
  }

  /** Uniform in [0, 1). */
  next(): number {
    return this.#random();
  }

  /** A whole number from 0 to `limit` - 1. */
  below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  /** A whole number in a range, both ends included. */
  between(min: number, max: number): number {
    return min + this.below(max - min + 1);
  }

  /** True with a probability. */
  is(probability: number): boolean {
    return this.#random() < probability;
  }

  /** One of several values. */
  of<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }

  /** One of several values, each with its weight. */
  weighted<T>(values: readonly (readonly [weight: number, value: T])[]): T {
    const total = values.reduce((sum, [weight]) => sum + weight, 0);
    let left = this.#random() * total;
    for (const [weight, value] of values) {
      left -= weight;
      if (left < 0) return value;
    }
    return values.at(-1)![1];
  }

  /** A waiting time with this mean, of an event that may come at any moment. */
  wait(mean: number): number {
    return -Math.log(1 - this.#random()) * mean;
  }
}

/** PURE: numbers, times and names as a person reads them. */

const COUNT = new Intl.NumberFormat("en");
const UNITS = ["B", "KB", "MB", "GB", "TB"];

/** A number with separators: 12,345. */
export function countText(count: number): string {
  return COUNT.format(count);
}

/** A number with its noun: 1 file, 2 files. */
export function nounText(count: number, noun: string): string {
  return `${countText(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** Bytes in decimal units with three digits at most: 1.2 MB. */
export function bytesText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** A duration in its two largest units: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min, 4 d 1 h. */
export function durationText(seconds: number): string {
  if (seconds < 0.05) return "0 s";
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3_600) return twoUnits(whole, 60, "min", 1, "s");
  if (whole < 86_400) return twoUnits(whole, 3_600, "h", 60, "min");
  return twoUnits(whole, 86_400, "d", 3_600, "h");
}

function twoUnits(
  seconds: number,
  large: number,
  largeName: string,
  small: number,
  smallName: string,
): string {
  const first = Math.floor(seconds / large);
  const second = Math.floor((seconds % large) / small);
  return second === 0 ? `${first} ${largeName}` : `${first} ${largeName} ${second} ${smallName}`;
}

/** A time in the past by its largest unit: 12 min ago; "never" for null. */
export function ageText(seconds: number | null): string {
  if (seconds === null) return "never";
  if (seconds < 1) return "just now";
  const [size, unit] =
    seconds < 60
      ? [1, "s"]
      : seconds < 3_600
        ? [60, "min"]
        : seconds < 172_800
          ? [3_600, "h"]
          : [86_400, "d"];
  return `${countText(Math.floor(seconds / Number(size)))} ${unit} ago`;
}

/** Events a second: 0.4/s, 12/s. */
export function rateText(perSecond: number): string {
  if (perSecond < 0.05) return "0/s";
  return `${perSecond < 9.95 ? perSecond.toFixed(1) : countText(Math.round(perSecond))}/s`;
}

/**
 * A text that other people chose, with each character that is not seen, or that changes the order of the
 * others, shown as its code point: a name cannot pass for another one.
 */
export function visibleText(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) => {
    return `\\u{${character.codePointAt(0)!.toString(16)}}`;
  });
}

/**
 * Compares a documented JSON example with the output of a program: both have the same keys and types at each
 * depth. Values may differ.
 */

/** Paths of keys (`databases[].restorable`) where the comparison is looser. */
export interface OpenPaths {
  /** Objects with arbitrary keys: maps by a name or number. */
  readonly maps?: readonly string[];
  /** Values whose type varies. */
  readonly values?: readonly string[];
}

/**
 * The differences between `actual` and `example`, one per line.
 * - An object has exactly the example's keys, at each depth.
 * - Each element of an array has the keys and types of the example's first element. If the example has a
 * value or a list with elements, so has the first element of the output. Later elements may have null or an
 * empty list instead.
 * - null in the example matches any type: the example shows absence.
 */
export function shapeDifferences(example: unknown, actual: unknown, open: OpenPaths = {}): string[] {
  return differences(example, actual, { open, path: "", mayLack: false });
}

interface Place {
  readonly open: OpenPaths;
  readonly path: string;
  readonly mayLack: boolean;
}

function differences(example: unknown, actual: unknown, place: Place): string[] {
  if (example === null || (actual === null && place.mayLack)) return [];
  const [wanted, found] = [typeName(example), typeName(actual)];
  const at = place.path === "" ? "the document" : place.path;
  if (place.open.values?.includes(place.path)) return [];
  if (wanted !== found) return [`${at} is ${found}, in the example ${wanted}`];
  if (place.open.maps?.includes(place.path)) return [];
  if (Array.isArray(example)) return arrayDifferences(example, actual as unknown[], place);
  if (wanted === "an object") return objectDifferences(example as object, actual as object, place);
  return [];
}

function arrayDifferences(example: readonly unknown[], actual: readonly unknown[], place: Place): string[] {
  const [first] = example;
  if (example.length === 0) return [];
  if (actual.length === 0 && place.mayLack) return [];
  if (actual.length === 0) return [`${place.path} is empty, in the example it is not`];
  const path = `${place.path}[]`;
  return actual.flatMap((element, index) =>
    differences(first, element, { ...place, path, mayLack: place.mayLack || index > 0 }),
  );
}

function objectDifferences(example: object, actual: object, place: Place): string[] {
  const wanted = new Map(Object.entries(example));
  const found = new Map(Object.entries(actual));
  const pathOf = (key: string): string => (place.path === "" ? key : `${place.path}.${key}`);
  const lacking = [...found.keys()].filter((key) => !wanted.has(key));
  const invented = [...wanted.keys()].filter((key) => !found.has(key));
  return [
    ...lacking.map((key) => `${pathOf(key)} is printed, and not in the example`),
    ...invented.map((key) => `${pathOf(key)} is in the example, and not printed`),
    ...[...wanted].flatMap(([key, value]) =>
      found.has(key) ? differences(value, found.get(key), { ...place, path: pathOf(key) }) : [],
    ),
  ];
}

function typeName(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

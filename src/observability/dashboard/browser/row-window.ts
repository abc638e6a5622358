/** PURE: the rows that the page draws, of all rows of the table. */

/** A part of the rows: from `first` up to but without `end`. */
export interface RowWindow {
  readonly first: number;
  readonly end: number;
}

/** Up to this many rows all are drawn, so that the browser's own search finds each. */
const ALL_DRAWN_MAX = 150;
/** Rows drawn above and below the visible ones. */
const MARGIN_ROWS = 12;
/** At least this many rows are drawn, also of a table outside the window: a key may lead there. */
const DRAWN_MIN = 2 * MARGIN_ROWS;

/**
 * The rows to draw.
 * @param aboveHeight pixels of the table's rows above the upper edge of the window; negative if it begins
 * lower
 */
export function windowOf(
  rowCount: number,
  rowHeight: number,
  aboveHeight: number,
  viewHeight: number,
): RowWindow {
  if (rowCount <= ALL_DRAWN_MAX) return { first: 0, end: rowCount };
  const wanted = Math.floor(aboveHeight / rowHeight) - MARGIN_ROWS;
  const first = Math.min(rowCount - DRAWN_MIN, Math.max(0, wanted));
  const end = Math.ceil((aboveHeight + viewHeight) / rowHeight) + MARGIN_ROWS;
  return { first, end: Math.min(rowCount, Math.max(first + DRAWN_MIN, end)) };
}

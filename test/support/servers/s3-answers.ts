/** Answers of the in-process S3 server: stored objects, and the XML of listings and errors. */

/** A stored object. */
export interface StoredObject {
  readonly bytes: Buffer;
  readonly headers: Record<string, string>;
  readonly etag: string;
  readonly modifiedMs: number;
}

/** An answer before it is sent. */
export interface Answer {
  readonly status: number;
  readonly headers?: Record<string, string>;
  readonly body?: Buffer | string;
}

/** An entry of a listing: an object, or a folder if `object` is null. */
export function listEntry(name: string, object: StoredObject | null, isUrlEncoded: boolean): string {
  const url = encodeURIComponent(name).replaceAll("%2F", "/").replaceAll("%20", "+");
  const encoded = escapeXml(isUrlEncoded ? url : name);
  if (object === null) return `<CommonPrefixes><Prefix>${encoded}</Prefix></CommonPrefixes>`;
  const time = new Date(object.modifiedMs).toISOString();
  const size = object.bytes.byteLength;
  return `<Contents><Key>${encoded}</Key><LastModified>${time}</LastModified><Size>${size}</Size></Contents>`;
}

/** A part of an unfinished upload. */
export interface StoredPart {
  readonly bytes: Buffer;
  readonly etag: string;
}

/** A page of the parts of an upload, after part number `marker`. */
export function partsPage(parts: ReadonlyMap<number, StoredPart>, marker: number, pageSize: number): string {
  const after = [...parts].filter(([number]) => number > marker).sort(([a], [b]) => a - b);
  const page = after.slice(0, pageSize);
  const entries = page.map(([number, { bytes, etag }]) => {
    const content = `<ETag>${etag.replaceAll('"', "&quot;")}</ETag><Size>${bytes.byteLength}</Size>`;
    return `<Part><PartNumber>${number}</PartNumber>${content}</Part>`;
  });
  const next = `<NextPartNumberMarker>${page.at(-1)?.[0] ?? 0}</NextPartNumberMarker>`;
  const head = `<IsTruncated>${page.length < after.length}</IsTruncated>${next}`;
  return `<ListPartsResult>${head}${entries.join("")}</ListPartsResult>`;
}

/** An error answer. */
export function error(status: number, code: string, message = code): Answer {
  return { status, headers: { "content-type": "application/xml" }, body: errorXml(code, message) };
}

/** The body of an error answer. */
export function errorXml(code: string, message: string): string {
  return `<?xml version="1.0"?>\n<Error><Code>${code}</Code><Message>${escapeXml(message)}</Message></Error>`;
}

/** Orders keys by their UTF-8 bytes. */
export function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** Escapes the text of an element. */
export function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** Unescapes the text of an element. */
export function unescapeXml(text: string): string {
  const plain = text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&quot;", '"');
  return plain.replaceAll("&amp;", "&");
}

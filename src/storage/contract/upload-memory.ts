/**
 * The memory of one unfinished multipart upload, which outlives the process: a store can continue the upload
 * after a failure or a restart. `replication/upload/` implements the memory, in a file beside the one that is
 * sent.
 *
 * A remembered upload proves nothing: the store compares each part with what the bucket lists.
 */

/** An upload that began and has not ended. */
export interface BegunUpload {
  /** `location` of the store. */
  readonly location: string;
  /** The key of the object, relative to the store's root. */
  readonly key: string;
  readonly uploadId: string;
  /** A digest of all that the upload depends on: the bytes, the parts that they are cut into, the headers. */
  readonly subject: string;
}

/** The remembered upload, and its acknowledged parts. */
export interface RememberedUpload extends BegunUpload {
  /** ETags in the answers to the parts, by part number. Parts whose answer was lost are missing. */
  readonly etags: ReadonlyMap<number, string>;
}

/**
 * The memory of the upload of one file. No call throws because the memory is damaged or cannot be written.
 */
export interface UploadMemory {
  /** The remembered upload; null when there is none, or when the memory is torn. */
  readOrNull(): RememberedUpload | null;
  /** Remembers a new upload in place of the one before. */
  begin(upload: BegunUpload): void;
  /** Remembers an acknowledged part of that upload. */
  addPart(partNumber: number, etag: string): void;
  /** Forgets the upload: it was completed or aborted, or it is gone. */
  end(): void;
}

/**
 * Learns from Linux which -wal files were written, and which files were removed or replaced: one inotify
 * descriptor for all databases. SQLite writes the WAL with `pwrite`, never through a mapping, so each commit
 * shows. An event is a hint to look now, never the truth: the wal-index is updated after the last write and
 * without an event, the queue may overflow, and some file systems send no events. The caller polls more
 * slowly instead of never.
 *
 * A path leads to another file only after its file was deleted or renamed, or after another file was renamed
 * to the path. So one watch of the folder shows it for all databases in the folder, and a file that is
 * created shows nothing more. A program that overwrites a file closes the file, which the folder shows too. A
 * folder above that is renamed sends no event.
 *
 * The read blocks a thread of Bun's pool and costs nothing while nothing is written. The pool has two threads
 * on a machine with one or two cores, and two blocked ones would stop all asynchronous work with files. So a
 * process opens one descriptor at a time. The next read begins only with `arm`, so that a process that writes
 * without end wakes the loop no more often than the loop allows.
 *
 * `struct inotify_event` (inotify(7)), in the byte order of the machine:
 *    0  4  wd      the watch, -1 when the queue has overflowed
 *    4  4  mask    IN_MODIFY, IN_CLOSE_WRITE …
 *    8  4  cookie
 *   12  4  len     bytes of the name that follows, padded with zeros; 0 for a watched file
 */
import { FFIType, type Pointer, ptr } from "bun:ffi";
import { closeSync, read } from "node:fs";
import { libcFunctionsOrNull } from "../../env.ts";

const IN_MODIFY = 0x2;
/** The application has closed the database, or committed with a connection of its own. */
const IN_CLOSE_WRITE = 0x8;
const IN_MOVED_FROM = 0x40;
const IN_MOVED_TO = 0x80;
const IN_DELETE = 0x200;
const IN_DELETE_SELF = 0x400;
const IN_MOVE_SELF = 0x800;
const IN_ONLYDIR = 0x1000000;
const IN_DONT_FOLLOW = 0x2000000;
const WAL_MASK = IN_MODIFY | IN_CLOSE_WRITE | IN_DELETE_SELF | IN_MOVE_SELF | IN_DONT_FOLLOW;
const FOLDER_CHANGES = IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF;
const FOLDER_MASK = FOLDER_CHANGES | IN_CLOSE_WRITE | IN_ONLYDIR | IN_DONT_FOLLOW;
const IN_CLOEXEC = 0o2000000;
const EVENT_SIZE = 16;
const MASK_OFFSET = 4;
const LENGTH_OFFSET = 12;
const IN_IGNORED = 0x8000;
const BUFFER_SIZE = 16 << 10;
/** A watch of this path serves to end the read: its removal is an event. */
const ALWAYS_THERE = "/";

interface Libc {
  inotify_init1(flags: number): number;
  inotify_add_watch(fd: number, path: Pointer, mask: number): number;
  inotify_rm_watch(fd: number, watch: number): number;
}

/** Whether a descriptor is open in this process. */
let isOpen = false;

/** Identifies the watch of one -wal file, or of one folder. */
export type WalWatch = number;

/**
 * Learns of each event.
 * @param watch null: events were lost, any file may have changed
 * @param isClosed a process has closed the file, or may have
 * @param name the file of a watched folder that was removed or replaced, or closed; null: the event is of the
 *   watched file, or of the watched folder itself
 */
export type OnWalEvent = (watch: WalWatch | null, isClosed: boolean, name: string | null) => void;

/** Opens the events, or returns null where there are none. */
export type OpenWalEvents = (onEvent: OnWalEvent) => WalEvents | null;

/** The events of all watched -wal files. */
export class WalEvents {
  readonly #fd: number;
  readonly #libc: Libc;
  readonly #end: WalWatch;
  readonly #buffer = Buffer.alloc(BUFFER_SIZE);
  readonly #onEvent: OnWalEvent;
  #isReading = false;
  #isClosed = false;

  private constructor(fd: number, end: WalWatch, libc: Libc, onEvent: OnWalEvent) {
    this.#fd = fd;
    this.#end = end;
    this.#libc = libc;
    this.#onEvent = onEvent;
  }

  /**
   * Opens the descriptor. Null where the system has no inotify or grants no more, and while one is open in
   * this process.
   */
  static openOrNull(onEvent: OnWalEvent): WalEvents | null {
    const libc = isOpen ? null : loadLibcOrNull();
    if (libc === null) return null;
    const fd = libc.inotify_init1(IN_CLOEXEC);
    if (fd < 0) return null;
    const end = addWatch(libc, fd, ALWAYS_THERE, IN_DELETE_SELF);
    isOpen = end >= 0;
    if (isOpen) return new WalEvents(fd, end, libc, onEvent);
    closeSync(fd);
    return null;
  }

  /** Watches a -wal file. Null when the system grants no more watches, or the file is missing. */
  watchOrNull(walPath: string): WalWatch | null {
    if (this.#isClosed) return null;
    const watch = addWatch(this.#libc, this.#fd, walPath, WAL_MASK);
    return watch < 0 ? null : watch;
  }

  /**
   * Watches a folder for files that are removed, replaced, or closed after a write. All watches of one folder
   * are one. Null when the system grants no more watches, or walrust may not read the folder.
   */
  watchFolderOrNull(folder: string): WalWatch | null {
    if (this.#isClosed) return null;
    const watch = addWatch(this.#libc, this.#fd, folder, FOLDER_MASK);
    // The root folder has a watch of another purpose.
    return watch < 0 || watch === this.#end ? null : watch;
  }

  /** Ends a watch. A file that was deleted has ended its watch already. */
  unwatch(watch: WalWatch): void {
    if (!this.#isClosed) this.#libc.inotify_rm_watch(this.#fd, watch);
  }

  /** Reads the next events, unless a read waits for them already. */
  arm(): void {
    if (this.#isReading || this.#isClosed) return;
    this.#isReading = true;
    read(this.#fd, this.#buffer, 0, BUFFER_SIZE, null, (error, byteCount) => {
      this.#isReading = false;
      if (this.#isClosed) return this.#closeNow();
      if (error === null) this.#report(byteCount);
    });
  }

  #report(byteCount: number): void {
    const events = new DataView(this.#buffer.buffer, this.#buffer.byteOffset, byteCount);
    for (let offset = 0; offset + EVENT_SIZE <= byteCount; ) {
      const watch = events.getInt32(offset, true);
      const mask = events.getUint32(offset + MASK_OFFSET, true);
      const isEnd = (mask & IN_IGNORED) !== 0;
      const length = events.getUint32(offset + LENGTH_OFFSET, true);
      offset += EVENT_SIZE;
      const name = length === 0 ? null : this.#name(offset, length);
      if (watch < 0) this.#onEvent(null, true, null);
      else if (!isEnd) this.#onEvent(watch, (mask & IN_CLOSE_WRITE) !== 0, name);
      offset += length;
    }
  }

  #name(offset: number, length: number): string {
    const end = this.#buffer.indexOf(0, offset);
    return this.#buffer.toString("utf8", offset, end < 0 ? offset + length : Math.min(end, offset + length));
  }

  /** Ends all watches. A read that waits ends, too. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#isReading) this.#libc.inotify_rm_watch(this.#fd, this.#end);
    else this.#closeNow();
  }

  #closeNow(): void {
    closeSync(this.#fd);
    isOpen = false;
  }
}

function addWatch(libc: Libc, fd: number, path: string, mask: number): number {
  return libc.inotify_add_watch(fd, ptr(Buffer.from(`${path}\0`)), mask);
}

function loadLibcOrNull(): Libc | null {
  if (process.platform !== "linux") return null;
  return libcFunctionsOrNull({
    inotify_init1: { args: [FFIType.i32], returns: FFIType.i32 },
    inotify_add_watch: { args: [FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
    inotify_rm_watch: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  });
}

"""Runs walrust in a child process. All work on files of the application is done there: closing a descriptor
of a database in the application's own process would drop the POSIX locks of its SQLite connections.

The child belongs to the application. Standard input is the tie: its first line is the configuration, and a
second line or its end stops the child as a first signal does, so a watch still uploads the last commits of
an application that crashed. While the application lives, the child ignores signals: a terminal sends Ctrl-C
to both processes, and the application decides.

No thread of the application waits for a pipe that nobody reads: a thread of its own reads the log.
"""

from __future__ import annotations

import collections
import json
import logging
import os
import subprocess
import sys
import threading
from typing import IO, Any, Iterator, Mapping, Optional, Sequence

from .errors import ConfigurationError, WalrustError, error_from, unprinted_error

#: Receives the log of walrust. A record has the line as a dictionary, in its attribute `walrust`.
LOGGER = logging.getLogger("walrust")

#: The word before the verb: the application of this process id owns the child.
_OWNED_WORD = "__owned-by"

#: Variables of a service manager that are for the process of the application alone.
_NOT_INHERITED = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}

#: The last lines of the log that are kept for the message about a child that ended by itself.
_KEPT_LINES_MAX = 5

#: The most bytes of one line of the log.
_LOG_LINE_MAX = 1024 * 1024

#: The most bytes of one read of a pipe.
_CHUNK = 64 * 1024

#: Time in seconds for an interrupted call to end, before its process is killed.
_STOP_LIMIT = 10.0


class ChildProcess:
    """A running walrust that this process owns."""

    def __init__(self, binary: str, verb: str, words: Sequence[str], env: Mapping[str, str]) -> None:
        """Starts `walrust VERB` with JSON output.

        Raises ConfigurationError when the executable cannot be started.
        """
        environment = {name: value for name, value in env.items() if name not in _NOT_INHERITED}
        fixed = ["--json", "--log-format=json", f"--log-level={_log_level()}"]
        command = [binary, _OWNED_WORD, str(os.getpid()), verb, *fixed, *words]
        try:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                # Unbuffered: a buffer has a lock, and a thread that waits inside of it hinders the exit.
                bufsize=0,
            )
        except OSError as error:
            hint = "Give the path of a walrust executable as binary"
            raise ConfigurationError(f"Cannot start {binary}: {error}", "usage", 2, hint) from error
        self.verb = verb
        self._owner = os.getpid()
        self._stopping = threading.Lock()
        self._is_stopped = False
        self._last_log: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES_MAX)
        # The thread holds no reference to this object, so that __del__ runs when nobody else has one.
        self._log_reader = threading.Thread(
            target=_read_log,
            args=(_pipe(self._popen.stderr), self._last_log),
            name=f"walrust-{verb}-log",
            daemon=True,
        )
        try:
            self._log_reader.start()
            # No settings but those of the command line: the child reads no walrust.toml by itself.
            self._write(b'""\n')
        except BaseException:
            self._popen.kill()
            raise

    def __del__(self) -> None:
        """Stops a child that nobody waits for: an exception such as KeyboardInterrupt came between its start
        and the call that would have waited. `subprocess` itself would keep the input open.
        """
        popen = self.__dict__.get("_popen")
        if popen is not None:
            popen.stdin.close()

    @property
    def pid(self) -> int:
        """The id of the child."""
        return self._popen.pid

    def lines(self) -> Iterator[bytes]:
        """The lines of its standard output, without line ends, to be read once."""
        return _lines(_pipe(self._popen.stdout))

    def stop(self) -> None:
        """Stops the child as a first signal does: a watch uploads the last commits. Does not wait."""
        if not self.is_own:
            return
        with self._stopping:
            if self._is_stopped:
                return
            self._is_stopped = True
        # A process that the application has forked may hold the pipe open, so its end alone does not suffice.
        self._write(b"\n")
        try:
            _pipe(self._popen.stdin).close()
        except OSError:
            pass  # The child is gone.

    def kill(self) -> None:
        """Ends the child at once."""
        if self.is_own:
            self._popen.kill()

    @property
    def is_own(self) -> bool:
        """Whether this process started the child. A forked process must leave the child alone."""
        return os.getpid() == self._owner

    def ended(self) -> int:
        """Waits for the end of the child and of its log. The exit code is negative after a signal."""
        exit_code = self._popen.wait()
        self._log_reader.join()
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            try:
                _pipe(pipe).close()
            except OSError:
                pass  # Unsent input of a child that is gone.
        return exit_code

    def unprinted_error(self, exit_code: int) -> WalrustError:
        """The error of a child that ended and printed none."""
        return unprinted_error(self.verb, exit_code, "\n".join(self._last_log))

    def _write(self, text: bytes) -> None:
        if self._popen.poll() is not None:
            return
        try:
            _pipe(self._popen.stdin).write(text)
        except (OSError, ValueError):
            pass  # The child is gone, and its end tells why.


def _read_log(pipe: IO[bytes], last_log: collections.deque[str]) -> None:
    """Hands each line of the log to the logger, and keeps the last warnings and errors."""
    for line in _lines(pipe, _LOG_LINE_MAX):
        text = line.decode("utf-8", "replace").rstrip()
        if not text:
            continue
        entry = _log_entry(text)
        level = _LEVELS.get(str(entry.get("level")), logging.DEBUG)
        message = str(entry["message"])
        # The text of an error that ends the child is no line of the log: it becomes an exception.
        if level >= logging.WARNING or "level" not in entry:
            last_log.append(message)
        try:
            LOGGER.log(level, "%s", _log_text(message, entry), extra={"walrust": entry})
        except Exception:
            # A filter of the application. The log must be read on, or the child would wait.
            logging.getLogger(__name__).debug("the logger failed", exc_info=True)


def run_to_end(child: ChildProcess) -> Any:
    """The document of a verb that ends by itself.

    Raises the WalrustError that ended it. An exception that interrupts the wait, such as KeyboardInterrupt,
    first stops the child and waits for its end: no work goes on behind the back of the application.
    """
    try:
        last = _last_line(child)
        exit_code = child.ended()
    except BaseException:
        _end_interrupted(child)
        raise
    document = document_or_none(last)
    if document is None:
        raise child.unprinted_error(exit_code)
    if is_error(document):
        raise error_from(document)
    return document


def _last_line(child: ChildProcess) -> bytes:
    last = b""
    for line in child.lines():
        last = line
    return last


def _end_interrupted(child: ChildProcess) -> None:
    """Stops a child, and kills it after a while, or when a second exception interrupts this wait, too."""
    killer = threading.Timer(_STOP_LIMIT, child.kill)
    killer.daemon = True
    try:
        killer.start()
        child.stop()
        _last_line(child)
        child.ended()
    except BaseException:
        child.kill()
        raise
    finally:
        killer.cancel()


def document_or_none(line: bytes) -> Any:
    """The JSON object of a line, or None."""
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def is_error(document: Mapping[str, Any]) -> bool:
    """Whether a document is the error that ended a verb."""
    error = document.get("error")
    return isinstance(error, dict) and isinstance(error.get("code"), str) and "message" in error


def _log_level() -> str:
    """The least severity that the application's logging takes, as walrust names it."""
    level = LOGGER.getEffectiveLevel()
    if level <= logging.DEBUG:
        return "debug"
    if level <= logging.INFO:
        return "info"
    return "warn" if level <= logging.WARNING else "error"


def _log_entry(text: str) -> Mapping[str, Any]:
    """A line of the log. Other text comes from the error that ends the child, or from a crash."""
    try:
        entry = json.loads(text)
    except ValueError:
        return {"message": text}
    return entry if isinstance(entry, dict) and "message" in entry else {"message": text}


def _log_text(message: str, entry: Mapping[str, Any]) -> str:
    facts = [f"{name}={value}" for name, value in entry.items() if name not in ("time", "level", "message")]
    return f"{message} ({', '.join(facts)})" if facts else message


def _lines(pipe: IO[bytes], length_max: int = sys.maxsize) -> Iterator[bytes]:
    """The lines of a pipe, without line ends; the last one even if it has none. A longer one is cut off."""
    parts: list[bytes] = []
    room = length_max
    while True:
        chunk = pipe.read(_CHUNK)
        pieces = chunk.split(b"\n")
        for piece in pieces[:-1]:
            parts.append(piece[:room])
            yield b"".join(parts)
            parts = []
            room = length_max
        parts.append(pieces[-1][:room])
        room -= len(parts[-1])
        if not chunk:
            break
    if any(parts):
        yield b"".join(parts)


def _pipe(pipe: Optional[IO[bytes]]) -> IO[bytes]:
    assert pipe is not None, "the child has pipes"
    return pipe

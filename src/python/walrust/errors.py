"""The failures of walrust as exceptions: one class for each exit code, as `walrust VERB --help` lists them.

The class tells the kind of a failure, `code` names the failure itself. Codes are stable: later versions only
add some.
"""

from __future__ import annotations

from typing import Any, Mapping, Optional

__all__ = [
    "ConfigurationError",
    "DatabaseError",
    "IntegrityError",
    "RestoreError",
    "StorageError",
    "WalrustError",
    "error_from",
]


class WalrustError(Exception):
    """A failure that walrust reports. Failures without a class of their own (exit 1) are of this one."""

    #: The failed step and the state that walrust found.
    message: str
    #: The stable name of the failure: `not-wal`, `missing-bucket`, `integrity` and so on.
    code: str
    #: The exit code of the command line for this failure.
    exit: int
    #: The remedy as a sentence, or None.
    hint: Optional[str]
    #: Facts about the failure: keys, offsets, TXIDs.
    context: Mapping[str, Any]

    def __init__(
        self,
        message: str,
        code: str = "internal",
        exit: int = 1,
        hint: Optional[str] = None,
        context: Optional[Mapping[str, Any]] = None,
    ) -> None:
        # All of them as args: so a pickled error comes back whole.
        super().__init__(message, code, exit, hint, context)
        self.message = message
        self.code = code
        self.exit = exit
        self.hint = hint
        self.context = {} if context is None else context

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message} ({self.hint})"


class ConfigurationError(WalrustError):
    """Configuration or usage (exit 2): an unknown option, a bad value, a target that exists."""


class DatabaseError(WalrustError):
    """A database (exit 3): missing, not in WAL mode, locked by another walrust, or on a full disk."""


class StorageError(WalrustError):
    """The storage (exit 4): missing or unreachable, or it refuses the credentials."""


class IntegrityError(WalrustError):
    """Integrity (exit 5): an object that the work needs is damaged or missing."""


class RestoreError(WalrustError):
    """A restore that is not possible (exit 6): no backup of the name, or no such point in time."""


_CLASSES = {
    2: ConfigurationError,
    3: DatabaseError,
    4: StorageError,
    5: IntegrityError,
    6: RestoreError,
}

#: The code of an error by its exit code, for a walrust that printed none.
_CODES = {2: "usage", 3: "database", 4: "storage", 5: "integrity", 6: "restore"}


def error_from(document: Mapping[str, Any]) -> WalrustError:
    """The exception for an error document (`{"error": …}`) of `walrust --json`."""
    error = document["error"]
    exit_code = error.get("exit", 1)
    of_class = _CLASSES.get(exit_code, WalrustError)
    return of_class(error["message"], error["code"], exit_code, error.get("hint"), error.get("context"))


def unprinted_error(verb: str, exit_code: int, log: str) -> WalrustError:
    """The exception for a walrust that ended and printed none. The exit code of a signal is negative."""
    how = f"ended with exit code {exit_code}" if exit_code >= 0 else f"was ended by signal {-exit_code}"
    message = f"walrust {verb} {how}"
    if log:
        last = log.rsplit("\n", 1)[-1]
        message = f"{message}; the log ends with: {last}"
    of_class = _CLASSES.get(exit_code, WalrustError)
    hint = 'The logger "walrust" receives the log'
    return of_class(message, _CODES.get(exit_code, "internal"), max(exit_code, 1), hint, {"log": log})

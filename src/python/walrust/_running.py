"""A walrust that runs beside the application until it is closed: a `watch` or a `replicate`.

A thread reads the events as they arrive, and keeps a bounded number of them: an application that reads none
slows nothing down. The thread is a daemon, so a running walrust keeps no application from its exit; then the
end of the pipe stops walrust, which uploads the last commits.
"""

from __future__ import annotations

import collections
import threading
import time
from types import TracebackType
from typing import Any, Callable, Generic, Iterator, Optional, Type, TypeVar, Union, cast

from ._process import LOGGER, ChildProcess, document_or_none, is_error
from .documents import DroppedEvents, ReplicaDocument, WatchDocument
from .errors import WalrustError, error_from

Event = TypeVar("Event")
Self = TypeVar("Self", bound="Running[Any]")

#: The most events that wait for a reader.
_WAITING_EVENTS_MAX = 1_000

#: The longest that the start of a `watch` waits for its databases.
_READY_LIMIT = 5.0

#: Time in seconds for which `watch` tries again while another walrust has its databases: that of an
#: application which crashed uploads for a while, and the service manager restarts the application at once.
_LOCKED_LIMIT = 15.0
_LOCKED_PAUSE = 0.25

#: Exit codes of a walrust that was stopped before it had begun: the code for SIGTERM, or the signal itself.
_STOPPED = (143, -1, -2, -9, -15)


class Running(Generic[Event]):
    """A running walrust. Iterating reads its events; leaving the `with` block closes it.

    Each event is read once. At most 1,000 events wait: then the oldest are dropped, and an event `dropped`
    with their number stands in their place.
    """

    def __init__(
        self,
        start: Callable[[], ChildProcess],
        is_ready: Callable[[Any], bool] = lambda event: True,
    ) -> None:
        """For the methods of Walrust. Returns when the work is under way, and 5 s after its first event at
        the latest. Raises the WalrustError of a walrust that ends before.
        """
        self._start = start
        self._is_ready = is_ready
        self._news = threading.Condition()
        self._events: collections.deque[Any] = collections.deque()
        self._dropped = 0
        self._failure: Optional[BaseException] = None
        self._has_ended = False
        self._has_begun = False
        self._ready = False
        self._asked = threading.Event()
        self._child = start()
        try:
            threading.Thread(target=self._run, name=f"walrust-{self._child.verb}", daemon=True).start()
            self._await_start()
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """The id of walrust's process."""
        return self._child.pid

    @property
    def ended(self) -> bool:
        """Whether walrust has ended."""
        return self._has_ended

    def close(self) -> None:
        """Stops walrust and waits for its end. A watch captures and uploads the last commits first, for
        `shutdown_timeout` (5 s) at most. Further calls do nothing.

        Raises a WalrustError when walrust had ended by itself and no reader of the events got this error. An
        exception that interrupts the wait, such as KeyboardInterrupt, ends walrust at once.
        """
        if not self._child.is_own:
            return
        self._stop()
        try:
            with self._news:
                while not self._has_ended:
                    self._news.wait()
        except BaseException:
            self.kill()
            raise
        self._raise_failure()

    def kill(self) -> None:
        """Ends walrust at once, by SIGKILL. Nothing is lost: the next watch continues where it ended."""
        self._asked.set()
        self._child.kill()

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Waits until walrust ends, for example after `once=True`, for `timeout` seconds at most. Returns
        whether it has ended.

        Raises a WalrustError when walrust ended by itself and no reader of the events got this error.
        """
        with self._news:
            has_ended = self._news.wait_for(lambda: self._has_ended, timeout)
        if has_ended:
            self._raise_failure()
        return has_ended

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        """Closes walrust. A failure of walrust does not hide the exception that left the block."""
        try:
            self.close()
        except WalrustError as failure:
            if kind is None:
                raise
            LOGGER.error("%s", failure)

    def __iter__(self) -> Iterator[Union[Event, DroppedEvents]]:
        return self

    def __next__(self) -> Union[Event, DroppedEvents]:
        """Waits for the next event. Raises the WalrustError that ended walrust, once."""
        with self._news:
            while not self._events and self._dropped == 0 and not self._has_ended:
                self._news.wait()
            if self._dropped > 0:
                dropped: DroppedEvents = {"event": "dropped", "count": self._dropped}
                self._dropped = 0
                return dropped
            if self._events:
                return cast(Event, self._events.popleft())
        self._raise_failure()
        raise StopIteration

    def _stop(self) -> None:
        self._asked.set()
        self._child.stop()

    def _await_start(self) -> None:
        with self._news:
            self._news.wait_for(lambda: self._has_begun or self._has_ended)
            self._news.wait_for(lambda: self._ready or self._has_ended, _READY_LIMIT)
        # A walrust that has ended by now fails the start: nothing runs that could be closed.
        if self._has_ended:
            self._raise_failure()

    def _raise_failure(self) -> None:
        with self._news:
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _run(self) -> None:
        """Runs children until one of them ends for another reason than a lock."""
        failure: Optional[BaseException]
        try:
            failure = self._run_children()
        except BaseException as error:
            failure = error
        with self._news:
            self._failure = failure
            self._has_ended = True
            self._news.notify_all()

    def _run_children(self) -> Optional[WalrustError]:
        deadline = time.monotonic() + _LOCKED_LIMIT
        failure = self._run_child()
        while failure is not None and failure.code == "locked" and self._child.verb == "watch":
            if time.monotonic() > deadline or self._asked.wait(_LOCKED_PAUSE):
                break
            self._child = self._start()
            # A close that came meanwhile has stopped the child before this one.
            if self._asked.is_set():
                self._child.stop()
            failure = self._run_child()
        return failure

    def _run_child(self) -> Optional[WalrustError]:
        """Waits for the end of the present child. Returns why it ended by itself, or None."""
        failure: Optional[WalrustError] = None
        child = self._child
        for line in child.lines():
            event = document_or_none(line)
            if event is None:
                child.kill()
                failure = WalrustError(f"walrust {child.verb} printed a line that is no event")
            elif is_error(event):
                failure = error_from(event)
            else:
                self._take(event)
        exit_code = child.ended()
        if exit_code == 0:
            return failure
        if self._asked.is_set() and exit_code in _STOPPED:
            return None
        return failure or child.unprinted_error(exit_code)

    def _take(self, event: Any) -> None:
        is_ready = self._is_ready(event)
        with self._news:
            self._events.append(event)
            if len(self._events) > _WAITING_EVENTS_MAX:
                self._events.popleft()
                self._dropped += 1
            self._has_begun = True
            self._ready = self._ready or is_ready
            self._news.notify_all()


#: A running `watch`.
Watching = Running[WatchDocument]

#: A running `replicate`.
Replicating = Running[ReplicaDocument]


def watch_readiness() -> Callable[[Any], bool]:
    """Whether each database that was found at the start is replicated, is tried again or has stopped, event
    by event. When all have stopped, walrust ends, and its failure is the answer.
    """
    known: dict[str, bool] = {}
    wanted: Optional[int] = None

    def is_ready(event: Any) -> bool:
        nonlocal wanted
        kind = event.get("event")
        if kind == "started":
            wanted = event["databases"]
            known.clear()
        elif kind in ("watching", "failed"):
            known[event["database"]] = True
        elif kind == "stopped":
            known[event["database"]] = False
        return wanted is not None and len(known) >= wanted and (wanted == 0 or any(known.values()))

    return is_ready

"""The class of the library. Each method runs the verb of its name, and returns the document that the verb
prints with `--json`. No state outlives a call.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING, Any, Mapping, Optional, Sequence, Union, cast, overload

from ._binary import find_binary
from ._process import ChildProcess, run_to_end
from ._running import Replicating, Watching, watch_readiness
from ._words import flag_words, point_in_time_text, shown
from .documents import (
    ExplainDocument,
    ListDocument,
    NothingRestoredDocument,
    RestoreDocument,
    SnapshotDocument,
    VerifyDocument,
)

if TYPE_CHECKING:
    from typing_extensions import Literal, Unpack

    from ._options import (
        ExplainOptions,
        ListOptions,
        ReplicateOptions,
        RestoreOptions,
        SnapshotOptions,
        VerifyOptions,
        WatchOptions,
    )

#: A path.
StrPath = Union[str, "os.PathLike[str]"]


class Walrust:
    """A destination of backups, and the walrust that works with it.

    A failure is a WalrustError, of the class of its exit code. A value that has the wrong type, or an option
    that does not exist, is a TypeError.
    """

    def __init__(
        self,
        bucket: Optional[str] = None,
        *,
        endpoint: Optional[str] = None,
        config: Optional[StrPath] = None,
        binary: Optional[StrPath] = None,
        env: Optional[Mapping[str, str]] = None,
    ) -> None:
        """Starts nothing.

        bucket: `s3://bucket/prefix` or `file:///folder`; None: from `config` or the environment.
        endpoint: URL of the S3 endpoint, for every provider but AWS.
        config: path of a walrust.toml; None: no file is read, and none is found by itself.
        binary: path of a walrust executable; None: the one of this package.
        env: environment of walrust, with its credentials and settings; None: that of this process.
        """
        self._bucket = bucket
        self._endpoint = endpoint
        self._config = config
        self._binary = None if binary is None else os.fspath(binary)
        self._env = env

    def __repr__(self) -> str:
        return f"Walrust({self._bucket!r})"

    def snapshot(self, path: StrPath, **options: Unpack[SnapshotOptions]) -> SnapshotDocument:
        """Uploads a snapshot of a database now: the running watch does it if there is one.

        Raises DatabaseError when the database is missing, not in WAL mode or locked, or StorageError.
        """
        return cast(SnapshotDocument, self._run("snapshot", [os.fspath(path)], {}, options))

    def list(self, name: Optional[str] = None, **options: Unpack[ListOptions]) -> ListDocument:
        """Lists the databases of the bucket, or one of them, with their restorable points.

        Raises RestoreError when there is no backup of the name, or StorageError.
        """
        return cast(ListDocument, self._run("list", _optional(name), {}, options))

    @overload
    def restore(
        self,
        name: str,
        path: StrPath,
        point_in_time: Union[str, datetime, None] = None,
        force: bool = False,
        *,
        if_db_not_exists: Literal[False] = False,
        if_replica_exists: Literal[False] = False,
        **options: Unpack[RestoreOptions],
    ) -> RestoreDocument: ...

    @overload
    def restore(
        self,
        name: str,
        path: StrPath,
        point_in_time: Union[str, datetime, None] = None,
        force: bool = False,
        *,
        if_db_not_exists: bool = False,
        if_replica_exists: bool = False,
        **options: Unpack[RestoreOptions],
    ) -> Union[RestoreDocument, NothingRestoredDocument]: ...

    def restore(
        self,
        name: str,
        path: StrPath,
        point_in_time: Union[str, datetime, None] = None,
        force: bool = False,
        *,
        if_db_not_exists: bool = False,
        if_replica_exists: bool = False,
        **options: Unpack[RestoreOptions],
    ) -> Union[RestoreDocument, NothingRestoredDocument]:
        """Restores a verified copy of a database to a file that no connection has open.

        name: name in the bucket.
        point_in_time: a time with its time zone, as text or datetime; a duration ago (`-2h`); `txid:41`;
            None: the newest state.
        force: replaces an existing file, which stays beside it.
        if_db_not_exists, if_replica_exists: return `{"name", "restored": False, "reason"}` when the file
            exists, or when there is no backup.

        Raises ConfigurationError when the file exists and force is not given, IntegrityError when the backup
        is damaged, RestoreError when there is no such point, or StorageError; the file is then as before.
        """
        own = {
            "output": path,
            "point_in_time": None if point_in_time is None else point_in_time_text(point_in_time),
            "force": force,
            "if_db_not_exists": if_db_not_exists,
            "if_replica_exists": if_replica_exists,
        }
        return cast(RestoreDocument, self._run("restore", [name], own, options))

    def verify(self, name: Optional[str] = None, **options: Unpack[VerifyOptions]) -> VerifyDocument:
        """Checks that the backup of a database, or of all databases, can be restored. Damage is no exception:
        see `status` of the document.

        Raises RestoreError when there is no backup of the name, or StorageError.
        """
        own = {"all": name is None}
        return cast(VerifyDocument, self._run("verify", _optional(name), own, options))

    def explain(self, *paths: StrPath, **options: Unpack[ExplainOptions]) -> ExplainDocument:
        """The effect and the cost of a watch of these databases, or of those of the configuration. A problem
        that would end the watch is no exception: see `problems` of the document.
        """
        positionals = [os.fspath(path) for path in paths]
        return cast(ExplainDocument, self._run("explain", positionals, {}, options))

    def watch(self, *paths: StrPath, **options: Unpack[WatchOptions]) -> Watching:
        """Starts to replicate databases to the bucket: paths and globs, or those of the configuration.

            with walrust.watch("app.db") as events:
                ...

        Leaving the block uploads the last commits. Iterating reads the events. Without a `with` block, the
        watch goes on until `close` or the end of the process.

        Returns when each database is replicated, is tried again or has stopped, and after 5 s at the latest.
        Without `metrics_port` or a configuration file, the watch serves no port.

        Raises DatabaseError when no database can be replicated, or StorageError when the store refuses. A
        later failure is raised to the reader of the events, or by leaving the block.
        """
        given: dict[str, Any] = dict(options)
        if self._config is None and given.get("metrics_port") is None:
            # Two applications on one machine would contend for the port.
            given.setdefault("no_metrics", True)
        positionals = [os.fspath(path) for path in paths]
        return Watching(lambda: self._start("watch", positionals, {}, given), watch_readiness())

    def replicate(self, source: str, local: StrPath, **options: Unpack[ReplicateOptions]) -> Replicating:
        """Starts to keep a local replica of a database up to date, which may be opened for reading.

        source: name in the bucket, or the URL of a database in any bucket.
        local: path of the replica's database file.

        Returns once the replica can be read, or with the first event that says why not.

        Raises DatabaseError when `local` is no replica of the source, RestoreError when there is no backup
        yet, IntegrityError or StorageError. A later failure is raised to the reader of the events, or by
        leaving the block.
        """
        own = {"local": local}
        return Replicating(lambda: self._start("replicate", [source], own, options))

    def _run(
        self, verb: str, positionals: Sequence[str], own: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Any:
        return run_to_end(self._start(verb, positionals, own, options))

    def _start(
        self, verb: str, positionals: Sequence[str], own: Mapping[str, Any], options: Mapping[str, Any]
    ) -> ChildProcess:
        for positional in positionals:
            if not isinstance(positional, str):
                raise TypeError(f"{verb}(): {shown(positional)} is no text")
        is_url = verb == "replicate" and "://" in positionals[0]
        place = {
            "bucket": None if is_url else self._bucket,
            "endpoint": self._endpoint,
            "config": self._config,
        }
        words = [*flag_words(verb, {**place, **own}, options), "--", *positionals]
        env = os.environ if self._env is None else self._env
        return ChildProcess(self._binary or find_binary(), verb, words, env)


def _optional(name: Optional[str]) -> Sequence[str]:
    return [] if name is None else [name]

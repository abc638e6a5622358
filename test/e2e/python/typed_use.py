"""The package as a type checker sees it: mypy accepts each line but those with a mark for their fault."""

import pathlib
from datetime import datetime, timedelta, timezone
from typing import Optional

from typing_extensions import assert_type

from walrust import Replicating, StorageError, Walrust, WalrustError, Watching
from walrust.documents import (
    DroppedEvents,
    ListDocument,
    NothingRestoredDocument,
    RestoreDocument,
    WatchDocument,
    WatchUploaded,
)


def use(walrust: Walrust, path: pathlib.Path, patience: Optional[float]) -> None:
    assert_type(walrust.list(timeout=patience), ListDocument)
    newest = walrust.list()["databases"][0]["max"]
    newest["txid"]  # wrong: index
    if newest is not None:
        assert_type(newest["txid"], int)
    walrust.list()["database"]  # wrong: typeddict-item
    walrust.list(all=True)  # wrong: call-overload call-arg
    assert_type(walrust.restore("app", path, datetime.now(timezone.utc), strict=True), RestoreDocument)
    perhaps = walrust.restore("app", str(path), if_db_not_exists=True)
    assert_type(perhaps["name"], str)
    perhaps["txid"]  # wrong: typeddict-item
    walrust.restore("app", path, 41)  # wrong: call-overload
    walrust.restore("app", path, integrity_check="fast")  # wrong: call-overload
    walrust.watch(path, wal_sync_interval="1s")  # wrong: arg-type
    walrust.watch(path, snapshot_intervall=1)  # wrong: call-arg
    with walrust.watch(path, wal_sync_interval=0.5, on_idle=timedelta(minutes=5)) as events:
        assert_type(events, Watching)
        for event in events:
            if event["event"] == "uploaded":
                assert_type(event, WatchUploaded)
                assert_type(event["lag_ms"], float)
            elif event["event"] == "dropped":
                assert_type(event, DroppedEvents)
            elif event["event"] == "updated":  # wrong: comparison-overlap
                pass
    assert_type(walrust.replicate("app", path, interval="1s"), Replicating)


def failure(error: WalrustError) -> Optional[str]:
    assert_type(error.exit, int)
    return error.hint if isinstance(error, StorageError) else error.code


def nothing(document: NothingRestoredDocument, event: WatchDocument) -> str:
    return document["reason"] + event["at"]

"""The JSON documents of walrust as typed dictionaries.

Units: `…bytes` in bytes, `…_ms` in milliseconds. `time` and `at` are RFC 3339 in UTC.
Later versions of walrust add keys and remove none.

Made by scripts/reference.ts from the types of the documents; do not edit.
"""

from __future__ import annotations

from typing import Literal, Optional, TypedDict, Union

__all__ = [
    "DroppedEvents",
    "ExplainDestination",
    "ExplainDocument",
    "ExplainEstimate",
    "ExplainEstimateProvider",
    "ExplainedDatabase",
    "ExplainedDatabaseRestorable",
    "ExplainedProblem",
    "ExplainedRequests",
    "ExplainedSetting",
    "Finding",
    "FindingCode",
    "ForeignLayout",
    "IntegrityDocument",
    "IntegrityNotChecked",
    "ListDocument",
    "ListedDatabase",
    "ListedDatabaseSnapshot",
    "ListedPoint",
    "NothingRestoredDocument",
    "Repair",
    "ReplicaApplied",
    "ReplicaBootstrapped",
    "ReplicaCurrent",
    "ReplicaDocument",
    "ReplicaFailed",
    "ReplicaFollowing",
    "ReplicaWaiting",
    "RestoreChecks",
    "RestoreDocument",
    "RestoreOwner",
    "SnapshotDocument",
    "VerifiedDatabase",
    "VerifiedDatabaseChecked",
    "VerifiedDatabaseRemedy",
    "VerifyDocument",
    "WatchAcknowledged",
    "WatchCheckpointed",
    "WatchCircuitOpen",
    "WatchCompacted",
    "WatchCondition",
    "WatchDocument",
    "WatchFailed",
    "WatchLetGo",
    "WatchReAnchored",
    "WatchRecovered",
    "WatchRestored",
    "WatchStarted",
    "WatchStopped",
    "WatchUploaded",
    "WatchValidated",
    "WatchWatching",
]


class SnapshotDocument(TypedDict):
    """The output of `snapshot`."""

    name: str
    txid: int
    key: str
    time: str
    #: Size of the object.
    bytes: int
    database_bytes: int
    duration_ms: float


class ListedDatabaseSnapshot(TypedDict):
    txid: int
    time: Optional[str]
    bytes: int


class ListedPoint(TypedDict):
    """A restorable point. The time is null when the object cannot be read."""

    txid: int
    time: Optional[str]


class ListedDatabase(TypedDict):
    """One database of `list`."""

    name: str
    #: The folders of the name, or an empty text.
    prefix: str
    snapshots: list[ListedDatabaseSnapshot]
    #: The number of objects of level 0.
    increments: int
    bytes: int
    min: Optional[ListedPoint]
    max: Optional[ListedPoint]
    #: Numbers of restorable points by level.
    restorable: dict[str, int]
    problems: list[str]
    #: The format of a backup that another program wrote, or null.
    foreign: Optional[str]


class ListDocument(TypedDict):
    """The output of `list`."""

    destination: str
    databases: list[ListedDatabase]


class RestoreChecks(TypedDict):
    sha256_objects: int
    unchained_objects: int
    database_checksum: Optional[str]
    integrity_check: Literal["failed", "not_checked", "ok", "partial", "skipped"]


class IntegrityNotChecked(TypedDict):
    part: str
    reason: str


class IntegrityDocument(TypedDict):
    """SQLite's verdict on a restored file."""

    mode: Literal["full", "off", "quick"]
    status: Literal["failed", "not_checked", "ok", "partial", "skipped"]
    problems: list[str]
    not_checked: list[IntegrityNotChecked]


RestoreOwner = TypedDict(
    "RestoreOwner",
    {
        "uid": int,
        "gid": int,
        #: Four octal digits.
        "mode": str,
        "from": Literal["folder", "replaced_file"],
    },
)


class RestoreDocument(TypedDict):
    """The output of `restore`."""

    name: str
    #: False after a dry run.
    restored: bool
    output: str
    txid: int
    time: Optional[str]
    bytes: int
    objects: int
    downloaded_bytes: int
    duration_ms: float
    notice: Optional[str]
    #: Keys of damaged or missing objects that the restore left out.
    damaged: list[str]
    #: The path of the file that was replaced, or null.
    previous: Optional[str]
    checks: RestoreChecks
    integrity_check: IntegrityDocument
    owner: Optional[RestoreOwner]


class NothingRestoredDocument(TypedDict):
    """The output of `restore` when `--if-db-not-exists` or `--if-replica-exists` left nothing to
    do.
    """

    name: str
    restored: Literal[False]
    reason: str


FindingCode = Literal[
    "bad-metadata",
    "bad-sha256",
    "bad-size",
    "broken-chain",
    "checksum-mismatch",
    "corrupt-object",
    "differs-from-live",
    "gap",
    "manifest-ahead",
    "manifest-contradicts",
    "manifest-missing",
    "manifest-stale",
    "manifest-unreadable",
    "metadata-lost",
    "missing-database",
    "missing-object",
    "missing-snapshot",
    "not-checked",
    "orphan-sidecar",
    "page-size-mismatch",
    "restore-failed",
    "source-damaged",
    "special-file",
    "temporary-file",
    "time-mismatch",
    "unknown-key",
    "unreachable-object",
    "unverifiable",
    "wrong-key",
]


class Finding(TypedDict):
    """A defect of a database in a bucket."""

    code: FindingCode
    severity: Literal["error", "warning"]
    #: Key of the object; null when the finding is about the whole database.
    object: Optional[str]
    txid: Optional[int]
    message: str


class VerifiedDatabaseRemedy(TypedDict):
    codes: list[FindingCode]
    remedy: str


class VerifiedDatabaseChecked(TypedDict):
    objects: int
    bytes: int
    snapshots: int
    chained_objects: int
    unchained_objects: int
    lost_metadata_objects: int
    read_objects: int
    read_bytes: int
    min_txid: Optional[int]
    max_txid: Optional[int]
    restored_txid: Optional[int]
    integrity_check: Optional[IntegrityDocument]
    compared_with_live: bool
    omitted_findings: int


class VerifiedDatabase(TypedDict):
    """One database of `verify`."""

    name: str
    status: Literal["errors", "ok", "warnings"]
    #: If the backup is damaged: every point from this TXID on is restorable, as far as objects were
    #: read.
    sound_from_txid: Optional[int]
    findings: list[Finding]
    #: One remedy for all kinds of findings that it mends.
    remedies: list[VerifiedDatabaseRemedy]
    checked: VerifiedDatabaseChecked


class Repair(TypedDict):
    """A repair."""

    database: str
    code: FindingCode
    object: str
    #: A predicate: the object is its subject.
    message: str


class ForeignLayout(TypedDict):
    """A foreign backup."""

    format: Literal[
        "hadbp",
        "litestream-0.3",
        "ltx-flat",
        "ltx-generations",
        "other-layout",
        "walsync",
    ]
    #: The database in the backup; empty for a backup at the root of the destination.
    database: str
    #: The key of one of its objects.
    key: str
    #: The kind of backup, e.g. `a backup of the Rust walrust (HADBP)`.
    title: str
    #: How to restore or convert the backup.
    hint: str


class VerifyDocument(TypedDict):
    """The output of `verify`. Status `errors` puts a restore in danger, `warnings` does not."""

    status: Literal["errors", "ok", "warnings"]
    databases: list[VerifiedDatabase]
    fixed: list[Repair]
    #: Backups that other programs wrote.
    foreign: list[ForeignLayout]


class ExplainDestination(TypedDict):
    url: str
    reachable: bool
    conditional_writes: Literal["no", "unknown", "yes"]
    single_writer: str


#: A setting with its value.
ExplainedSetting = TypedDict(
    "ExplainedSetting",
    {
        #: `section.key` of walrust.toml.
        "key": str,
        #: As in walrust.toml; of a secret, only that it is set; null: not set.
        "value": Optional[Union[bool, float, list[str], str]],
        "origin": Literal["default", "environment", "file", "flag"],
        #: `--bucket`, `AWS_REGION`, `walrust.toml:5:3`, `default`.
        "from": str,
    },
)


class ExplainedDatabaseRestorable(TypedDict):
    kind: Literal["captures", "merges", "snapshots"]
    until_seconds: Optional[float]
    spacing_seconds: Optional[float]
    end: Literal["age", "never", "oldest-snapshot"]
    what: str


class ExplainedRequests(TypedDict):
    """Requests a month."""

    put: int
    list: int
    #: Includes HEAD.
    get: int
    delete: int


class ExplainedProblem(TypedDict):
    """A reason why a watch would fail, or would leave out a database."""

    code: str
    exit: int
    message: str
    hint: Optional[str]
    context: dict[str, Union[bool, int, str]]


class ExplainedDatabase(TypedDict):
    """One database of `explain`. Requests and bytes are for a month."""

    path: str
    name: str
    destination: Optional[str]
    found_by_glob: bool
    #: The line of its entry in walrust.toml, or null.
    config_line: Optional[int]
    bytes: int
    wal_bytes: int
    #: Null when the file cannot be read.
    page_size: Optional[int]
    compressed_to: Optional[float]
    #: Settings of its own.
    settings: list[ExplainedSetting]
    restorable: list[ExplainedDatabaseRestorable]
    requests: ExplainedRequests
    uploaded_bytes: int
    stored_bytes: int
    growth_bytes: int
    problem: Optional[ExplainedProblem]


class ExplainEstimateProvider(TypedDict):
    provider: Literal["b2", "r2", "s3", "tigris"]
    storage_usd: float
    requests_usd: float
    #: Without the egress.
    total_usd: float
    egress_usd: float
    #: Month of the price list, as YYYY-MM.
    prices_as_of: str


class ExplainEstimate(TypedDict):
    commits_per_second: float
    pages_per_commit: float
    requests: ExplainedRequests
    uploaded_bytes: int
    stored_bytes: int
    growth_bytes: int
    providers: list[ExplainEstimateProvider]


class ExplainDocument(TypedDict):
    """The output of `explain`."""

    config_file: Optional[str]
    destination: Optional[ExplainDestination]
    settings: list[ExplainedSetting]
    #: Whether a watch looks for new databases while it runs.
    looks_again: bool
    databases: list[ExplainedDatabase]
    #: The sum of all databases for a month.
    estimate: ExplainEstimate
    problems: list[ExplainedProblem]


class WatchAcknowledged(TypedDict):
    """The event `acknowledged`."""

    #: A push replica has applied everything up to this TXID, durably.
    event: Literal["acknowledged"]
    database: str
    replica: str
    txid: int
    at: str


class WatchCheckpointed(TypedDict):
    """The event `checkpointed`."""

    event: Literal["checkpointed"]
    database: str
    frames: int
    #: How the WAL ended up: copied into the database file, or also truncated.
    type: Literal["passive", "truncate"]
    held_ms: float
    duration_ms: float
    at: str


class WatchCircuitOpen(TypedDict):
    """The event `circuit-open`."""

    event: Literal["circuit-open"]
    database: str
    #: Calls in a row that failed.
    failures: int
    #: The time of the next trial, as RFC 3339.
    until: str
    message: str
    at: str


class WatchCompacted(TypedDict):
    """The event `compacted`."""

    event: Literal["compacted"]
    database: str
    level: int
    bytes: int
    #: The objects that were merged into this one.
    sources: int
    duration_ms: float
    min_txid: int
    max_txid: int
    at: str


class WatchCondition(TypedDict):
    """The event `condition`."""

    #: A lasting state began or ended; see `Condition`.
    event: Literal["condition"]
    state: Literal["cleared", "raised"]
    #: Null for a condition of the store that all databases share.
    database: Optional[str]
    code: str
    health: Literal["degraded", "unhealthy"]
    message: str
    at: str


class WatchFailed(TypedDict):
    """The event `failed`."""

    event: Literal["failed"]
    database: str
    code: str
    message: str
    at: str


class WatchLetGo(TypedDict):
    """The event `let-go`."""

    event: Literal["let-go"]
    database: str
    reason: str
    at: str


class WatchReAnchored(TypedDict):
    """The event `re-anchored`."""

    event: Literal["re-anchored"]
    database: str
    txid: int
    reason: str
    at: str


class WatchRecovered(TypedDict):
    """The event `recovered`."""

    event: Literal["recovered"]
    database: str
    at: str


class WatchRestored(TypedDict):
    """The event `restored`."""

    event: Literal["restored"]
    database: str
    path: str
    txid: int
    time: Optional[str]
    bytes: int
    at: str


class WatchStarted(TypedDict):
    """The event `started`."""

    event: Literal["started"]
    #: The number of databases that were found.
    databases: int
    destination: str
    at: str


class WatchStopped(TypedDict):
    """The event `stopped`."""

    event: Literal["stopped"]
    database: str
    code: str
    message: str
    at: str


class WatchUploaded(TypedDict):
    """The event `uploaded`."""

    event: Literal["uploaded"]
    database: str
    kind: Literal["increment", "snapshot"]
    txid: int
    time: str
    bytes: int
    key: str
    lag_ms: float
    at: str


class WatchValidated(TypedDict):
    """The event `validated`."""

    event: Literal["validated"]
    database: str
    status: Literal["errors", "ok", "warnings"]
    messages: list[str]
    at: str


class WatchWatching(TypedDict):
    """The event `watching`."""

    event: Literal["watching"]
    database: str
    path: str
    txid: int
    at: str


#: A line of `watch`: `event` tells the kinds apart.
WatchDocument = Union[
    WatchAcknowledged,
    WatchCheckpointed,
    WatchCircuitOpen,
    WatchCompacted,
    WatchCondition,
    WatchFailed,
    WatchLetGo,
    WatchReAnchored,
    WatchRecovered,
    WatchRestored,
    WatchStarted,
    WatchStopped,
    WatchUploaded,
    WatchValidated,
    WatchWatching,
]


class ReplicaApplied(TypedDict):
    """The event `applied`."""

    bytes: int
    event: Literal["applied"]
    from_txid: int
    key: str
    time: str
    txid: int
    at: str


class ReplicaBootstrapped(TypedDict):
    """The event `bootstrapped`."""

    bytes: int
    event: Literal["bootstrapped"]
    objects: int
    reason: Optional[str]
    time: str
    txid: int
    at: str


class ReplicaCurrent(TypedDict):
    """The event `current`."""

    event: Literal["current"]
    time: str
    txid: int
    at: str


class ReplicaFailed(TypedDict):
    """The event `failed`."""

    code: str
    event: Literal["failed"]
    message: str
    txid: int
    at: str


class ReplicaFollowing(TypedDict):
    """The event `following`."""

    bytes: int
    event: Literal["following"]
    time: str
    txid: int
    at: str


class ReplicaWaiting(TypedDict):
    """The event `waiting`."""

    event: Literal["waiting"]
    reason: str
    txid: int
    at: str


#: A line of `replicate`: `event` tells the kinds apart.
ReplicaDocument = Union[
    ReplicaApplied,
    ReplicaBootstrapped,
    ReplicaCurrent,
    ReplicaFailed,
    ReplicaFollowing,
    ReplicaWaiting,
]


class DroppedEvents(TypedDict):
    """Stands for events that were dropped because nobody read them: the `count` oldest ones."""

    event: Literal["dropped"]
    count: int

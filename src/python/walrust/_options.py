"""The options of the calls: their kinds, and their types for type checkers.

Made by scripts/reference.ts from walrust's table of options; do not edit.
"""

from __future__ import annotations

from datetime import timedelta
from os import PathLike
from typing import Literal, Mapping, Optional, Sequence, TypedDict, Union

#: Kinds of the options by method and name. An option that is not here does not exist.
OPTIONS: Mapping[str, Mapping[str, str]] = {
    "snapshot": {
        "state_dir": "path",
        "timeout": "duration",
    },
    "list": {
        "state_dir": "path",
        "timeout": "duration",
    },
    "restore": {
        "dry_run": "switch",
        "integrity_check": "text",
        "strict": "switch",
        "cache_dir": "path",
        "state_dir": "path",
        "timeout": "duration",
    },
    "verify": {
        "read_data": "percent",
        "restore": "switch",
        "fix": "switch",
        "state_dir": "path",
        "timeout": "duration",
    },
    "explain": {
        "commits_per_second": "number",
        "pages_per_commit": "number",
        "wal_sync_interval": "seconds",
        "checkpoint_interval": "seconds",
        "min_checkpoint_pages": "count",
        "wal_truncate_threshold": "count",
        "validation_interval": "seconds",
        "snapshot_interval": "seconds",
        "max_changes": "count",
        "max_interval": "seconds",
        "on_idle": "seconds",
        "on_startup": "switch",
        "compact_interval": "seconds",
        "compact_after_snapshot": "switch",
        "compact_threshold": "count",
        "compact_size": "bytes",
        "compact_age": "duration",
        "retain_hourly": "count",
        "retain_daily": "count",
        "retain_weekly": "count",
        "retain_monthly": "count",
        "state_dir": "path",
        "no_cache": "switch",
        "cache_dir": "path",
        "cache_retention": "duration",
        "cache_max_size": "bytes",
        "uploader_concurrency": "count",
        "max_retries": "count",
        "base_delay_ms": "milliseconds",
        "max_delay_ms": "milliseconds",
        "no_circuit_breaker": "switch",
        "circuit_breaker_threshold": "count",
        "no_metrics": "switch",
        "metrics_port": "count",
    },
    "watch": {
        "wal_sync_interval": "seconds",
        "checkpoint_interval": "seconds",
        "min_checkpoint_pages": "count",
        "wal_truncate_threshold": "count",
        "validation_interval": "seconds",
        "snapshot_interval": "seconds",
        "max_changes": "count",
        "max_interval": "seconds",
        "on_idle": "seconds",
        "on_startup": "switch",
        "compact_interval": "seconds",
        "compact_after_snapshot": "switch",
        "compact_threshold": "count",
        "compact_size": "bytes",
        "compact_age": "duration",
        "retain_hourly": "count",
        "retain_daily": "count",
        "retain_weekly": "count",
        "retain_monthly": "count",
        "state_dir": "path",
        "no_cache": "switch",
        "cache_dir": "path",
        "cache_retention": "duration",
        "cache_max_size": "bytes",
        "uploader_concurrency": "count",
        "max_retries": "count",
        "base_delay_ms": "milliseconds",
        "max_delay_ms": "milliseconds",
        "no_circuit_breaker": "switch",
        "circuit_breaker_threshold": "count",
        "no_metrics": "switch",
        "metrics_port": "count",
        "once": "switch",
        "restore_if_missing": "switch",
        "push_to": "texts",
        "push_token_file": "path",
        "push_ca_file": "path",
        "ack": "switch",
    },
    "replicate": {
        "interval": "duration",
        "once": "switch",
    },
}


class SnapshotOptions(TypedDict, total=False):
    """Options of `snapshot`."""

    #: Folder for the state and captured files of all databases, instead of a folder beside each
    #: database.
    state_dir: Optional[Union[str, "PathLike[str]"]]

    #: Give up once the store has not answered for this long, over all retries (default 1m; 1s to
    #: 1d).
    timeout: Optional[Union[float, str, timedelta]]


class ListOptions(TypedDict, total=False):
    """Options of `list`."""

    #: Folder for the state and captured files of all databases, instead of a folder beside each
    #: database.
    state_dir: Optional[Union[str, "PathLike[str]"]]

    #: Give up once the store has not answered for this long, over all retries (default 1m; 1s to
    #: 1d).
    timeout: Optional[Union[float, str, timedelta]]


class RestoreOptions(TypedDict, total=False):
    """Options of `restore`."""

    #: Print the plan of the restore; write nothing.
    dry_run: Optional[bool]

    #: How thoroughly SQLite checks the restored file; full also compares indexes with their tables
    #: (default full).
    integrity_check: Optional[Literal["full", "quick", "off"]]

    #: Exit 5 instead of warning when SQLite finds a fault that the source already had.
    strict: Optional[bool]

    #: Folder of a watch's captured files, if not beside the output file; restore reads these files
    #: first.
    cache_dir: Optional[Union[str, "PathLike[str]"]]

    #: Folder for the state and captured files of all databases, instead of a folder beside each
    #: database.
    state_dir: Optional[Union[str, "PathLike[str]"]]

    #: Give up once the store has not answered for this long, over all retries (default 1m; 1s to
    #: 1d).
    timeout: Optional[Union[float, str, timedelta]]


class VerifyOptions(TypedDict, total=False):
    """Options of `verify`."""

    #: Also read large objects in full: all, or PERCENT of them at random; small objects are always
    #: read (0.01 to 100).
    read_data: Optional[Union[bool, float]]

    #: Also restore the newest state into a temporary file and check the file.
    restore: Optional[bool]

    #: Rewrite a wrong manifest and delete leftovers, but no object that a restore needs.
    fix: Optional[bool]

    #: Folder for the state and captured files of all databases, instead of a folder beside each
    #: database.
    state_dir: Optional[Union[str, "PathLike[str]"]]

    #: Give up once the store has not answered for this long, over all retries (default 1m; 1s to
    #: 1d).
    timeout: Optional[Union[float, str, timedelta]]


class ExplainOptions(TypedDict, total=False):
    """Options of `explain`."""

    #: Commits per second that the estimate assumes for each database, on average over a month
    #: (default 0.1; 0 to 100000).
    commits_per_second: Optional[float]

    #: Changed pages that the estimate assumes for each commit (default 4; 1 to 1000000).
    pages_per_commit: Optional[float]

    #: Upload the commits of a database at most this often; after a pause, upload the first commit
    #: at once (default 1; 0.01 to 3600).
    wal_sync_interval: Optional[Union[float, timedelta]]

    #: Checkpoint this often, even if the WAL is shorter than `min_checkpoint_pages`; up to three
    #: times as seldom when walrust cannot keep up (default 60; 0.1 to 86400).
    checkpoint_interval: Optional[Union[float, timedelta]]

    #: Checkpoint as soon as the WAL has this many pages, or later when walrust cannot keep up
    #: (default 1000; 1 to 10000000).
    min_checkpoint_pages: Optional[int]

    #: After a checkpoint, truncate a WAL of more than this many pages (default 121359; 1 to
    #: 1000000000).
    wal_truncate_threshold: Optional[int]

    #: Verify the objects of each database this often, as `walrust verify` does; 0: never (default
    #: 0; 0 to 31536000).
    validation_interval: Optional[Union[float, timedelta]]

    #: Take a snapshot this often if the database has changed; 0: never (default 3600; 0 to
    #: 31536000).
    snapshot_interval: Optional[Union[float, timedelta]]

    #: Take a snapshot once this many WAL frames were captured since the last snapshot; 0: off
    #: (default 0; 0 to 1000000000).
    max_changes: Optional[int]

    #: Take a snapshot once a commit has waited this long for a snapshot; 0: off (default 0; 0 to
    #: 31536000).
    max_interval: Optional[Union[float, timedelta]]

    #: Take a snapshot once a changed database has been idle this long; 0: off (default 0; 0 to
    #: 31536000).
    on_idle: Optional[Union[float, timedelta]]

    #: Take a snapshot at start if the newest snapshot is older than the snapshot interval, and the
    #: database has changed since.
    on_startup: Optional[bool]

    #: Apply retention (`retain_…`) this often; 0: never (default 0; 0 to 31536000).
    compact_interval: Optional[Union[float, timedelta]]

    #: Apply retention (`retain_…`) after each snapshot.
    compact_after_snapshot: Optional[bool]

    #: Merge increments early once this many wait for a merge; 0: off (default 0; 0 to 1000000).
    compact_threshold: Optional[int]

    #: Merge increments early once the waiting increments reach this total size; 0: off (default 0;
    #: 0 and more).
    compact_size: Optional[Union[int, str]]

    #: Merge increments early once the oldest has waited this long; 0: off (default 0; 0 and more).
    compact_age: Optional[Union[float, str, timedelta]]

    #: For each of the last N hours with snapshots, keep the newest snapshot (default 24; 0 to
    #: 10000).
    retain_hourly: Optional[int]

    #: For each of the last N days with snapshots, keep the newest snapshot (default 7; 0 to 10000).
    retain_daily: Optional[int]

    #: For each of the last N weeks with snapshots, keep the newest snapshot (default 12; 0 to
    #: 10000).
    retain_weekly: Optional[int]

    #: For each of the last N months with snapshots, keep the newest snapshot (default 12; 0 to
    #: 10000).
    retain_monthly: Optional[int]

    #: Folder for the state and captured files of all databases, instead of a folder beside each
    #: database.
    state_dir: Optional[Union[str, "PathLike[str]"]]

    #: Delete each captured file after its upload, and capture again only then.
    no_cache: Optional[bool]

    #: Folder for the captured files of all databases, instead of the state folder of each database.
    cache_dir: Optional[Union[str, "PathLike[str]"]]

    #: Keep uploaded increments on disk this long, for compaction and restore to read (default 1d; 0
    #: and more).
    cache_retention: Optional[Union[float, str, timedelta]]

    #: Most bytes of captured files on disk over all databases; at the limit, captures wait for
    #: uploads (default 5GB; 1MB and more).
    cache_max_size: Optional[Union[int, str]]

    #: Most uploads at once over all databases; walrust adapts the actual number to the store
    #: (default 128; 1 to 256).
    uploader_concurrency: Optional[int]

    #: Retry a failed request this many times (default 5; 0 to 100).
    max_retries: Optional[int]

    #: Longest wait before the first retry; the wait doubles with each further retry (default 100; 0
    #: to 600000).
    base_delay_ms: Optional[Union[int, timedelta]]

    #: Longest wait before any retry (default 30000; 0 to 3600000).
    max_delay_ms: Optional[Union[int, timedelta]]

    #: Never suspend the requests of a database whose calls keep failing.
    no_circuit_breaker: Optional[bool]

    #: Suspend the requests of a database after this many calls in a row failed despite retries
    #: (default 10; 1 to 1000000).
    circuit_breaker_threshold: Optional[int]

    #: Do not serve /metrics and /health.
    no_metrics: Optional[bool]

    #: Port of the dashboard, /metrics and /health; 0: any free port (default 16767; 0 to 65535).
    metrics_port: Optional[int]


class WatchOptions(TypedDict, total=False):
    """Options of `watch`."""

    #: Upload the commits of a database at most this often; after a pause, upload the first commit
    #: at once (default 1; 0.01 to 3600).
    wal_sync_interval: Optional[Union[float, timedelta]]

    #: Checkpoint this often, even if the WAL is shorter than `min_checkpoint_pages`; up to three
    #: times as seldom when walrust cannot keep up (default 60; 0.1 to 86400).
    checkpoint_interval: Optional[Union[float, timedelta]]

    #: Checkpoint as soon as the WAL has this many pages, or later when walrust cannot keep up
    #: (default 1000; 1 to 10000000).
    min_checkpoint_pages: Optional[int]

    #: After a checkpoint, truncate a WAL of more than this many pages (default 121359; 1 to
    #: 1000000000).
    wal_truncate_threshold: Optional[int]

    #: Verify the objects of each database this often, as `walrust verify` does; 0: never (default
    #: 0; 0 to 31536000).
    validation_interval: Optional[Union[float, timedelta]]

    #: Take a snapshot this often if the database has changed; 0: never (default 3600; 0 to
    #: 31536000).
    snapshot_interval: Optional[Union[float, timedelta]]

    #: Take a snapshot once this many WAL frames were captured since the last snapshot; 0: off
    #: (default 0; 0 to 1000000000).
    max_changes: Optional[int]

    #: Take a snapshot once a commit has waited this long for a snapshot; 0: off (default 0; 0 to
    #: 31536000).
    max_interval: Optional[Union[float, timedelta]]

    #: Take a snapshot once a changed database has been idle this long; 0: off (default 0; 0 to
    #: 31536000).
    on_idle: Optional[Union[float, timedelta]]

    #: Take a snapshot at start if the newest snapshot is older than the snapshot interval, and the
    #: database has changed since.
    on_startup: Optional[bool]

    #: Apply retention (`retain_…`) this often; 0: never (default 0; 0 to 31536000).
    compact_interval: Optional[Union[float, timedelta]]

    #: Apply retention (`retain_…`) after each snapshot.
    compact_after_snapshot: Optional[bool]

    #: Merge increments early once this many wait for a merge; 0: off (default 0; 0 to 1000000).
    compact_threshold: Optional[int]

    #: Merge increments early once the waiting increments reach this total size; 0: off (default 0;
    #: 0 and more).
    compact_size: Optional[Union[int, str]]

    #: Merge increments early once the oldest has waited this long; 0: off (default 0; 0 and more).
    compact_age: Optional[Union[float, str, timedelta]]

    #: For each of the last N hours with snapshots, keep the newest snapshot (default 24; 0 to
    #: 10000).
    retain_hourly: Optional[int]

    #: For each of the last N days with snapshots, keep the newest snapshot (default 7; 0 to 10000).
    retain_daily: Optional[int]

    #: For each of the last N weeks with snapshots, keep the newest snapshot (default 12; 0 to
    #: 10000).
    retain_weekly: Optional[int]

    #: For each of the last N months with snapshots, keep the newest snapshot (default 12; 0 to
    #: 10000).
    retain_monthly: Optional[int]

    #: Folder for the state and captured files of all databases, instead of a folder beside each
    #: database.
    state_dir: Optional[Union[str, "PathLike[str]"]]

    #: Delete each captured file after its upload, and capture again only then.
    no_cache: Optional[bool]

    #: Folder for the captured files of all databases, instead of the state folder of each database.
    cache_dir: Optional[Union[str, "PathLike[str]"]]

    #: Keep uploaded increments on disk this long, for compaction and restore to read (default 1d; 0
    #: and more).
    cache_retention: Optional[Union[float, str, timedelta]]

    #: Most bytes of captured files on disk over all databases; at the limit, captures wait for
    #: uploads (default 5GB; 1MB and more).
    cache_max_size: Optional[Union[int, str]]

    #: Most uploads at once over all databases; walrust adapts the actual number to the store
    #: (default 128; 1 to 256).
    uploader_concurrency: Optional[int]

    #: Retry a failed request this many times (default 5; 0 to 100).
    max_retries: Optional[int]

    #: Longest wait before the first retry; the wait doubles with each further retry (default 100; 0
    #: to 600000).
    base_delay_ms: Optional[Union[int, timedelta]]

    #: Longest wait before any retry (default 30000; 0 to 3600000).
    max_delay_ms: Optional[Union[int, timedelta]]

    #: Never suspend the requests of a database whose calls keep failing.
    no_circuit_breaker: Optional[bool]

    #: Suspend the requests of a database after this many calls in a row failed despite retries
    #: (default 10; 1 to 1000000).
    circuit_breaker_threshold: Optional[int]

    #: Do not serve /metrics and /health.
    no_metrics: Optional[bool]

    #: Port of the dashboard, /metrics and /health; 0: any free port (default 16767; 0 to 65535).
    metrics_port: Optional[int]

    #: Capture and upload everything that is committed, then exit.
    once: Optional[bool]

    #: First restore each named database that is missing and has a backup; wait for one that has
    #: none.
    restore_if_missing: Optional[bool]

    #: Also push captured commits to the `walrust serve` at this URL; give it once for each replica.
    push_to: Optional[Sequence[str]]

    #: File with the token of the replica servers.
    push_token_file: Optional[Union[str, "PathLike[str]"]]

    #: PEM file of certificate authorities to trust for replica servers, beside those of the system.
    push_ca_file: Optional[Union[str, "PathLike[str]"]]

    #: Report each acknowledgement of a push replica, as an event; nothing waits for it.
    ack: Optional[bool]


class ReplicateOptions(TypedDict, total=False):
    """Options of `replicate`."""

    #: Poll the bucket for new objects this often (default 5s; 10ms to 1d).
    interval: Optional[Union[float, str, timedelta]]

    #: Apply the objects in the bucket, then exit.
    once: Optional[bool]

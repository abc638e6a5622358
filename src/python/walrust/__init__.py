"""walrust for Python: keeps a verified, restorable copy of every SQLite database in object storage.

    from walrust import Walrust

    walrust = Walrust("s3://my-bucket", endpoint="https://fly.storage.tigris.dev")
    walrust.snapshot("/path/to/app.db")

Each call runs the walrust executable of this package in a child process. The application keeps using its
databases with its own connections: no database file is opened in its process, whose SQLite locks would be
lost when the file is closed. Importing this package starts nothing, and handles no signal.
"""

from ._client import Walrust
from ._running import Replicating, Running, Watching
from .errors import (
    ConfigurationError,
    DatabaseError,
    IntegrityError,
    RestoreError,
    StorageError,
    WalrustError,
)

__all__ = [
    "ConfigurationError",
    "DatabaseError",
    "IntegrityError",
    "Replicating",
    "RestoreError",
    "Running",
    "StorageError",
    "Walrust",
    "WalrustError",
    "Watching",
]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("walrust")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Finds the walrust executable that this package brought along. The only place that knows where it lies.

The executable is searched beside the package first, in whatever way the package was installed, so that two
versions on one machine are never mixed. A walrust on PATH is never taken: it may be another version.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from typing import Iterator

from .errors import ConfigurationError

_NAME = "walrust"


def find_binary() -> str:
    """The path of the executable.

    Raises ConfigurationError when it is not there.
    """
    folders = list(dict.fromkeys(_folders()))
    for folder in folders:
        path = os.path.join(folder, _NAME)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise ConfigurationError(
        f"Cannot find the walrust executable in {', '.join(folders)}",
        "usage",
        2,
        "Install walrust again (pip install --force-reinstall walrust), or give its path as binary",
    )


def _folders() -> Iterator[str]:
    """Folders that pip installs scripts into, the likeliest first."""
    packages = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    # <prefix>/lib/python3.x/site-packages: in a virtual environment, with --user or --prefix.
    prefix = os.path.dirname(os.path.dirname(os.path.dirname(packages)))
    yield os.path.join(prefix, "bin")
    # pip install --target
    yield os.path.join(packages, "bin")
    yield sysconfig.get_path("scripts")
    yield os.path.join(sys.prefix, "bin")
    yield sysconfig.get_path("scripts", "posix_user")

"""Shared by the tests of the Python package: databases, places, and programs in the place of walrust."""

import contextlib
import os
import pathlib
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
import typing
import unittest

from walrust import Walrust

#: The limit of every wait, in seconds. A wait ends with its condition.
LIMIT = 30.0

# A busy machine may need longer than 5 s for the last uploads.
os.environ["WALRUST_SYNC_SHUTDOWN_TIMEOUT"] = "60"


class PlaceTest(unittest.TestCase):
    """A test with a folder of its own: a database app.db, and a bucket."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="walrust-python-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name).resolve()
        self.path = self.folder / "app.db"
        self.bucket = f"file://{self.folder}/bucket"
        self.walrust = Walrust(self.bucket)

    def create(self, path=None, rows=1):
        """Makes a database in WAL mode with rows. The test's end closes the connection."""
        connection = sqlite3.connect(path or self.path)
        self.addCleanup(connection.close)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        insert(connection, rows)
        return connection

    def rows(self, path):
        """The number of notes in a database."""
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return connection.execute("SELECT count(*) FROM notes").fetchone()[0]

    def restored_rows(self, name="app"):
        """The number of notes in the newest state of the bucket."""
        path = self.folder / f"restored-{time.monotonic_ns()}.db"
        self.walrust.restore(name, path)
        return self.rows(path)

    def program(self, source):
        """The path of a program in the place of walrust. Its variables: verb, words, and the function say."""
        path = self.folder / "program"
        prelude = """
            import json, os, signal, sys, time
            owner, verb, words = sys.argv[1:3], sys.argv[3], sys.argv[4:]
            def say(document):
                print(json.dumps(document), flush=True)
            configuration = sys.stdin.readline()
            def wait():
                sys.stdin.readline()
        """
        text = f"#!{sys.executable}\n{textwrap.dedent(prelude)}\n{textwrap.dedent(source)}"
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def application(self, source, *words, **options):
        """Starts a Python program. The test's end kills it."""
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(source), *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process


def insert(connection, rows=1):
    """Commits notes."""
    with connection:
        connection.executemany("INSERT INTO notes (text) VALUES (?)", [("a note",)] * rows)


def eventually(what, condition):
    """Waits for a condition. Returns what it returned."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"not in time: {what}")


def is_running(pid):
    """Whether a process is there, and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def differences(value, annotation, at=""):
    """The places where a document differs from its type: keys, types and listed texts."""
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Union:
        found = [differences(value, one, at) for one in arguments]
        return [] if [] in found else min(found, key=len)
    if origin is typing.Literal:
        is_listed = any(value == one and type(value) is type(one) for one in arguments)
        return [] if is_listed else [f"{at} is {value!r}, expected one of {arguments}"]
    if origin is list:
        if not isinstance(value, list):
            return [f"{at} is {value!r}, expected a list"]
        places = [(one, f"{at}[{index}]") for index, one in enumerate(value)]
        return [text for one, place in places for text in differences(one, arguments[0], place)]
    if origin is dict:
        if not isinstance(value, dict):
            return [f"{at} is {value!r}, expected a dictionary"]
        places = [(one, f"{at}.{key}") for key, one in value.items()]
        return [text for one, place in places for text in differences(one, arguments[1], place)]
    if hasattr(annotation, "__total__"):
        return _key_differences(value, annotation, at)
    allowed = (int, float) if annotation is float else annotation
    is_right = isinstance(value, allowed) and not (isinstance(value, bool) and annotation is not bool)
    return [] if is_right else [f"{at} is {value!r}, expected {annotation}"]


def _key_differences(value, annotation, at):
    if not isinstance(value, dict):
        return [f"{at} is {value!r}, expected {annotation.__name__}"]
    hints = typing.get_type_hints(annotation)
    wrong = [f"{at}.{key} is only in one of both" for key in hints.keys() ^ value.keys()]
    for key in hints.keys() & value.keys():
        wrong.extend(differences(value[key], hints[key], f"{at}.{key}"))
    return wrong


def event_type(union, event):
    """The class of an event."""
    for one in typing.get_args(union):
        if typing.get_args(typing.get_type_hints(one)["event"]) == (event["event"],):
            return one
    raise AssertionError(f"there is no class for the event {event!r}")

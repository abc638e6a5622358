"""The options of a call as words of a command line. The table of options is generated from walrust's own."""

from __future__ import annotations

import difflib
import os
from datetime import datetime, timedelta
from typing import Any, Mapping

from ._options import OPTIONS

#: Kinds of the parameters that calls have beside their options.
_OWN = {
    "bucket": "text",
    "endpoint": "text",
    "config": "path",
    "output": "path",
    "local": "path",
    "point_in_time": "text",
    "force": "switch",
    "if_db_not_exists": "switch",
    "if_replica_exists": "switch",
    "all": "switch",
}


def flag_words(verb: str, own: Mapping[str, Any], options: Mapping[str, Any]) -> list[str]:
    """The words for the parameters of a call and its further options, without those that are None.

    Raises TypeError for an option that the verb does not have, or a value of another type. The range of a
    value is checked by walrust.
    """
    for name in options:
        if name not in OPTIONS[verb]:
            nearest = difflib.get_close_matches(name, OPTIONS[verb], 1)
            hint = f". Did you mean {nearest[0]}?" if nearest else ""
            raise TypeError(f"{verb}() got an unexpected keyword argument {name!r}{hint}")
    words: list[str] = []
    for name, value in own.items():
        if value is not None and value is not False:
            words.extend(_words(verb, name, _OWN[name], value))
    for name, value in options.items():
        if value is not None:
            words.extend(_words(verb, name, OPTIONS[verb][name], value))
    return words


def _words(verb: str, name: str, kind: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if kind == "percent" and isinstance(value, bool):
        return [flag] if value else []
    if kind == "texts" and not isinstance(value, str):
        return [f"{flag}={_text(verb, name, 'text', one)}" for one in value]
    return [f"{flag}={_text(verb, name, kind, value)}"]


def point_in_time_text(point: Any) -> str:
    """A point in time in the words of `--point-in-time`.

    Raises ValueError for a datetime without a time zone, which could be any of a day.
    """
    if isinstance(point, str):
        return point
    if not isinstance(point, datetime):
        raise TypeError(f"point_in_time is {shown(point)}, expected a text or a datetime")
    if point.utcoffset() is None:
        raise ValueError(f"point_in_time is {shown(point)}, expected a datetime with a time zone")
    return point.isoformat()


def shown(value: Any) -> str:
    """A value in a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _text(verb: str, name: str, kind: str, value: Any) -> str:
    """The text of a value that has one of the types of its kind."""
    if kind == "switch" and isinstance(value, bool):
        return "true" if value else "false"
    if kind == "path" and isinstance(value, (str, os.PathLike)):
        return os.fsdecode(value)
    if kind in ("text", "texts", "duration", "bytes") and isinstance(value, str):
        return value
    if kind in ("seconds", "duration", "milliseconds") and isinstance(value, timedelta):
        seconds = value.total_seconds()
        return _number(round(seconds * 1000) if kind == "milliseconds" else seconds)
    is_whole = kind in ("count", "bytes", "milliseconds")
    is_number = is_whole or kind in ("seconds", "duration", "percent", "number")
    if is_number and isinstance(value, int if is_whole else (int, float)) and not isinstance(value, bool):
        return _number(value)
    raise TypeError(f"{verb}(): {name} is {shown(value)}, expected {_EXPECTED[kind]}")


#: The types of a kind, for messages.
_EXPECTED = {
    "switch": "True or False",
    "path": "a path",
    "text": "a text",
    "texts": "texts",
    "bytes": "a number of bytes, or a text such as '5GB'",
    "count": "a whole number",
    "milliseconds": "a whole number of milliseconds or a timedelta",
    "seconds": "a number of seconds or a timedelta",
    "duration": "a number of seconds, a timedelta, or a text such as '24h'",
    "percent": "True or a percentage",
    "number": "a number",
}


def _number(value: float) -> str:
    """A number without an exponent, which the command line does not know, and with six decimals at most."""
    if isinstance(value, int) or value.is_integer():
        return str(int(value))
    return f"{value:.6f}".rstrip("0").rstrip(".")

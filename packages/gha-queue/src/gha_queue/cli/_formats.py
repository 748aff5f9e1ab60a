"""Durations, times and foreign text, from and for people."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gha_queue._records import Json

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>[smhd]?)")


def duration(value: str | float) -> float:
    """Read an option as seconds: a number, or one with s, m, h or d behind it."""
    match = _DURATION.fullmatch(str(value))
    if match is None:
        raise click.BadParameter(f"{value!r} is no duration: use 90, 90s, 15m, 12h or 7d")
    return float(match["number"]) * _UNITS[match["unit"] or "s"]


def spoken(seconds: float) -> str:
    """Return a duration in its two largest units: `3m 20s`."""
    left = round(seconds)
    parts: list[str] = []
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, int(_UNITS[unit]))
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def local_time(moment: float) -> str:
    """Return a time since 1970 as this machine's date and time of day."""
    return dt.datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def one_line(text: str) -> str:
    """Return text that stays in its line and says nothing to the terminal: printable, no tabs."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def error_line(error: Json) -> str:
    """Return what an attempt's error says, in one line."""
    if error is None:
        return ""
    if isinstance(error, str):
        return one_line(error)
    message = error.get("message") if isinstance(error, dict) else None
    return one_line(message if isinstance(message, str) else json.dumps(error, ensure_ascii=False))

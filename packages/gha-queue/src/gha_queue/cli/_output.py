"""How things are read and printed: durations, foreign text, tables, tab-separated lines, JSON."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import re
import sys
from typing import TYPE_CHECKING, Generic, TypeVar

import click

from gha_queue._records import DELAY_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.console import Console, RenderableType

    from gha_queue._records import Json

_T = TypeVar("_T")

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>[smhd]?)")
_SHORTEST_PROSE = 24
_GAP = 3  # between two columns of a table


class Kind(enum.Enum):
    """What a value is, which decides how people want to read it."""

    TEXT = "text"
    PROSE = "prose"
    COUNT = "count"
    SECONDS = "seconds"


@dataclasses.dataclass(frozen=True)
class Column(Generic[_T]):
    """One column of a list: its title, where its value comes from and what that is.

    A narrow terminal leaves the spare ones out, the last one first.
    """

    title: str
    value: Callable[[_T], object]
    kind: Kind = Kind.TEXT
    spare: bool = False


def say(text: str) -> None:
    """Tell the person at the terminal something, in one line on stderr."""
    click.echo(f"gha-queue: {one_line(text)}", err=True)


def is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def console() -> Console:
    """Return the terminal. Colours come and go with NO_COLOR, FORCE_COLOR and TERM."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def print_json(thing: object) -> None:
    """Print one JSON document in one line, and at once: a reader may be waiting for it."""
    click.echo(json.dumps(thing, default=_plain))


def print_list(items: Iterable[_T], columns: Sequence[Column[_T]], *, as_json: bool) -> None:
    """Print one line per item, or a table of all."""
    if as_json:
        for item in items:
            print_json(item)
    elif is_terminal():
        _print_table(items, columns)
    else:
        for item in items:
            print_fields(_for_programs(column.value(item), column.kind) for column in columns)


def print_one(thing: object, facts: Sequence[tuple[str, object, Kind]], *, as_json: bool) -> None:
    """Print one thing as its facts: a line for each, with its name."""
    if as_json:
        print_json(thing)
    elif is_terminal():
        console().print(facts_table(facts))
    else:
        for name, value, kind in facts:
            print_fields((name.replace(" ", "_"), _for_programs(value, kind)))


def print_word(word: str, thing: object, *, as_json: bool) -> None:
    """Print an answer of one word, as JSON all there is to say."""
    if as_json:
        print_json(thing)
    else:
        click.echo(word)


def print_fields(fields: Iterable[str]) -> None:
    click.echo("\t".join(fields))


def facts_table(facts: Sequence[tuple[str, object, Kind]]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for name, value, kind in facts:
        table.add_row(Text(name, style="dim"), Text(for_people(value, kind)))
    return table


def for_people(value: object, kind: Kind) -> str:
    if value is None:
        return "-"
    if kind is Kind.SECONDS and isinstance(value, (int, float)):
        return spoken(value)
    return one_line(str(value))


def _for_programs(value: object, kind: Kind) -> str:
    if value is None:
        return ""
    if kind is Kind.SECONDS and isinstance(value, (int, float)):
        return f"{value:.0f}"
    return one_line(str(value))


def _print_table(items: Iterable[_T], columns: Sequence[Column[_T]]) -> None:
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    rows = list(items)
    cells = {
        column: [for_people(column.value(item), column.kind) for item in rows] for column in columns
    }
    natural = {column: max(map(cell_len, (column.title, *cells[column]))) for column in columns}
    widths = {
        column: min(_SHORTEST_PROSE, width) if column.kind is Kind.PROSE else width
        for column, width in natural.items()
    }
    terminal = console()

    def needed() -> int:
        return sum(width + _GAP for width in widths.values())

    for column in reversed(columns):
        if column.spare and needed() > terminal.width:
            del widths[column]
    left = max(0, terminal.width - needed())
    terminal.width = max(terminal.width, needed())  # ids are never cut, so lines may be broken
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, width in widths.items():
        table.add_column(
            column.title,
            width=min(natural[column], width + left),
            justify="right" if column.kind in {Kind.COUNT, Kind.SECONDS} else "left",
            no_wrap=True,
        )
    for row in zip(*(cells[column] for column in widths), strict=True):
        table.add_row(*map(Text, row))
    terminal.print(table)


def _plain(thing: object) -> Json:
    if isinstance(thing, enum.Enum):
        return thing.value
    if isinstance(thing, frozenset):
        return sorted(thing)
    if dataclasses.is_dataclass(thing):
        return {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}
    raise TypeError(f"{type(thing).__name__} is not printed as JSON")


def duration(value: str | float) -> float:
    """Read an option as seconds: a number, or one with s, m, h or d behind it."""
    match = _DURATION.fullmatch(str(value))
    if match is None:
        raise click.BadParameter(f"{value!r} is no duration: use 90, 90s, 15m, 12h or 7d")
    seconds = float(match["number"]) * _UNITS[match["unit"] or "s"]
    if seconds > DELAY_LIMIT:
        raise click.BadParameter(f"{value!r} is too long: give at most 10 years (3650d)")
    return seconds


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

"""The one place that decides how things are printed: table, tab-separated lines or JSON."""

from __future__ import annotations

import dataclasses
import enum
import json
import sys
from typing import TYPE_CHECKING, Generic, TypeVar

import click

from gha_queue.cli._formats import local_time, one_line, spoken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.console import Console, RenderableType

    from gha_queue._records import Json

_T = TypeVar("_T")


class Kind(enum.Enum):
    """What a value is, which decides how people want to read it."""

    TEXT = "text"
    PROSE = "prose"
    COUNT = "count"
    SECONDS = "seconds"
    MOMENT = "moment"


@dataclasses.dataclass(frozen=True)
class Column(Generic[_T]):
    """One column of a list: its title, where its value comes from and what that is."""

    title: str
    value: Callable[[_T], object]
    kind: Kind = Kind.TEXT


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
        console().print(_table(items, columns))
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
    if kind is Kind.MOMENT and isinstance(value, (int, float)):
        return local_time(value)
    return one_line(str(value))


def _for_programs(value: object, kind: Kind) -> str:
    if value is None:
        return ""
    if kind in {Kind.SECONDS, Kind.MOMENT} and isinstance(value, (int, float)):
        return f"{value:.0f}"
    return one_line(str(value))


def _table(items: Iterable[_T], columns: Sequence[Column[_T]]) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        right = column.kind in {Kind.COUNT, Kind.SECONDS}
        # Where the terminal is narrow, prose is cut before any id is.
        table.add_column(
            column.title,
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=column.kind is not Kind.PROSE,
        )
    for item in items:
        table.add_row(
            *(
                Text(for_people(column.value(item), column.kind), no_wrap=True, overflow="ellipsis")
                for column in columns
            )
        )
    return table


def _plain(thing: object) -> Json:
    if isinstance(thing, enum.Enum):
        return thing.value
    if dataclasses.is_dataclass(thing):
        return {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}
    raise TypeError(f"{type(thing).__name__} is not printed as JSON")

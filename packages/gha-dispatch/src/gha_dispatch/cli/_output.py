"""How things are printed: columns for people, tab-separated lines for programs, JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def say(text: str) -> None:
    """Tell the person at the terminal something, in one line on stderr."""
    click.echo(f"gha-dispatch: {one_line(text)}", err=True)


def print_json(thing: object) -> None:
    """Print one JSON document in one line."""
    click.echo(json.dumps(thing, default=_plain))


def print_rows(rows: Iterable[Sequence[str | None]]) -> None:
    """Print one line per row: aligned columns on a terminal, tabs between them anywhere else."""
    cells = [[one_line(cell or "-") for cell in row] for row in rows]
    if sys.stdout is None or not sys.stdout.isatty():  # None where the shell closed it: >&-
        for row in cells:
            click.echo("\t".join(row))
        return
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def one_line(text: str) -> str:
    """Return text that stays in its line and says nothing to the terminal: printable, no tabs."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def _plain(thing: object) -> object:
    if isinstance(thing, frozenset):
        return sorted(thing)
    if dataclasses.is_dataclass(thing):
        return {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}
    raise TypeError(f"{type(thing).__name__} is not printed as JSON")

"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import click

from gha_queue._views import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_F = TypeVar("_F", bound="Callable[..., object]")


def queue_and_json(command: _F) -> _F:
    """Give a command `url` and `as_json`, which every command has."""
    queue = click.option(
        "-q",
        "--queue",
        "url",
        metavar="URL",
        envvar="GHA_QUEUE_URL",
        show_envvar=True,
        required=True,
        callback=_check_place,
        help="The queue: s3://bucket/prefix or file:///absolute/directory.",
    )
    as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, a line each.")
    return queue(as_json(command))


def _check_place(_context: click.Context, _option: click.Parameter, url: str) -> str:
    if url.startswith("memory:"):
        raise click.BadParameter(
            "a queue in memory ends with this command: use s3:// or file:///, or Queue in Python"
        )
    return url


def state_option(states: Iterable[State], help: str) -> Callable[[_F], _F]:  # noqa: A002
    """Give a command `state`, one of these states or None."""
    return click.option(
        "--state",
        type=click.Choice([state.value for state in states]),
        callback=lambda _context, _option, name: name and State(name),
        help=help,
    )

"""How `gha doctor` is called: it is a command of every flow, and one of `metaflow` that needs no flow."""

from __future__ import annotations

from typing import Any

from metaflow._vendor import click

HELP = (
    "Check all that a run on GitHub Actions needs, on this machine, on GitHub and in the bucket, and print the "
    "commands that mend what is wrong. Exits with 1 when something must be mended."
)

OPTIONS = (
    click.option(
        "--fix",
        is_flag=True,
        help="Write a missing workflow file, enable a disabled workflow, set missing secrets and variables. Nothing is "
        "overwritten, committed or pushed.",
    ),
    click.option(
        "--json", "machine", is_flag=True, help="Print JSON, as the last line of the output."
    ),
)


def doctor_options(command: Any) -> Any:
    """Give a click command the options of `gha doctor`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command

"""What `gha doctor` prints: a table for people, with the commands below it, and JSON for machines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from metaflow_extensions.gha.doctor.checks import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metaflow_extensions.gha.doctor.checks import Check

MARKS = {
    Status.OK: ("✓", "green"),
    Status.WARNING: ("!", "yellow"),
    Status.FAILED: ("✗", "red"),
    Status.SKIPPED: ("-", "dim"),
}


def print_table(checks: Sequence[Check]) -> None:
    """Print to stdout. The commands stand below the table, unwrapped, so that they can be copied whole."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    names = max(len(check.name) for check in checks)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for check in checks:
        mark, style = MARKS[check.status]
        if console.is_terminal:
            dim = "dim" if check.status is Status.SKIPPED else ""
            table.add_row(Text(mark, style), Text(check.name, dim), Text(check.found, dim))
        else:  # in a file or a pipe a line is for grep
            console.print(Text(f"{mark}  {check.name:{names}}  {check.found}"), soft_wrap=True)
    if console.is_terminal:
        console.print(table)
    for check in checks:
        if check.remedy:
            console.print()
            console.print(Text(check.name, MARKS[check.status][1]))
            for command in check.remedy:
                console.print(Text(f"  {command}"), soft_wrap=True)
    console.print()
    console.print(Text(summary(checks)), soft_wrap=True)


def summary(checks: Sequence[Check]) -> str:
    """One line on the whole."""
    count = {status: sum(check.status is status for check in checks) for status in Status}
    if count[Status.FAILED]:
        return f"{count[Status.FAILED]} of {len(checks)} must be mended before a run on GitHub Actions can work."
    if count[Status.WARNING]:
        return "Ready for a run with --with=gha; what is marked with ! deserves a look."
    return "Ready for a run with --with=gha."


def as_json(checks: Sequence[Check], fixed: Sequence[str]) -> str:
    """The checks and what `--fix` did, on one line. The keys and names are stable; the words of `found` are not."""
    shown = [
        {
            "name": check.name,
            "status": check.status.value,
            "found": check.found,
            "remedy": list(check.remedy),
        }
        for check in checks
    ]
    return json.dumps({"checks": shown, "fixed": list(fixed)})

"""The worker's own log: one line per event, fit for a public log."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TextIO


class Journal:
    """Prints events at once. Names of jobs appear in it, their output never does."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stdout if out is None else out

    def worker(self, event: str) -> None:
        """Something that concerns the worker itself."""
        self._line(event)

    def job(self, name: str, event: str, seconds: float | None = None) -> None:
        """A new state of a job."""
        took = "" if seconds is None else f"  {seconds:.1f} s"
        self._line(f"{name}  {event}{took}")

    def _line(self, text: str) -> None:
        clock = time.strftime("%H:%M:%SZ", time.gmtime())
        # A workflow log obeys commands in its lines: "##[" is one anywhere in a line.
        shown = "".join(char if char.isprintable() else "?" for char in text).replace("##[", "## [")
        # A log that nobody reads any more must not stop the work.
        with contextlib.suppress(OSError):
            print(clock, shown, file=self._out, flush=True)

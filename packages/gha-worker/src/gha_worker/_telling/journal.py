"""The worker's own log: lines that are fit for everybody to read.

In GitHub Actions a log obeys commands in its lines, which hide secrets and fold what is long:
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, TextIO

from gha_worker._telling.masks import escape_data, mask_commands, masked_end

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gha_worker._jobs.record import JobRecord

_ECHOED = 1 << 20
"""So many bytes of a job's output are shown at most: the end says what went wrong."""

_NOBODY_READS = frozenset({errno.EPIPE, errno.EIO})


class Journal:
    """Prints events at once; safe to call from any thread, lines of several never mix.

    Names of jobs appear in it, their output only with `echo`, secrets that it was told of never.
    A log that cannot be written never stops the work.
    """

    def __init__(
        self,
        out: TextIO | None = None,
        environment: Mapping[str, str] = os.environ,
        *,
        echo: bool = False,
    ) -> None:
        self._out = sys.stdout if out is None else out
        self._in_github = environment.get("GITHUB_ACTIONS") == "true"
        self._echo = echo
        self._lock = threading.Lock()
        self._secrets: set[str] = set()

    def mask(self, values: Iterable[str]) -> None:
        """Show none of these values from now on; to be called before their job starts."""
        with self._lock:
            new = set(values) - self._secrets
            self._secrets |= new
            if new and self._in_github:
                self._write(*mask_commands(new))

    def worker(self, event: str) -> None:
        """Something that concerns the worker itself."""
        self._say(_line(event))

    def started(self, title: str, *, attempt: int, slot: int, waited: float) -> None:
        """A job has begun in `slot`, `waited` seconds after it was due."""
        self._say(_line(f"{title}  running  attempt {attempt}, slot {slot}, waited {waited:.1f} s"))

    def ended(self, record: JobRecord, output: Path | None = None) -> None:
        """A job was settled; `output` is the file with what it printed."""
        if self._in_github:
            head = f"::group::{escape_data(_line(_headline(record)))}"
            lines = [head, *(_clean(f"  {detail}") for detail in _details(record))]
        else:
            aside = f"  {record.message}" if record.wrong and record.message else ""
            lines = [_line(_headline(record) + aside)]
        if self._echo and output is not None:
            lines += self._echoed(output)
        if self._in_github:
            lines.append("::endgroup::")
        self._say(*lines)

    def _echoed(self, output: Path) -> list[str]:
        with self._lock:
            known = frozenset(self._secrets)
        try:
            text, before = masked_end(output, _ECHOED, known)
        except OSError:
            return []  # the job has deleted it
        if not text:
            return ["  it printed nothing"]
        lines = [f"  its output without the first {before} bytes:" if before else "  its output:"]
        lines.append(text.removesuffix("\n"))
        if not self._in_github:
            return lines
        # What a job prints must not be obeyed; nobody can guess the word that ends this.
        token = os.urandom(16).hex()
        return [f"::stop-commands::{token}", *lines, f"::{token}::"]

    def _say(self, *lines: str) -> None:
        with self._lock:
            self._write(*lines)

    def _write(self, *lines: str) -> None:
        encoding = self._out.encoding or "utf-8"
        text = "".join(f"{line}\n" for line in lines)
        try:
            self._out.write(text.encode(encoding, "replace").decode(encoding))
            self._out.flush()
        except OSError as error:
            if error.errno in _NOBODY_READS:
                self._fall_silent()
        except ValueError:
            pass  # it was closed

    def _fall_silent(self) -> None:
        # What is left in its buffer would otherwise fail once more as Python ends, which then
        # exits with 120: https://docs.python.org/3/library/signal.html#note-on-sigpipe
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._out.fileno())
            os.close(nowhere)


def _line(text: str) -> str:
    return f"{time.strftime('%H:%M:%SZ', time.gmtime())} {_clean(text)}"


def _clean(text: str) -> str:
    # "##[" is a command anywhere in a line of a workflow's log.
    return "".join(char if char.isprintable() else "?" for char in text).replace("##[", "## [")


def _headline(record: JobRecord) -> str:
    why = f" ({_end(record)})" if record.wrong else ""
    return f"{record.title}  {record.state}{why}  {record.seconds:.1f} s"


def _end(record: JobRecord) -> str:
    if record.reason not in (None, "exited"):
        return str(record.reason)
    if record.signal is not None:
        return record.signal
    return "never started" if record.exit_code is None else f"exit code {record.exit_code}"


def _details(record: JobRecord) -> list[str]:
    peak = "unknown" if record.peak_memory_mb is None else f"{record.peak_memory_mb} MB"
    prepared, ran = _seconds(record.prepared), _seconds(record.ran)
    return [
        f"job {record.job}, attempt {record.attempt}, slot {record.slot}",
        f"waited {record.waited:.1f} s, prepared {prepared}, ran {ran}",
        f"cores {record.cores:g}, memory {record.memory_mb} MB, peak {peak}",
        f"result: {record.message}",
    ]


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f} s"

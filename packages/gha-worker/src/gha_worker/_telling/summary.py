"""What a person sees of one worker on the page of its workflow run: Markdown with a chart.

How it is shown: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#adding-a-job-summary
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gha_worker._jobs.need import spelled
from gha_worker._telling.chart import Chart, mark

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gha_worker._jobs.record import JobRecord
    from gha_worker._machine.capacity import Capacity

LIMIT = 1 << 20
"""Bytes that one step may write in all; GitHub shows nothing of a step that wrote more."""

MOST_ROWS = 400
"""So many jobs stand in the tables."""

_TITLE = 80
_ID = 200
_MESSAGE = 240
_FRAME = 1000  # bytes of what stands round the rows of the tables
_MINUTE = 60
_JOINT = "\u00a0"  # keeps a number and its unit in one line of a cell
_COLUMNS = ("Job", "Outcome", "Waited", "Prepared", "Ran", "Peak memory", "Slot")


class Summary:
    """Counts and draws the jobs of a worker, and keeps 400: what went wrong, then the longest.

    Safe to call from any thread.
    """

    def __init__(self, worker: str, capacity: Capacity) -> None:
        self._worker = worker
        self._cores = capacity.millicores / 1000
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._shown: list[tuple[bool, float, int, JobRecord]] = []
        self._chart = Chart()
        self._states: Counter[str] = Counter()
        self._wrong = 0
        self._core_seconds = 0.0
        self._longest = self._longest_wait = 0.0

    def add(self, record: JobRecord) -> None:
        """Count a job that has ended."""
        with self._lock:
            self._states[record.state] += 1
            self._wrong += record.wrong
            self._core_seconds += record.cores * record.seconds
            self._longest = max(self._longest, record.seconds)
            self._longest_wait = max(self._longest_wait, record.waited)
            self._chart.add(record)
            # Of what went wrong the first says most; of equal jobs the first stays as well.
            rank = -record.ended if record.wrong else record.seconds
            item = (record.wrong, rank, -self._states.total(), record)
            if len(self._shown) < MOST_ROWS:
                heapq.heappush(self._shown, item)
            else:
                heapq.heappushpop(self._shown, item)

    def write(self, environment: Mapping[str, str]) -> None:
        """Append to the summary of the workflow's step; nothing outside GitHub Actions."""
        path = environment.get("GITHUB_STEP_SUMMARY")
        if not path:
            return
        # The journal has told the same: a full disk must not change how the worker ends.
        with suppress(OSError), Path(path).open("ab") as file:
            text = self.text(time.monotonic() - self._began, LIMIT - file.tell())
            file.write(text.encode("utf-8", "replace"))

    def text(self, seconds: float, limit: int = LIMIT) -> str:
        """The summary of a worker that has lived for `seconds`.

        In at most `limit` bytes: empty when not even its first lines fit.
        """
        with self._lock:
            records = [item[-1] for item in sorted(self._shown, reverse=True)]
            total = self._states.total()
            head = f"{self._head(total, seconds)}\n\n"
            drawing = _fenced(self._chart.text())
        room = limit - _size(head) - _size(drawing) - _FRAME
        rows: dict[bool, list[str]] = {True: [], False: []}
        for record in records:
            row = _row(record)
            room -= _size(row)
            if room < 0:
                break
            rows[record.wrong].append(row)
        left_out = _left_out(total - sum(map(len, rows.values())))
        text = head + _table(rows[True]) + drawing + _folded(_table(rows[False])) + left_out
        # The head line alone is better than nothing, and too much is nothing.
        return next((some for some in (text, head) if _size(some) <= limit), "")

    def _head(self, total: int, seconds: float) -> str:
        worker = f"### Worker {_code(self._worker)}: "
        use = self._core_seconds / max(seconds, 1e-3) / self._cores
        life = f"It lived for {_spelled(seconds)} and used {use:.0%} of its {spelled(self._cores)}."
        if not total:
            return f"{worker}no jobs\n\n{life}"
        jobs = "1 job" if total == 1 else f"{total:,} jobs"
        verdict = (
            f"{self._wrong:,} of {jobs} went wrong" if self._wrong else f"{jobs}, none went wrong"
        )
        states = ", ".join(f"{count:,} {state}" for state, count in self._states.most_common())
        extremes = (
            f"The longest job took {_spelled(self._longest)},"
            f" the longest wait was {_spelled(self._longest_wait)}."
        )
        return f"{worker}{verdict}\n\n{states}. {life} {extremes}"


def _row(record: JobRecord) -> str:
    # By its id, not by its name, the queue finds the output of a job.
    named = f" job {_text(record.job, _ID)}" if record.wrong and record.name else ""
    again = f" attempt {record.attempt}" if record.attempt > 1 else ""
    why = f": {_text(record.message, _MESSAGE)}" if record.wrong else ""
    peak = "" if record.peak_memory_mb is None else f"{record.peak_memory_mb} of "
    cells = (
        _code(record.title) + named + again,
        f"{mark(record)} {record.state}{why}",
        _spelled(record.waited),
        _spelled(record.prepared),
        _spelled(record.ran),
        f"{peak}{record.memory_mb} MB".replace(" ", _JOINT),
        str(record.slot),
    )
    return f"| {' | '.join(cells)} |\n"


def _table(rows: list[str]) -> str:
    head = f"| {' | '.join(_COLUMNS)} |\n|{' --- |' * len(_COLUMNS)}\n"
    return f"{head}{''.join(rows)}\n" if rows else ""


def _fenced(chart: str) -> str:
    return f"```mermaid\n{chart}\n```\n\n" if chart else ""


def _folded(table: str) -> str:
    title = "<summary>Jobs that did not go wrong, the longest first</summary>"
    return f"<details>{title}\n\n{table}</details>\n\n" if table else ""


def _left_out(count: int) -> str:
    if not count:
        return ""
    return (
        f"{count:,} more {'job is' if count == 1 else 'jobs are'} left out of the tables, which"
        " show what went wrong first, then what took longest. All are in the timeline that the"
        " worker keeps among its files in the queue.\n\n"
    )


def _spelled(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < _MINUTE:
        return f"{round(seconds, 2):.3g}{_JOINT}s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    parts = (hours, "h", minutes, "min") if hours else (minutes, "min", rest, "s")
    return _JOINT.join(map(str, parts))


def _code(text: str) -> str:
    return f"<code>{_text(text, _TITLE)}</code>"


def _text(text: str, length: int) -> str:
    """`text` as one line that neither Markdown nor HTML reads anything into."""
    short = text if len(text) <= length else f"{text[: length - 1]}…"
    return "".join(map(_entity, short))


def _entity(char: str) -> str:
    if char.isalnum() or char in " -/" or (char.isprintable() and not char.isascii()):
        return char
    return f"&#{ord(char)};" if char.isprintable() else " "


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))

"""A chart of a worker's slots in Mermaid, which GitHub draws in Markdown.

The syntax: https://mermaid.js.org/syntax/gantt.html
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gha_worker._jobs.record import JobRecord

MOST_CHARACTERS = 50_000
"""GitHub's Mermaid refuses a longer text, counted in UTF-16 code units."""

MOST_BARS = 400
"""So many always fit in: each line has at most 100 code units, and each slot's heading 20."""

# With its mark in front a label begins with no word of the syntax ("section", "title", a date ...).
_MARKS = {"succeeded": "✓", "released": "○", "cancelled": "○"}
_WRONG = "✗"
_TAGS = {"✓": "", "○": "done, ", _WRONG: "crit, "}
_NO_LABEL = "\u200b"

_AXES = (
    (10, "1second", "%H:%M:%SZ"),
    (50, "5second", "%H:%M:%SZ"),
    (150, "15second", "%H:%M:%SZ"),
    (900, "1minute", "%H:%MZ"),
    (4500, "5minute", "%H:%MZ"),
    (14_400, "15minute", "%H:%MZ"),
    (54_000, "1hour", "%H:%MZ"),
    (math.inf, "1day", "%b %d"),
)
"""The distance of ticks for spans up to so many seconds, so that each has room for its text."""

# In pixels, about: all bars side by side, one that can still be seen, a character.
_WIDTH = 800
_THINNEST = 4
_PER_CHARACTER = 7

_LABEL = 20
_PLAIN = frozenset(" ._-/+=()@")


def mark(record: JobRecord) -> str:
    """One sign for how a job ended."""
    return _MARKS.get(record.state, _WRONG)


class Chart:
    """A row for each slot, a bar for each job; times are UTC. Red is what went wrong.

    Neighbours that are too short to be told apart share a bar, so that any number of jobs is at
    most 400 bars and takes up little memory.
    """

    def __init__(self) -> None:
        self._bars: list[_Bar] = []

    def add(self, record: JobRecord) -> None:
        """Draw a job that has ended."""
        begin, end = round(record.began * 1000), round(record.ended * 1000)
        self._bars.append(_Bar(record.slot, begin, max(begin, end), mark(record), record.title))
        if len(self._bars) > 4 * MOST_BARS:
            self._bars, _ = _few(self._bars, 2 * MOST_BARS)

    def text(self) -> str:
        """The chart, empty without a job."""
        if not self._bars:
            return ""
        bars, blur = _few(self._bars, MOST_BARS)
        span = _span(bars)
        lines = [
            "---",
            "displayMode: compact",
            "---",
            "gantt",
            "dateFormat YYYY-MM-DD HH:mm:ss.SSS",
            *_axis(span),
            "todayMarker off",
        ]
        slot, free = None, 0
        for bar, following in zip(bars, [*bars[1:], None], strict=True):
            if bar.slot != slot:
                slot, free = bar.slot, 0
                lines.append(f"section slot {slot}")
            # What overlaps would be drawn in a row of its own: a short bar may take some of the
            # next one, but not all of it.
            begin = max(free, bar.begin)
            seen = begin + blur
            if following is not None and following.slot == slot:
                seen = min(seen, following.end - 1)
            free = max(begin + 1, bar.end, seen)
            lines.append(_line(bar, begin, free, (free - begin) / span * _WIDTH))
        return "\n".join(lines)


@dataclass(frozen=True)
class _Bar:
    """One or more jobs of a slot; times in milliseconds."""

    slot: int
    begin: int
    end: int
    mark: str
    title: str
    jobs: int = 1

    def joins(self, following: _Bar, blur: int) -> bool:
        """Whether nobody could tell this bar from the `following` one."""
        if following.slot != self.slot or following.begin - self.end >= blur:
            return False
        if following.end - self.begin < blur:
            return True
        same = self.mark == following.mark
        thin = self.jobs > 1 or self.end - self.begin < blur
        return same and thin and (following.jobs > 1 or following.end - following.begin < blur)

    def extended_by(self, following: _Bar) -> _Bar:
        worst = max(self.mark, following.mark, key=list(_TAGS).index)
        jobs = self.jobs + following.jobs
        end = max(self.end, following.end)
        return _Bar(self.slot, self.begin, end, worst, f"{jobs} jobs", jobs)


def _few(bars: Iterable[_Bar], most: int) -> tuple[list[_Bar], int]:
    """At most `most` bars in their order, but one for each slot, and the milliseconds of blur."""
    found = sorted(bars, key=lambda bar: (bar.slot, bar.begin))
    span = _span(found)
    blur = max(1, span * _THINNEST // _WIDTH)
    while True:
        found = _joined(found, blur)
        if len(found) <= most or blur > span:
            return found, blur
        blur *= 2


def _joined(bars: list[_Bar], blur: int) -> list[_Bar]:
    joined: list[_Bar] = []
    for bar in bars:
        if joined and joined[-1].joins(bar, blur):
            joined[-1] = joined[-1].extended_by(bar)
        else:
            joined.append(bar)
    return joined


def _span(bars: list[_Bar]) -> int:
    return max(1, max(bar.end for bar in bars) - min(bar.begin for bar in bars))


def _axis(span: int) -> tuple[str, str]:
    _, tick, shown = next(axis for axis in _AXES if span <= axis[0] * 1000)
    return f"tickInterval {tick}", f"axisFormat {shown}"


def _line(bar: _Bar, begin: int, end: int, width: float) -> str:
    moment = datetime.fromtimestamp(begin / 1000, timezone.utc).replace(tzinfo=None)
    beginning = moment.isoformat(" ", "milliseconds")
    return f"{_label(bar, width)}: {_TAGS[bar.mark]}{beginning}, {end - begin}ms"


def _label(bar: _Bar, width: float) -> str:
    """Its title, or less where that would cover the next bar."""
    title = bar.title if len(bar.title) <= _LABEL else f"{bar.title[: _LABEL - 1]}…"
    label = f"{bar.mark} {''.join(map(_harmless, title))}"
    if len(label) * _PER_CHARACTER <= width:
        return label
    return bar.mark if bar.mark == _WRONG else _NO_LABEL


def _harmless(char: str) -> str:
    # What has a meaning in Mermaid, or in the HTML that a browser makes of it, is ASCII.
    return char if char.isalnum() or char in _PLAIN or not char.isascii() else "_"

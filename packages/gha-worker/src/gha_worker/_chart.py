"""A chart of a worker's slots in Mermaid, which GitHub draws in Markdown.

The syntax: https://mermaid.js.org/syntax/gantt.html
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from gha_worker._record import JobRecord

MOST_CHARACTERS = 50_000
"""GitHub's Mermaid refuses a longer text, counted in UTF-16 code units."""

MOST_JOBS = 400
"""So many always fit in: each line has at most 100 code units, and each slot's heading 20."""

# The beginning of a label must be none of the syntax's words ("section", "title", a date ...).
_MARKS = {"succeeded": "✓", "released": "○", "cancelled": "○"}
_TAGS = {"succeeded": "", "released": "done, ", "cancelled": "done, "}
_NO_LABEL = "\u200b"

_HOUR = 3600
_LABEL = 20
_WIDTH = 800.0
_PER_CHARACTER = 7.0
_PLAIN = frozenset(" ._-/+=()@")


def chart(records: Collection[JobRecord]) -> str:
    """A row for each slot with a bar for each of at most 400 jobs, in UTC; empty without a job.

    Red is what went wrong, grey what goes on elsewhere. Where a bar is too short for its name it
    has none, lest it cover the next one.
    """
    if not records:
        return ""
    first = min(record.began for record in records)
    span = max(1e-3, max(record.ended for record in records) - first)
    lines = [
        "---",
        "displayMode: compact",
        "---",
        "gantt",
        "dateFormat YYYY-MM-DD HH:mm:ss.SSS",
        f"axisFormat {'%H:%M:%S' if span < _HOUR else '%H:%M'}",
        "todayMarker off",
    ]
    slot = free = 0
    for record in sorted(records, key=lambda record: (record.slot, record.began)):
        if record.slot != slot:
            slot, free = record.slot, 0
            lines.append(f"section slot {slot}")
        # A bar that overlaps another by a moment would be drawn in a row of its own.
        begin = max(free, round(record.began * 1000))
        free = max(begin + 1, round(record.ended * 1000))
        lines.append(_bar(record, begin, free, (free - begin) / 1000 / span * _WIDTH))
    return "\n".join(lines)


def mark(record: JobRecord) -> str:
    """One sign for how a job ended."""
    return _MARKS.get(record.state, "✗")


def _bar(record: JobRecord, begin: int, end: int, width: float) -> str:
    moment = datetime.fromtimestamp(begin / 1000, timezone.utc).isoformat(" ", "milliseconds")[:23]
    tag = _TAGS.get(record.state, "crit, ")
    return f"{_label(record, width)}: {tag}{moment}, {end - begin}ms"


def _label(record: JobRecord, width: float) -> str:
    title = record.title
    if len(title) > _LABEL:
        title = f"{title[: _LABEL - 1]}…"
    label = f"{mark(record)} {''.join(map(_harmless, title))}"
    if len(label) * _PER_CHARACTER <= width:
        return label
    return mark(record) if record.wrong else _NO_LABEL


def _harmless(char: str) -> str:
    # What has a meaning in Mermaid, or in the HTML that a browser makes of it, is ASCII.
    return char if char.isalnum() or char in _PLAIN or not char.isascii() else "_"

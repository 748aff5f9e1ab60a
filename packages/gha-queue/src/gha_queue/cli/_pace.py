"""How fast jobs end, and when the last will."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gha_queue._views import Stats

WINDOW = 60.0


@dataclass(frozen=True)
class Pace:
    """Jobs per second, and the seconds until none is left; None where that is not known."""

    jobs_per_second: float | None
    eta: float | None


class Pacer:
    """Judges the pace by the counts of the last minute.

    Only growth counts: jobs that are purged or retried meanwhile have not ended any less.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._ended = 0
        self._last: int | None = None

    def observe(self, moment: float, stats: Stats) -> Pace:
        """Take in the counts of a moment in seconds, and return the pace so far."""
        ended = stats.dead + stats.succeeded
        if self._last is not None:
            self._ended += max(0, ended - self._last)
        self._last = ended
        self._seen.append((moment, self._ended))
        while len(self._seen) > 2 and moment - self._seen[1][0] >= WINDOW:  # noqa: PLR2004 - two ends
            self._seen.popleft()
        began, before = self._seen[0]
        if moment <= began:
            return Pace(None, None)
        rate = (self._ended - before) / (moment - began)
        left = stats.ready + stats.delayed + stats.running
        if left == 0:
            return Pace(rate, 0.0)
        return Pace(rate, left / rate if rate > 0 else None)

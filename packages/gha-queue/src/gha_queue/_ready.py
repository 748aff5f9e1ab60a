"""Which waiting attempt to try next: a listing of `ready/`, kept for a short while."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gha_queue import _keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gha_queue._calls import Calls
    from gha_queue._keys import Marker

# Seconds a listing is used. Longer would hide urgent jobs and run into ever more lost claims.
KEEP = 15.0


@dataclass(frozen=True)
class Selection:
    """The due markers of a page, by priority, and where the listing should go on (None: ended)."""

    due: tuple[tuple[Marker, ...], ...]
    resume: str | None


def select(keys: Iterable[str], now: float, *, more: bool) -> Selection:
    """Pick what is due from one page of `ready/`.

    Within a priority keys are ordered by due time, so after the first that is not due yet the
    rest of its priority is passed over, by the listing too.
    """
    groups: dict[int, list[Marker]] = {}
    last = ""
    waiting: int | None = None
    for key in keys:
        last = key
        marker = _keys.parse_marker(key)
        if marker is None or marker.priority == waiting:
            continue
        if marker.due > now:
            waiting = marker.priority
            continue
        groups.setdefault(marker.priority, []).append(marker)
    resume = None
    if more and last:
        tail = _keys.parse_marker(last)
        skip = tail is not None and tail.priority == waiting
        resume = f"{_keys.READY}{tail.priority + 1}" if tail and skip else last
        if skip and tail and tail.priority == _keys.PRIORITIES[-1]:
            resume = None
    return Selection(tuple(tuple(group) for _, group in sorted(groups.items())), resume)


class Ready:
    """Hands out due markers, best priority first, each at most once per listing."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._lock = threading.Lock()
        self._groups: list[deque[Marker]] = []
        self._listed = float("-inf")

    def forget(self) -> None:
        """Make the next look a fresh one."""
        with self._lock:
            self._groups = []

    def next(self, accept: Callable[[str], bool] | None) -> Marker | None:
        """Return a due marker that `accept` takes, None if there is none."""
        with self._lock:
            if self._calls.runtime.monotonic() - self._listed <= KEEP:
                marker = self._take(accept)
                if marker is not None:
                    return marker
            for groups in self._listing():
                self._groups = groups
                marker = self._take(accept)
                if marker is not None:
                    return marker
            return None

    def _listing(self) -> Iterator[list[deque[Marker]]]:
        resume: str | None = ""
        self._listed = self._calls.runtime.monotonic()
        while resume is not None:
            page = self._calls.page(_keys.READY, resume)
            now = self._calls.meter.now
            selection = select((entry.key for entry in page.entries), now, more=page.more)
            yield [self._spread(group) for group in selection.due]
            resume = selection.resume

    def _spread(self, group: tuple[Marker, ...]) -> deque[Marker]:
        # Workers that listed the same page start at different places, so they rarely collide.
        markers = deque(group)
        markers.rotate(-self._calls.runtime.random.randrange(len(group)))
        return markers

    def _take(self, accept: Callable[[str], bool] | None) -> Marker | None:
        for group in self._groups:
            for marker in group:
                if accept is None or accept(marker.need):
                    group.remove(marker)
                    return marker
        return None

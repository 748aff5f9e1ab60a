"""Which waiting attempt to try next: a page of the listing of `ready/`, kept for a short while."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gha_queue import _keys

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from gha_queue._calls import Calls
    from gha_queue._keys import Marker

# Seconds until the head of the listing is looked at again: so long may an urgent job be overlooked.
KEEP = 15.0
# A page on which a taken marker was met was too old, so the next is used for a part of that time
# only; each page that shows none may be used longer than the last.
SHORTEN, LENGTHEN, SHORTEST = 0.8, 1.5, 1.0


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
    """Hands out due markers, best priority first, each at most once per listing.

    Workers that listed the same page start at different places of it. One that finds a marker
    taken has met the trail of another and turns the page, if there is a next one. So workers
    spread over a long queue and seldom meet, at the price of order: within a priority there is
    none, and where many workers meet, some go on to a worse priority before a better is done.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._lock = threading.Lock()
        self._groups: list[deque[Marker]] = []
        self._resume: str | None = None
        self._head_seen = self._listed = float("-inf")
        self._fresh = KEEP
        self._head_is_new = False
        self._best = 0  # priority of the page

    def next(
        self, accept: Callable[[str], bool] | None = None, tried: Collection[str] = ()
    ) -> Marker | None:
        """Return a due marker that `accept` takes and whose key is not in `tried`, else None."""
        with self._lock:
            head_is_new, self._head_is_new = self._head_is_new, False
            now = self._calls.runtime.monotonic()
            if now - self._head_seen > KEEP:
                self._groups, self._resume = [], None
            if now - self._listed > self._fresh:
                self._groups = []
            marker = self._take_here_or_after(accept, tried)
            if marker is None and not head_is_new:
                self._list("")
                marker = self._take_here_or_after(accept, tried)
            return marker

    def needs(self) -> frozenset[str]:
        """Return the needs of the best priority on the page."""
        with self._lock:
            best = next((group for group in self._groups if group), ())
            return frozenset(marker.need for marker in best)

    def turn_page(self) -> None:
        """Say that a marker was taken already, and list again."""
        with self._lock:
            age = self._calls.runtime.monotonic() - self._listed
            # The listing lengthens it again.
            self._fresh = max(SHORTEST, SHORTEN * min(self._fresh, age) / LENGTHEN)
            best, after = self._best, self._resume or ""
            self._list(after)
            if after and self._best > best:  # others may have left better ones behind
                self._list("")
            self._head_is_new = self._head_seen == self._listed

    def _take_here_or_after(
        self, accept: Callable[[str], bool] | None, tried: Collection[str]
    ) -> Marker | None:
        marker = self._take(accept, tried)
        while marker is None and self._resume is not None:
            self._list(self._resume)
            marker = self._take(accept, tried)
        return marker

    def _list(self, after: str) -> None:
        page = self._calls.page(_keys.READY, after)
        now = self._calls.meter.now
        selection = select((entry.key for entry in page.entries), now, more=page.more)
        self._groups = [self._spread(group) for group in selection.due]
        self._resume = selection.resume
        self._listed = self._calls.runtime.monotonic()
        self._fresh = min(KEEP, self._fresh * LENGTHEN)
        self._best = selection.due[0][0].priority if selection.due else len(_keys.PRIORITIES)
        if not after:
            self._head_seen = self._listed

    def _spread(self, group: tuple[Marker, ...]) -> deque[Marker]:
        markers = deque(group)
        markers.rotate(-self._calls.runtime.random.randrange(len(group)))
        return markers

    def _take(self, accept: Callable[[str], bool] | None, tried: Collection[str]) -> Marker | None:
        for group in self._groups:
            for marker in group:
                if marker.key not in tried and (accept is None or accept(marker.need)):
                    group.remove(marker)
                    return marker
        return None

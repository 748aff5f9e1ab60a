"""A store in this process's memory, for tests of programs that use a queue."""

from __future__ import annotations

import bisect
import itertools
import threading
import time
from typing import TYPE_CHECKING

from gha_queue._store import Created, Done, Entry, Found, Page

if TYPE_CHECKING:
    from collections.abc import Callable


class MemoryStore:
    """Keys in a dictionary. Safe to share between threads; `clock` gives the store's time.

    Other processes do not see it, and a forked one gets a copy. Nothing outlives the process.
    """

    def __init__(self, place: str, clock: Callable[[], float] = time.time) -> None:
        self._place = place
        self._clock = clock
        self._lock = threading.Lock()
        self._objects: dict[str, tuple[bytes, float]] = {}
        self._keys: list[str] = []

    @property
    def place(self) -> str:
        return self._place

    def create(self, key: str, body: bytes) -> Created:
        with self._lock:
            absent = key not in self._objects
            if absent:
                self._put(key, body)
            return Created(won=absent, date=self._clock())

    def write(self, key: str, body: bytes) -> Done:
        with self._lock:
            self._put(key, body)
            return Done(self._clock())

    def read(self, key: str) -> Found:
        with self._lock:
            body, modified = self._objects.get(key, (None, 0.0))
            return Found(body, modified, self._clock())

    def list(self, prefix: str, after: str, limit: int) -> Page:
        with self._lock:
            start = max(bisect.bisect_left(self._keys, prefix), bisect.bisect(self._keys, after))
            found = itertools.islice(self._keys, start, start + limit + 1)
            keys = list(itertools.takewhile(lambda key: key.startswith(prefix), found))
            entries = tuple(Entry(key, self._objects[key][1]) for key in keys[:limit])
            return Page(entries, len(keys) > limit, self._clock())

    def delete(self, key: str) -> Done:
        with self._lock:
            if self._objects.pop(key, None) is not None:
                del self._keys[bisect.bisect_left(self._keys, key)]
            return Done(self._clock())

    def _put(self, key: str, body: bytes) -> None:
        if key not in self._objects:
            bisect.insort(self._keys, key)
        self._objects[key] = (body, self._clock())


_stores: dict[str, MemoryStore] = {}
_stores_lock = threading.Lock()


def memory_store(name: str) -> MemoryStore:
    """Return the store of this name, the same one for the whole life of the process."""
    with _stores_lock:
        return _stores.setdefault(name, MemoryStore(f"memory://{name}"))

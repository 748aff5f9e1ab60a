"""Wakes a thread that waits, from any other thread or from a signal."""

from __future__ import annotations

import contextlib
import math
import os
import select
import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_CHUNK = 4096


class Readable(Protocol):
    """Anything that has a descriptor to wait for."""

    def fileno(self) -> int: ...


def wait_for(seconds: float, descriptors: Iterable[int]) -> None:
    """Sleep until one of `descriptors` can be read or has ended, or the time is over."""
    # Not select, which takes none above 1,023: a worker of a few hundred jobs has more.
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    poll.poll(math.ceil(max(0.0, seconds) * 1000))


class Bell:
    """Rung from anywhere, it ends the current or the next :meth:`wait` of its one owner.

    A pipe and no condition, so that its owner can wait for processes at the same time.
    """

    def __init__(self) -> None:
        # A late ring must not write into whatever has the number of a closed pipe by then.
        self._lock = threading.Lock()
        self._closed = False
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self.writer, False)

    def ring(self) -> None:
        """End the current or the next wait. Not for a signal's handler, which could meet the lock."""
        with self._lock:
            if not self._closed:
                with contextlib.suppress(BlockingIOError):
                    os.write(self.writer, b"\0")

    def wait(self, seconds: float, others: Sequence[Readable] = ()) -> None:
        """Sleep until the bell rings, something can be read in `others`, or the time is over."""
        wait_for(seconds, [self._reader, *(other.fileno() for other in others)])
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, _CHUNK)

    def close(self) -> None:
        """Free the pipe; a ring after this does nothing."""
        with self._lock:
            self._closed = True
            os.close(self._reader)
            os.close(self.writer)

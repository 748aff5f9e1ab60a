"""Signals that ask the worker to stop, as something that can be waited for."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType, TracebackType

    from typing_extensions import Self

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CHUNK = 4096


class Readable(Protocol):
    """Anything `select` can wait for."""

    def fileno(self) -> int: ...


class StopSignals:
    """Within its context SIGINT, SIGTERM and SIGHUP set `received` and wake :meth:`wait`.

    A second signal changes nothing, so that it cannot break off what the first one began. Only
    the main thread can enter it.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def __enter__(self) -> Self:
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._handlers_before = {
            number: signal.signal(number, self._receive) for number in STOP_SIGNALS
        }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._reader)
        os.close(self._writer)

    def wake(self) -> None:
        """End the current or the next :meth:`wait`; safe to call from any thread."""
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._writer, b"\0")

    def wait(self, seconds: float, others: Sequence[Readable] = ()) -> None:
        """Sleep until a signal, a :meth:`wake`, something to read in `others`, or the time."""
        readable = [self._reader, *(other.fileno() for other in others)]
        select.select(readable, [], [], max(0.0, seconds))
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, _CHUNK)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signal.Signals(number)

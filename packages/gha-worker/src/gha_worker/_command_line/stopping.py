"""Signals to a command that waits for others."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, TypeVar

from gha_worker._signals import STOP_SIGNALS

if TYPE_CHECKING:
    from concurrent.futures import Future
    from types import FrameType, TracebackType

    from typing_extensions import Self

_T = TypeVar("_T")

_SAME_WISH = 1.0
_LOOK = 0.25


class StoppedError(Exception):
    """A signal has told this command to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


class Stop:
    """Within its context the first signal to stop ends :meth:`wait`, and a later one everything.

    What comes within a second of the first is the same wish: a program that started this one may
    pass a Ctrl-C on to it that the terminal has sent to both.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._received_at = 0.0

    def __enter__(self) -> Self:
        # What is ignored already, as under nohup, stays so.
        heeded = [one for one in STOP_SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._receive) for number in heeded}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait(self, future: Future[_T]) -> _T:
        """The result of `future`; raises StoppedError if a signal comes first, or came before."""
        from concurrent.futures import wait

        # With a time limit: of two signals at once another thread may be given both, and then
        # nothing wakes this one, in which alone they are noticed.
        while True:
            self.check()
            if wait([future], _LOOK).done:
                return future.result()

    def check(self) -> None:
        """Raise StoppedError if a signal has come."""
        if self._received is not None:
            raise StoppedError(self._received)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._received is not None:
            if now >= self._received_at + _SAME_WISH:
                os._exit(128 + number)
            return
        self._received, self._received_at = number, now

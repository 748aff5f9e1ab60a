"""Signals that ask the worker to stop."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from gha_worker._bell import Bell

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from typing_extensions import Self

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

PATIENCE = 5.0
"""Seconds in which jobs stop and are settled, with or without the main thread."""


class StopSignals:
    """Within its context SIGINT, SIGTERM and SIGHUP set `received` and ring `bell`.

    A second signal changes nothing, so that it cannot break off what the first one began. What has
    not been :meth:`heeded` after 5 seconds, because the main thread waits for a store that hangs,
    is ended by SystemExit. Only the main thread can enter it.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.bell = Bell()

    def __enter__(self) -> Self:
        self._wakeup_before = signal.set_wakeup_fd(self.bell.writer, warn_on_full_buffer=False)
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
        self.heeded()
        signal.set_wakeup_fd(self._wakeup_before)
        self.bell.close()

    def heeded(self) -> None:
        """The main thread is about to leave by itself."""
        signal.setitimer(signal.ITIMER_REAL, 0.0)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signal.Signals(number)
            signal.signal(signal.SIGALRM, self._break_off)
            signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    def _break_off(self, _number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

"""Signals that ask the worker to stop."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from gha_worker._bell import Bell

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from typing_extensions import Self

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """Within its context SIGINT, SIGTERM and SIGHUP set `received` and ring `bell`.

    A second signal changes nothing, so that it cannot break off what the first one began. Only
    the main thread can enter it.
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
        signal.set_wakeup_fd(self._wakeup_before)
        self.bell.close()

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signal.Signals(number)

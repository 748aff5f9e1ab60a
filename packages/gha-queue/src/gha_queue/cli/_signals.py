"""Signals that ask a worker to leave, as something that can be waited for."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

    from typing_extensions import Self

GRACE = 10.0
_LEAVE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Within its `with` block SIGINT, SIGTERM and SIGHUP set `received`; they and SIGCHLD end `wait`.

    What still runs some seconds after the first of them, or at a second one, hangs: KeyboardInterrupt
    breaks it off, again after as many seconds if need be. A handler may take no lock, so a pipe does
    the waking. For the main thread alone.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._handlers = {
            number: signal.signal(number, self._note)
            for number in (*_LEAVE, signal.SIGCHLD, signal.SIGALRM)
            # Whoever started this by nohup wants it to outlive the terminal.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
        }
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._reader)
        os.close(self._writer)

    def wait(self, seconds: float) -> None:
        """Sleep until a signal, or the time is over."""
        select.select([self._reader], [], [], max(0.0, seconds))
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)

    def _note(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGCHLD:
            return
        if self.received is not None:
            raise KeyboardInterrupt
        if number != signal.SIGALRM:
            self.received = signal.Signals(number)
            signal.setitimer(signal.ITIMER_REAL, GRACE, GRACE)

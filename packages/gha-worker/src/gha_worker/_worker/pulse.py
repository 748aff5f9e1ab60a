"""What a worker says and hears every few seconds, in a thread of its own.

A store that does not answer must not keep the worker from a signal or from the end of its job.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from gha_queue import Control, Queue, QueueError

CONTROL_PERIOD = 2.0
REPORT_PERIOD = 30.0
_PARTING = 1.0


class Pulse:
    """Reads the queue's control record every 2 s and reports the worker alive every 30 s.

    Costs one GET per 2 s and one PUT per 30 s. `changed` is called from the thread whenever the
    newest record says something new. A store that does not answer, or a record that nobody can
    read, is asked for again the next time; any other error is kept in `failure`, and the thread goes on.
    """

    def __init__(
        self, queue: Queue, name: str, info: Callable[[], Any], changed: Callable[[], None]
    ) -> None:
        self._queue = queue
        self._name = name
        self._info = info
        self._changed = changed
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)
        self.control: Control = queue.state()
        self.failure: QueueError | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(_PARTING)

    def _beat(self) -> None:
        report_due = time.monotonic() + REPORT_PERIOD
        while not self._over.wait(CONTROL_PERIOD):
            report = time.monotonic() >= report_due
            if report:
                report_due = time.monotonic() + REPORT_PERIOD
            self._exchange(report=report)

    def _exchange(self, *, report: bool) -> None:
        from gha_queue import QueueError, RecordError, StoreUnavailableError

        try:
            self._read_control()
            if report:
                self._queue.report(self._name, self._info())
            self.failure = None
        except (StoreUnavailableError, RecordError):
            return
        except QueueError as failure:
            self.failure = failure
            self._changed()

    def _read_control(self) -> None:
        before, self.control = self.control, self._queue.state()
        if _meaning(before) != _meaning(self.control):
            self._changed()


def _meaning(control: Control) -> tuple[object, ...]:
    return control.status, control.stopping, control.slots, control.drain

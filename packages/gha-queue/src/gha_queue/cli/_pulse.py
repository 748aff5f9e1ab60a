"""What the owner of a queue says, read by a thread, so that a store that hangs holds up no one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from gha_queue._errors import QueueError, StoreUnavailableError

if TYPE_CHECKING:
    from typing_extensions import Self

    from gha_queue._queue import Queue
    from gha_queue._records import Control

INTERVAL = 3.0


class Pulse:
    """Within its `with` block `control` is at most some seconds old, while the store answers.

    `trouble` is why it cannot be read, where that is not the store's silence.
    """

    def __init__(self, queue: Queue) -> None:
        self.control: Control = queue.state()
        self.trouble: QueueError | None = None
        self._queue = queue
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._read, name="control", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def _read(self) -> None:
        while not self._stop.wait(INTERVAL):
            try:
                self.control = self._queue.state()
            except StoreUnavailableError:  # noqa: PERF203 - the worker tells of it
                pass
            except QueueError as error:
                self.trouble = error

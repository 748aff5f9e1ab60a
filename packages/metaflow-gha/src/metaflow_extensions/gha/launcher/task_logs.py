"""A task's logs as they grow in the datastore, shown line by line while it runs on its VM."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from metaflow.mflog import TASK_LOG_SOURCE, update_delay

if TYPE_CHECKING:
    from collections.abc import Mapping

    from metaflow_extensions.gha.launcher.job import Task

STREAMS = ("stdout", "stderr")

_client: Any = None
_client_lock = threading.Lock()


class Output(Protocol):
    """Where a task's words go: its own stdout and stderr in the eyes of the scheduler."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


def log_urls(flow_datastore: Any, task: Task) -> dict[str, str]:
    """The places of stdout and stderr, in this order, where Metaflow looks for them."""
    datastore = flow_datastore.get_task_datastore(
        task.run_id, task.step, task.task_id, attempt=task.attempt, mode="w"
    )
    return {name: datastore.get_log_location(TASK_LOG_SOURCE, name) for name in STREAMS}


class Tail:
    """One log object that grows: each look is one GET of what is new."""

    def __init__(self, url: str) -> None:
        self._bucket, _, self._key = url.removeprefix("s3://").partition("/")
        self._position = 0
        self._rest = b""

    def new_lines(self) -> list[bytes]:
        """The lines that were completed since the last look."""
        client, client_error = _s3()
        try:
            answer = client.get_object(
                Bucket=self._bucket, Key=self._key, Range=f"bytes={self._position}-"
            )
        except client_error as error:
            # Nothing is there yet, or nothing beyond what was seen.
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (404, 416):
                return []
            raise
        fresh: bytes = answer["Body"].read()
        self._position += len(fresh)
        *lines, self._rest = (self._rest + fresh).split(b"\n")
        return lines


class TaskLogs:
    """Both streams of a task, written to the outputs of its relay."""

    def __init__(self, urls: Mapping[str, str], outputs: Mapping[str, Output]) -> None:
        self._tails = [(Tail(url), outputs[name]) for name, url in urls.items()]
        self._complaints = outputs["stderr"]
        self._failed = False
        self._started = time.monotonic()
        self._next = self._started

    def show_new(self, *, now: bool = False) -> None:
        """Show what is new, at the pace of Metaflow's own tail but at most once a second, or at once."""
        if not now and time.monotonic() < self._next:
            return
        for tail, output in self._tails:
            try:
                lines = tail.new_lines()
            except Exception as error:  # noqa: BLE001  # a store's hiccup costs a look, not the task
                if not self._failed:
                    self._complaints.write(f"Could not read the task's logs just now: {error}\n")
                self._failed = True
                continue
            self._failed = False
            # The scheduler knows mflog lines by their stamp and does not keep them a second time.
            for line in lines:
                output.write(line.decode("utf-8", errors="replace") + "\n")
            output.flush()
        self._next = time.monotonic() + max(1.0, update_delay(time.monotonic() - self._started))


def _s3() -> tuple[Any, Any]:
    """Metaflow's own S3 client and its error, one for all tasks of this process."""
    global _client  # noqa: PLW0603  # a client costs a third of a second to make and is safe to share
    with _client_lock:
        if _client is None:
            from metaflow.plugins.datatools.s3.s3util import get_s3_client

            _client = get_s3_client()
        found: tuple[Any, Any] = _client
        return found

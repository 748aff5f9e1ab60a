"""What a worker's jobs did and when, as lines of JSON among its files in the queue.

Worker W's lines are in its files ``timeline.1.jsonl``, ``timeline.2.jsonl`` and so on; each line is
a :class:`JobRecord`, in the order in which they ended.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from dataclasses import fields
from typing import TYPE_CHECKING, Protocol

from gha_worker._jobs.record import JobRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gha_queue import Queue

PART_ROWS = 500
_MOST_ROWS = 10 * PART_ROWS
_READERS = 32
_NAME = re.compile(r"timeline\.([1-9][0-9]{0,8})\.jsonl")
_FIELDS = tuple(field.name for field in fields(JobRecord))


class Parts(Protocol):
    """Where a worker keeps its files."""

    def put(self, name: str, body: bytes) -> None: ...


class Timeline:
    """Writes the records of `worker`'s jobs to `files`; safe to call from any thread.

    A part holds what is new: 1 PUT for each `period` in seconds in which jobs ended, or for 500
    jobs. A store that does not answer is asked again later; up to 5,000 records wait for it in
    memory, and the oldest go first. `say` is told when the timeline is not complete.
    """

    def __init__(
        self,
        files: Parts,
        worker: str,
        say: Callable[[str], None] = lambda _: None,
        *,
        period: float = 30.0,
    ) -> None:
        self._files = files
        self._worker = worker
        self._say = say
        self._rows: deque[bytes] = deque(maxlen=_MOST_ROWS)
        self._lost = 0
        self._lock = threading.Lock()  # of the rows
        self._sending = threading.Lock()
        self._sender: threading.Thread | None = None
        self._unsent = b""
        self._part = 1
        self._period = period
        self._due = time.monotonic() + period
        self._refused = False

    def add(self, record: JobRecord) -> None:
        """Keep a record for the next part. Sends nothing."""
        row = json.dumps(vars(record), separators=(",", ":")).encode() + b"\n"
        with self._lock:
            self._lost += len(self._rows) == _MOST_ROWS
            self._rows.append(row)

    def flush_when_due(self) -> None:
        """Have what is new written when it is time to; never waits for the store.

        To be called every few seconds, by one thread.
        """
        due = time.monotonic() >= self._due or len(self._rows) >= PART_ROWS
        if due and not (self._sender and self._sender.is_alive()):
            self._sender = threading.Thread(target=self.flush, name="timeline", daemon=True)
            self._sender.start()

    def flush(self) -> None:
        """Write all that is new; what the store does not take now waits for the next time."""
        from gha_queue import QueueError, StoreUnavailableError

        with self._sending:
            self._due = time.monotonic() + self._period
            try:
                while not self._refused and (body := self._next()):
                    self._files.put(f"timeline.{self._part}.jsonl", body)
                    self._part += 1
                    self._unsent = b""
            except StoreUnavailableError:
                return
            except QueueError as error:
                self._refused = True
                self._say(f"keeps no timeline of worker {self._worker}: {error}")

    def _next(self) -> bytes:
        # A part whose answer was lost may still land: it must be the same when it is sent again.
        if not self._unsent:
            with self._lock:
                count = min(len(self._rows), PART_ROWS)
                self._unsent = b"".join(self._rows.popleft() for _ in range(count))
                lost, self._lost = self._lost, 0
            if lost:
                self._say(f"the timeline lacks {lost} jobs: the store did not answer for too long")
        return self._unsent


def read_timeline(queue: Queue) -> list[JobRecord]:
    """The records of all jobs that the workers of `queue` have written so far, by their claims.

    Jobs of the last 30 seconds of a worker that vanished are missing, as are those of a worker
    whose store was away for too long. One job has a record for each attempt that a worker ran.
    1 LIST per worker and per 500 workers, and 1 GET per part, 32 at a time. Raises what every
    request may raise, and :class:`gha_queue.RecordError` for a line that is no record.
    """
    from concurrent.futures import ThreadPoolExecutor

    def parts(worker: str) -> list[tuple[str, str]]:
        names = queue.worker_files(worker).names()
        return [(worker, name) for name in names if _NAME.fullmatch(name)]

    def records(part: tuple[str, str]) -> list[JobRecord]:
        worker, name = part
        body = queue.worker_files(worker).get(name) or b""
        return list(_records(f"files/workers/{worker}/{name}", body))

    workers = [worker.name for worker in queue.workers()]
    with ThreadPoolExecutor(_READERS) as pool:
        named = [part for found in pool.map(parts, workers) for part in found]
        found = [record for some in pool.map(records, named) for record in some]
    return sorted(found, key=lambda record: (record.claimed, record.worker, record.slot))


def _records(key: str, body: bytes) -> Iterator[JobRecord]:
    from gha_queue import RecordError

    try:
        for line in body.splitlines():
            value = json.loads(line)
            yield JobRecord(**{name: value[name] for name in _FIELDS})
    except (ValueError, KeyError, TypeError):
        why = "a line of it is no job's record; remove the file or read it with its own version"
        raise RecordError(key, why) from None

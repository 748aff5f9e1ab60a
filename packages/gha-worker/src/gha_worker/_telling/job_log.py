"""The log of a job among its files in the queue: written while it runs, read by who waits for it.

Attempt n's log is the files ``log.<n>.1``, ``log.<n>.2`` and so on, one after the other.
"""

from __future__ import annotations

import random
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from gha_queue import Claim, Files, Queue
    from gha_worker._telling.masks import Masker

LIMIT = 16 * 2**20
"""The most bytes of one attempt's log."""

CUT = (
    f"\n[gha-worker: the log ends here, at its limit of {LIMIT // 2**20} MiB. The job goes on; the"
    " end of its output will stand in its result.]\n"
).encode()

_CHUNK = 256 * 1024
_FIRST_LOOK = 0.25
_SHORTEST, _LONGEST = 1.0, 30.0
_PER_AGE = 60.0
_PARTING, _HURRIED_PARTING = 10.0, 1.0
_PARTING_LOOK = 0.1
_TRY_AGAIN = 0.5
_REAP_PERIOD = 15.0
_NAME = re.compile(r"log\.([1-9][0-9]{0,8})\.([1-9][0-9]{0,8})")


def period(age: float) -> float:
    """Seconds between two looks at the output of a script that has run for `age` seconds.

    One for the first minute, then a sixtieth of the age, up to 30: six hours are 900 uploads.
    """
    return min(_LONGEST, max(_SHORTEST, age / _PER_AGE))


class JobLogs:
    """Writes what jobs print to their queue.

    Whatever becomes of the store, jobs are not the worse for it: what cannot be uploaded is tried
    again and in the end left out. `say` is told once per job when the store refuses its log.
    `hurried` is asked how long the end of a log may keep a job from being settled: 10 seconds, or
    one when it says so.
    """

    def __init__(
        self,
        queue: Queue,
        say: Callable[[str], None] = lambda _: None,
        hurried: Callable[[], bool] = lambda: False,
    ) -> None:
        self._queue = queue
        self._say = say
        self._hurried = hurried

    @contextmanager
    def following(self, claim: Claim, output: Path, masker: Masker) -> Iterator[None]:
        """Upload what comes to the file `output` within this context, the end of it at its exit.

        Uploads at most once a second, more rarely with age, or when 256 KiB are new; 1 PUT each,
        and none for a job that prints nothing. What is new when the lease is lost is not uploaded.
        """
        upload = _Upload(self._queue.job_files(claim.job.id), claim, output, masker, self._say)
        upload.start()
        try:
            yield
        finally:
            self._part(upload)

    def _part(self, upload: _Upload) -> None:
        began = time.monotonic()
        upload.ending.set()
        while upload.is_alive():
            patience = _HURRIED_PARTING if self._hurried() else _PARTING
            if time.monotonic() >= began + patience:
                break
            upload.join(_PARTING_LOOK)
        upload.abandoned.set()


class _Upload(threading.Thread):
    def __init__(
        self,
        files: Files,
        claim: Claim,
        output: Path,
        masker: Masker,
        say: Callable[[str], None],
    ) -> None:
        super().__init__(name=f"log {claim.job.id}", daemon=True)
        self.ending = threading.Event()
        self.abandoned = threading.Event()
        self._files = files
        self._claim = claim
        self._output = output
        self._masker = masker
        self._say = say
        self._file: BinaryIO | None = None
        self._whole = False
        self._more = False
        self._unsent = b""
        self._chunks = 0
        self._size = 0

    def run(self) -> None:
        began = time.monotonic()
        pause = _FIRST_LOOK
        try:
            while not self._over():
                ending = self.ending.wait(pause)
                if self._upload(ending=ending) and ending:
                    return
                pause = period(time.monotonic() - began)
                if ending:
                    self.abandoned.wait(_TRY_AGAIN)
        finally:
            if self._file is not None:
                self._file.close()

    def _over(self) -> bool:
        return self.abandoned.is_set() or self._claim.lost.is_set()

    def _upload(self, *, ending: bool) -> bool:
        """Upload what is new, at the end all of it; False when the store did not take it."""
        from gha_queue import QueueError, StoreUnavailableError

        while not self._over():
            self._unsent = self._unsent or self._next(ending=ending)
            if not self._unsent:
                return True
            try:
                self._files.put(f"log.{self._claim.attempt}.{self._chunks + 1}", self._unsent)
            except StoreUnavailableError:
                return False
            except QueueError as error:
                self._say(f"keeps no log of job {self._claim.job.id}: {error}")
                self.abandoned.set()
                return False
            self._chunks += 1
            self._unsent = b""
            if not (ending or self._more):
                return True
        return False

    def _next(self, *, ending: bool) -> bytes:
        while not self._whole:
            data = self._read()
            if data:
                shown = self._masker.feed(data)
            elif ending:
                shown = self._masker.flush()
                self._whole = True
            else:
                break
            if shown:
                return self._limited(shown)
        return b""

    def _read(self) -> bytes:
        try:
            if self._file is None:
                # Kept open, so that a job that deletes its log has one all the same.
                self._file = self._output.open("rb", buffering=0)
            data = self._file.read(_CHUNK)
        except OSError:
            data = b""
        self._more = len(data) == _CHUNK
        return data

    def _limited(self, shown: bytes) -> bytes:
        left = LIMIT - self._size
        self._size += len(shown)
        if len(shown) <= left:
            return shown
        self._whole = True
        return shown[:left] + CUT


@dataclass(frozen=True)
class Chunk:
    """A piece of the log of one attempt."""

    attempt: int
    data: bytes


def follow(queue: Queue, id: str) -> Iterator[bytes]:  # noqa: A002  # as the queue calls it
    """Yield the log of a job as it grows, attempt after attempt, until the job has ended.

    Only a job with `log` set has one: the output of its script, secrets masked, up to 16 MiB of
    each attempt. Of an attempt whose machine was lost it is what had been uploaded. A retry under
    an id of its own has a log of its own. Reaps lost claims meanwhile, as `queue.wait` does.
    Raises JobNotFoundError, JobPurgedError. Looks every 0.25 to 3 seconds: 1 LIST, 2 GET or more,
    and 1 GET for each piece.
    """
    for chunk in chunks(queue, id):
        yield chunk.data


def chunks(queue: Queue, id: str, patience: float = 0.0) -> Iterator[Chunk]:  # noqa: A002  # likewise
    """As :func:`follow`, with the attempt of each piece.

    Goes on where the store does not answer for up to `patience` seconds.
    """
    from gha_queue import StoreUnavailableError, idle_pause

    files = queue.job_files(id)
    seen = (0, 0)
    looks = 0
    answered = reaped = time.monotonic()
    while True:
        try:
            # Asked first: what is there when a job has ended is all there will be.
            ended = queue.outcome(id) is not None
            for place in sorted(_places(files)):
                data = files.get("log.{}.{}".format(*place)) if place > seen else None
                if data is not None:
                    seen, looks = place, 0
                    yield Chunk(place[0], data)
            if ended:
                return
            if time.monotonic() >= reaped + _REAP_PERIOD:
                reaped = time.monotonic()
                queue.reap()
            answered = time.monotonic()
        except StoreUnavailableError:
            if time.monotonic() >= answered + patience:
                raise
        looks += 1
        time.sleep(idle_pause(looks, random.random()))  # noqa: S311  # no secret


def _places(files: Files) -> Iterator[tuple[int, int]]:
    for name in files.names():
        match = _NAME.fullmatch(name)
        if match is not None:
            yield int(match[1]), int(match[2])

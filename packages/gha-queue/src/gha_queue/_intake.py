"""How jobs enter a queue."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from gha_queue import _endings, _keys
from gha_queue._control import read_control
from gha_queue._errors import InvalidJobError, PutManyError, QueueClosedError, QueueError
from gha_queue._records import Job, Json, Status, check_json, check_seconds, job_fields, job_from
from gha_queue._rules import due_after
from gha_queue._store import WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gha_queue._calls import Calls


@dataclass(frozen=True)
class NewJob:
    """A job to put: the options of `Queue.put`, for `Queue.put_many`."""

    payload: Json
    id: str | None = None
    max_attempts: int = 1
    priority: int = 5
    delay: float = 0.0
    need: str = ""
    backoff: float = 1.0

    def to_job(self, calls: Calls) -> Job:
        """Return the job as it will stand in the queue; raises InvalidJobError."""
        check_json("a payload", self.payload, InvalidJobError)
        check_seconds("delay", self.delay, InvalidJobError)
        return Job(
            id=calls.runtime.token() if self.id is None else _keys.check_new_id(self.id),
            payload=self.payload,
            max_attempts=self.max_attempts,
            priority=self.priority,
            need=self.need,
            due=due_after(calls.meter.now, self.delay),
            backoff=self.backoff,
        )


@dataclass(frozen=True)
class Entered:
    """The job that stands under an id, and whether this call made it claimable."""

    job: Job
    ours: bool


def enter(calls: Calls, job: Job) -> Entered:
    """Write a job and its marker, or find the job that has its id. 2 PUT."""
    creation = calls.create(_keys.job_key(job.id), job_fields(job))
    if creation.won:
        calls.write_raw(job.marker(1, job.due).key, b"")
        return Entered(job, ours=True)
    standing = replace(job_from(_keys.job_key(job.id), creation.standing), duplicate=True)
    return Entered(standing, ours=not standing.purged and _endings.restore_marker(calls, standing))


def refuse_if_closed(calls: Calls, url: str, entered: Sequence[Entered]) -> None:
    """Cancel what has just entered a closed queue, and raise QueueClosedError. 1 GET.

    To be called after the markers were written: a close before this look is seen, and a close
    after it finds the markers.
    """
    if read_control(calls).status is not Status.CLOSED:
        return
    ours = [one.job for one in entered if one.ours]
    calls.runtime.together([partial(_endings.cancel, calls, job) for job in ours], WIDTH)
    raise QueueClosedError(url, tuple(one.job.id for one in entered))


def put_all(calls: Calls, url: str, items: Iterable[NewJob]) -> list[Job]:
    new = list(items)
    for item in new:
        if not isinstance(item, NewJob):
            raise InvalidJobError(f"{type(item).__name__} is no job to put: give NewJob(payload)")
    jobs = [item.to_job(calls) for item in new]

    def attempt(job: Job) -> Entered | QueueError:
        try:
            return enter(calls, job)
        except QueueError as error:
            return error

    results = calls.runtime.together([partial(attempt, job) for job in jobs], WIDTH)
    entered = [result for result in results if isinstance(result, Entered)]
    failed = tuple(
        (item, result)
        for item, result in zip(new, results, strict=True)
        if isinstance(result, QueueError)
    )
    if entered:
        refuse_if_closed(calls, url, entered)
    accepted = [one.job for one in entered]
    if failed:
        raise PutManyError(tuple(accepted), failed)
    return accepted

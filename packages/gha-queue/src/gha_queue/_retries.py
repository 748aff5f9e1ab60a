"""Dead jobs tried again: `a~1` is the first retry of `a`, and who follows `a` follows it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gha_queue import _endings, _intake, _keys
from gha_queue._errors import JobNotDeadError, JobNotFoundError, JobPurgedError
from gha_queue._keys import Attempt
from gha_queue._records import Job, Outcome, OutcomeKind
from gha_queue._rules import due_after

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gha_queue._calls import Calls


def newest(calls: Calls, job_id: str) -> Job:
    """Return the newest retry of a job, or itself. 2 GET, and 1 more per retry.

    Raises JobNotFoundError, JobPurgedError.
    """
    job = _endings.read_job(calls, _keys.check_id(job_id))
    if job is None:
        raise JobNotFoundError(job_id)
    for later in retries_of(calls, job_id):
        job = later
    if job.purged:
        raise JobPurgedError(job.id)
    return job


def retries_of(calls: Calls, job_id: str) -> Iterator[Job]:
    """Yield the retries that followed a job, in their order. 1 GET each, and 1."""
    following = _keys.following_id(job_id)
    while (job := _endings.read_job(calls, following)) is not None:
        yield job
        following = _keys.following_id(following)


class Trail:
    """Follows one job from attempt to attempt, and on to its retries."""

    def __init__(self, calls: Calls, job_id: str) -> None:
        self._calls = calls
        self._job_id = _keys.check_id(job_id)
        self._attempt = 1

    def look(self) -> Outcome | None:
        """Return how the job ended, None while it has not. 1 GET per new attempt, 2 at its end."""
        while True:
            outcome = _endings.read_outcome(self._calls, Attempt(self._job_id, self._attempt))
            if outcome is None:
                return None
            if outcome.next is not None:
                self._attempt = outcome.next
            elif outcome.kind is OutcomeKind.SUCCEEDED or not self._go_on():
                return outcome

    def check(self) -> bool:
        """Make sure that there is a job to wait for; whether that is another than before. 1 GET.

        Raises JobNotFoundError, JobPurgedError.
        """
        job = _endings.read_job(self._calls, self._job_id)
        if job is None:
            raise JobNotFoundError(self._job_id)
        if not job.purged:
            return False
        if not self._go_on():
            raise JobPurgedError(self._job_id)
        return True

    def _go_on(self) -> bool:
        following = _keys.following_id(self._job_id)
        if _endings.read_job(self._calls, following) is None:
            return False
        self._job_id, self._attempt = following, 1
        return True


def retry(calls: Calls, url: str, job_id: str) -> Job:
    """Put the next retry of a dead job, or find the one that another has just put."""
    latest = newest(calls, job_id)
    outcome = Trail(calls, latest.id).look()
    if outcome is None or outcome.kind is OutcomeKind.SUCCEEDED:
        began = outcome is None and latest.retry_of and _endings.restore_marker(calls, latest)
        if latest.id != job_id:  # it was retried, so a marker of its death is only a late one
            calls.delete(_keys.dead_key(job_id))
        if began:  # the one who put this retry died half way
            return replace(latest, duplicate=True)
        raise JobNotDeadError(latest.id, outcome)
    # Asked before as well as after: a retry that is refused is the dead job's newest all the same.
    _intake.refuse_if_closed(calls, url, ())
    again = replace(
        latest,
        id=_keys.following_id(latest.id),
        due=due_after(calls.meter.now, 0.0),
        retry_of=latest.id,
    )
    entered = _intake.enter(calls, again)
    _intake.refuse_if_closed(calls, url, [entered])
    for dead in {job_id, latest.id}:
        calls.delete(_keys.dead_key(dead))
    return entered.job

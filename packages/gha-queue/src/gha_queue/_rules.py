"""The rules of endings: what an attempt's end means for its job. No input, output or clock."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gha_queue._records import Job, Json, Outcome, OutcomeKind

if TYPE_CHECKING:
    from gha_queue._keys import Attempt

RELEASES_FREE = 20
RELEASES_LIMIT = 100
RELEASE_DELAY_LIMIT = 60.0


def due_after(now: float, delay: float) -> int:
    """Return the whole second of server time from which `delay` has certainly passed.

    `now` comes from a Date header, which may lag the true time by a second.
    """
    return int(now) if delay <= 0 else math.ceil(now + 1 + delay)


def release_delay(releases: int, delay: float) -> float:
    """Return how long a job rests after so many releases in a row."""
    if releases < RELEASES_FREE:
        return delay
    return max(delay, min(RELEASE_DELAY_LIMIT, 2.0 ** (releases - RELEASES_FREE)))


def conclude(
    job: Job,
    attempt: Attempt,
    kind: OutcomeKind,
    before: Outcome | None,
    *,
    now: float,
    worker: str | None = None,
    result: Json = None,
    error: Json = None,
    retry: bool = True,
    delay: float = 0.0,
) -> Outcome:
    """Return the outcome of one attempt.

    `before` is the outcome of the attempt before it. Where it is gone, every earlier attempt
    counts as used: a job may then end early but never runs more often than it may.
    """
    used = before.used if before else attempt.number - 1
    releases = 0
    if kind is OutcomeKind.RELEASED:
        releases = (before.releases if before else 0) + 1
        if releases >= RELEASES_LIMIT:
            kind, releases = OutcomeKind.LOST, 0
            error = {"reason": "released-too-often", "releases": RELEASES_LIMIT}
        else:
            delay = release_delay(releases, delay)
    if kind is not OutcomeKind.RELEASED:
        used += 1
    ended = kind in {OutcomeKind.SUCCEEDED, OutcomeKind.CANCELLED} or (
        kind is OutcomeKind.FAILED and not retry
    )
    goes_on = not ended and used < job.max_attempts
    return Outcome(
        job_id=job.id,
        attempt=attempt.number,
        kind=kind,
        result=result,
        error=error,
        worker=worker,
        used=used,
        releases=releases,
        next=attempt.number + 1 if goes_on else None,
        next_due=due_after(now, delay) if goes_on else None,
    )

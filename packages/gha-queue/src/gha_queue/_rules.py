"""The rules of endings: what an attempt's end means for its job. No input, output or clock."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gha_queue._records import Job, Json, Outcome, OutcomeKind

if TYPE_CHECKING:
    from gha_queue._keys import Attempt

RELEASES_FREE = 20
RELEASES_LIMIT = 100
RELEASE_DELAY_LIMIT = 60.0
BACKOFF_LIMIT = 900.0
IDLE_FIRST, IDLE_LONGEST, IDLE_GROWTH = 0.25, 3.0, 1.5


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


def backoff_delay(backoff: float, failures: int, chance: float) -> float:
    """Return the pause after so many failures (from 1) in seconds; `chance` is in [0, 1).

    It lies between half and one and a half of `backoff`, doubled for each failure but the first.
    """
    doubled = min(BACKOFF_LIMIT, backoff * 2.0 ** min(failures - 1, 60))
    return doubled * (0.5 + chance)


def idle_pause(looks: int, chance: float) -> float:
    """Return the seconds to wait after so many looks (from 1) that found nothing.

    0.25 s at first, one and a half times longer each time, up to 3 s, and with `chance` in [0, 1)
    a quarter less than that, so that idle workers do not ask in step.
    """
    longest = min(IDLE_LONGEST, IDLE_FIRST * IDLE_GROWTH ** min(looks - 1, 20))
    return longest * (0.75 + 0.25 * chance)


@dataclass(frozen=True)
class Ending:
    """How somebody wants an attempt to end.

    `delay` is the least pause before another attempt in seconds; None is the job's own backoff
    after a failure and nothing otherwise. A release that is `wished` by the job itself is not
    counted among those in a row.
    """

    kind: OutcomeKind
    worker: str | None = None
    started: float | None = None
    result: Json = None
    error: Json = None
    retry: bool = True
    delay: float | None = None
    wished: bool = False


def conclude(
    job: Job,
    attempt: Attempt,
    ending: Ending,
    before: Outcome | None,
    *,
    now: float,
    chance: float,
) -> Outcome:
    """Return the outcome of one attempt at server time `now`.

    `before` is the outcome of the attempt before it. Where it is gone, every earlier attempt
    counts as used: a job may then end early but never runs more often than it may. `chance` in
    [0, 1) spreads the pauses.
    """
    kind, error = ending.kind, ending.error
    used = before.used if before else attempt.number - 1
    delay = ending.delay or 0.0
    releases = 0
    if kind is OutcomeKind.RELEASED:
        releases = (before.releases if before else 0) + (0 if ending.wished else 1)
        if releases >= RELEASES_LIMIT:
            kind, releases = OutcomeKind.LOST, 0
            error = {"reason": "released-too-often", "releases": RELEASES_LIMIT}
        elif not ending.wished:
            delay = release_delay(releases, delay)
    if kind is not OutcomeKind.RELEASED:
        used += 1
    if kind is OutcomeKind.FAILED and ending.delay is None:
        delay = backoff_delay(job.backoff, used, chance)
    ended = kind in {OutcomeKind.SUCCEEDED, OutcomeKind.CANCELLED} or (
        kind is OutcomeKind.FAILED and not ending.retry
    )
    goes_on = not ended and used < job.max_attempts
    return Outcome(
        job_id=job.id,
        attempt=attempt.number,
        kind=kind,
        result=ending.result,
        error=error,
        worker=ending.worker,
        used=used,
        releases=releases,
        next=attempt.number + 1 if goes_on else None,
        next_due=due_after(now, delay) if goes_on else None,
        started=ending.started,
        ended=now,
    )

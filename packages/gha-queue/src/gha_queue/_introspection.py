"""What a queue tells of its jobs: all of them from listings, one of them from its records."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from gha_queue import _endings, _keys
from gha_queue._errors import InvalidQueueError, JobNotFoundError, RecordError
from gha_queue._keys import Attempt
from gha_queue._records import OutcomeKind, claim_from, dead_from
from gha_queue._retries import retries_of
from gha_queue._store import WIDTH
from gha_queue._views import AttemptSeen, DeadLetter, History, JobSeen, State, Stats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gha_queue._calls import Calls
    from gha_queue._records import Json

_IN_JOBS_ALONE = frozenset({State.SUCCEEDED, State.RETRIED})


def list_jobs(calls: Calls, state: State | None = None) -> Iterator[JobSeen]:
    """Yield the jobs in a state, or all of them.

    `jobs/` is listed first, so that a job put meanwhile is left out rather than mistaken for one
    that has ended; the rest follows in the order in which a job moves on.
    """
    if state is not None and not isinstance(state, State):
        raise InvalidQueueError(f"{state!r} is no state of a job: give a member of State, or None")
    wanted = frozenset(State) if state is None else frozenset({state})
    standing: dict[str, float] = {}
    if wanted & _IN_JOBS_ALONE:
        standing = calls.ids(_keys.JOBS)
    waiting = {
        marker.attempt.job_id: (marker, age)
        for entry, age in calls.entries(_keys.READY)
        if (marker := _keys.parse_marker(entry.key))
    }
    now = calls.meter.now
    running = {
        attempt.job_id: (attempt, age)
        for entry, age in calls.entries(_keys.CLAIMS)
        if (attempt := _keys.parse_claim(entry.key))
    }
    dead = calls.ids(_keys.DEAD)
    found: dict[str, JobSeen] = {}
    purged = calls.ids(_keys.PURGED) if standing else {}
    for job_id, age in standing.items():
        if job_id not in purged:
            retried = _keys.following_id(job_id) in standing
            end = State.RETRIED if retried else State.SUCCEEDED
            found[job_id] = JobSeen(job_id, end, None, age)
    for job_id, age in dead.items():
        if _keys.following_id(job_id) not in standing:  # else the marker came late
            found[job_id] = JobSeen(job_id, State.DEAD, None, age)
    for job_id, (marker, age) in waiting.items():
        due = now - marker.due
        found[job_id] = (
            JobSeen(job_id, State.READY, marker.attempt.number, due)
            if due >= 0
            else JobSeen(job_id, State.DELAYED, marker.attempt.number, age)
        )
    for job_id, (attempt, age) in running.items():
        found[job_id] = JobSeen(job_id, State.RUNNING, attempt.number, age)
    return (job for job in found.values() if job.state in wanted)


def count_jobs(calls: Calls) -> Stats:
    counts: Counter[State] = Counter()
    oldest: dict[State, float] = {}
    for job in list_jobs(calls):
        counts[job.state] += 1
        oldest[job.state] = max(job.age, oldest.get(job.state, 0.0))
    return Stats(
        ready=counts[State.READY],
        delayed=counts[State.DELAYED],
        running=counts[State.RUNNING],
        dead=counts[State.DEAD],
        succeeded=counts[State.SUCCEEDED],
        oldest_waiting_age=oldest.get(State.READY),
        oldest_heartbeat_age=oldest.get(State.RUNNING),
    )


def list_dead(calls: Calls) -> Iterator[DeadLetter]:
    """Yield the dead letters in the order of their ids."""
    ages = calls.ids(_keys.DEAD)
    requests = [partial(_dead_letter, calls, job_id, age) for job_id, age in ages.items()]
    for first in range(0, len(requests), WIDTH):
        letters = calls.runtime.together(requests[first : first + WIDTH], WIDTH)
        yield from (letter for letter in letters if letter is not None)


def _dead_letter(calls: Calls, job_id: str, age: float) -> DeadLetter | None:
    key = _keys.dead_key(job_id)
    body = calls.read(key).body
    if body is None:
        return None
    number, error, outcome = 1, None, None
    try:
        record = dead_from(key, body)
        number, error = record.attempt, record.error
        outcome = _endings.read_outcome(calls, Attempt(job_id, number))
    except RecordError as unreadable:
        error = error or _endings.bad_record(unreadable)
    if outcome is None:
        if error is None:  # purged or retried meanwhile
            return None
        return DeadLetter(job_id, OutcomeKind.FAILED, _reason(error, ""), error, number, None, age)
    return DeadLetter(
        job_id=job_id,
        kind=outcome.kind,
        reason=_reason(outcome.error, outcome.kind.value),
        error=outcome.error,
        attempts=outcome.attempt,
        worker=outcome.worker,
        age=age,
    )


def _reason(error: Json, otherwise: str) -> str:
    reason = error.get("reason") if isinstance(error, dict) else None
    return reason if isinstance(reason, str) and reason else otherwise


def read_history(calls: Calls, job_id: str) -> History:
    job = _endings.read_job(calls, _keys.check_id(job_id))
    if job is None:
        raise JobNotFoundError(job_id)
    attempts: list[AttemptSeen] = []
    number, due = 1, job.due
    while True:
        attempt = Attempt(job_id, number)
        outcome = _endings.read_outcome(calls, attempt)
        if outcome is None:
            state, seen = _unsettled(calls, attempt, due)
            attempts.append(seen)
            break
        attempts.append(
            AttemptSeen(number, outcome.worker, outcome.started, outcome.ended, outcome)
        )
        if outcome.next is None or outcome.next_due is None:
            state = State.SUCCEEDED if outcome.kind is OutcomeKind.SUCCEEDED else State.DEAD
            break
        number, due = outcome.next, outcome.next_due
    retries = tuple(later.id for later in retries_of(calls, job_id))
    return History(job, State.RETRIED if retries else state, tuple(attempts), retries)


def _unsettled(calls: Calls, attempt: Attempt, due: int) -> tuple[State, AttemptSeen]:
    body = calls.read(attempt.claim_key).body
    if body is not None:
        claim = claim_from(attempt.claim_key, body)
        seen = AttemptSeen(attempt.number, claim.worker, claim.since, None, None)
        return State.RUNNING, seen
    state = State.READY if due <= calls.meter.now else State.DELAYED
    return state, AttemptSeen(attempt.number, None, None, None, None)

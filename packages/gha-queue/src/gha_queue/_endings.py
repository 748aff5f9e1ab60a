"""How attempts end: settle, wrap up, reap, cancel.

An attempt ends by the creation of its outcome, which has one winner. Whoever finds an outcome,
winner or not, wraps it up: the next attempt's marker or the dead marker first, and the claim's
deletion last of all. So the claim stays behind as the log of unfinished business, and any crash
in between is finished by whoever meets the claim next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gha_queue import _keys
from gha_queue._errors import JobNotFoundError, RecordError
from gha_queue._keys import Attempt
from gha_queue._records import (
    FORMAT,
    Job,
    Json,
    Outcome,
    OutcomeKind,
    Settings,
    claim_worker,
    job_from,
    outcome_fields,
    outcome_from,
)
from gha_queue._rules import conclude

if TYPE_CHECKING:
    from gha_queue._calls import Calls

# Seconds that others wait beyond a lease: Date headers and LastModified have a grain of a second,
# and a last heartbeat may have been on its way.
GRACE = 5.0


@dataclass(frozen=True)
class Settled:
    """The outcome that stands, and whether this settlement made it."""

    outcome: Outcome
    won: bool


def read_job(calls: Calls, job_id: str) -> Job | None:
    key = _keys.job_key(job_id)
    body = calls.read(key).body
    return None if body is None else job_from(key, body)


def read_outcome(calls: Calls, attempt: Attempt) -> Outcome | None:
    body = calls.read(attempt.outcome_key).body
    return None if body is None else outcome_from(attempt.outcome_key, body)


def settle(
    calls: Calls,
    job: Job,
    attempt: Attempt,
    kind: OutcomeKind,
    *,
    token: str | None = None,
    worker: str | None = None,
    result: Json = None,
    error: Json = None,
    retry: bool = True,
    delay: float = 0.0,
) -> Settled:
    """End an attempt and wrap it up. Costs 1 PUT and 1 DELETE for a success on attempt 1."""
    before = None
    if attempt.number > 1:
        before = read_outcome(calls, Attempt(job.id, attempt.number - 1))
    outcome = conclude(
        job,
        attempt,
        kind,
        before,
        now=calls.meter.now,
        worker=worker,
        result=result,
        error=error,
        retry=retry,
        delay=delay,
    )
    creation = calls.create(attempt.outcome_key, outcome_fields(outcome), token)
    outcome = outcome_from(attempt.outcome_key, creation.standing)
    wrap_up(calls, job, outcome)
    return Settled(outcome, creation.won)


def wrap_up(calls: Calls, job: Job, outcome: Outcome) -> None:
    """Finish what an outcome asks for; safe to repeat and to race."""
    if outcome.next is not None and outcome.next_due is not None:
        following = Attempt(job.id, outcome.next)
        if not _begun(calls, following):
            marker = job.marker(outcome.next, outcome.next_due)
            calls.write_raw(marker.key, b"")
    elif outcome.kind is not OutcomeKind.SUCCEEDED:
        calls.write(_keys.dead_key(job.id), {"v": FORMAT})
    calls.delete(Attempt(job.id, outcome.attempt).claim_key)


def _begun(calls: Calls, attempt: Attempt) -> bool:
    # The claim first: a claim that is gone by now has left an outcome for the second look.
    return (
        calls.read(attempt.claim_key).body is not None
        or calls.read(attempt.outcome_key).body is not None
    )


def restore_marker(calls: Calls, job: Job) -> bool:
    """Write the first marker of a job whose putter died before doing so; whether it was gone."""
    marker = job.marker(1, job.due)
    # In this order: a marker that was removed has left a claim, a claim an outcome.
    if calls.read(marker.key).body is not None or _begun(calls, marker.attempt):
        return False
    calls.write_raw(marker.key, b"")
    return True


def reap(calls: Calls, settings: Settings) -> int:
    """Settle as lost what nobody has kept alive, finish what crashes left; count the losses."""
    limit = settings.lease + GRACE
    lost = 0
    for entry, age in calls.entries(_keys.CLAIMS):
        attempt = _keys.parse_claim(entry.key)
        if attempt is not None and age > limit:
            lost += _reap_one(calls, attempt, limit)
    return lost


def _reap_one(calls: Calls, attempt: Attempt, limit: float) -> bool:
    claim = calls.read(attempt.claim_key)
    if claim.body is None or claim.age <= limit:
        return False
    try:
        job = read_job(calls, attempt.job_id)
    except RecordError as unreadable:
        bury(calls, attempt, unreadable)
        return False
    if job is None:
        calls.delete(attempt.claim_key)
        return False
    worker = claim_worker(attempt.claim_key, claim.body)
    error = {"reason": "lost", "worker": worker, "silent_seconds": round(claim.age)}
    return settle(calls, job, attempt, OutcomeKind.LOST, worker=worker, error=error).won


def bury(calls: Calls, attempt: Attempt, why: RecordError) -> None:
    """End a job whose record cannot be read, so that it cannot stop anybody twice."""
    error = {"reason": "bad-record", "message": str(why)}
    stand_in = Job(id=attempt.job_id, payload=None)
    settle(calls, stand_in, attempt, OutcomeKind.FAILED, error=error, retry=False)


def final_outcome(calls: Calls, job_id: str, first: int = 1) -> tuple[Outcome | None, int]:
    """Return the final outcome if there is one, and the attempt to look at next time."""
    number = first
    while True:
        outcome = read_outcome(calls, Attempt(job_id, number))
        if outcome is None or outcome.next is None:
            return outcome, number
        number = outcome.next


def cancel(calls: Calls, job_id: str) -> Outcome:
    """End a job at its first unsettled attempt, waiting or running."""
    job = read_job(calls, job_id)
    if job is None:
        raise JobNotFoundError(job_id)
    number, due = 1, job.due
    while True:
        attempt = Attempt(job_id, number)
        outcome = read_outcome(calls, attempt)
        if outcome is None:
            worker = None
            claim = calls.read(attempt.claim_key).body
            if claim is not None:
                worker = claim_worker(attempt.claim_key, claim)
            settled = settle(calls, job, attempt, OutcomeKind.CANCELLED, worker=worker)
            outcome = settled.outcome
            calls.delete(job.marker(number, due).key)
        if outcome.next is None or outcome.next_due is None:
            return outcome
        number, due = outcome.next, outcome.next_due

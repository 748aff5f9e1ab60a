"""How attempts end: settle, wrap up, reap, cancel.

An attempt ends by the creation of its outcome, which has one winner. Whoever finds an outcome,
winner or not, wraps it up: the next attempt's marker or the dead marker first, and the claim's
deletion last of all. So the claim stays behind as the log of unfinished business, and any crash
in between is finished by whoever meets the claim next.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gha_queue import _keys
from gha_queue._errors import RecordError
from gha_queue._keys import Attempt
from gha_queue._records import (
    ClaimRecord,
    Job,
    Json,
    Outcome,
    OutcomeKind,
    Settings,
    claim_from,
    dead_fields,
    job_from,
    outcome_fields,
    outcome_from,
)
from gha_queue._rules import Ending, conclude

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
    calls: Calls, job: Job, attempt: Attempt, ending: Ending, token: str | None = None
) -> Settled:
    """End an attempt and wrap it up. Costs 1 PUT and 1 DELETE for a success on attempt 1.

    Raises RecordError where an outcome stands that cannot be read; the job is dead then.
    """
    before = None
    if attempt.number > 1:
        with contextlib.suppress(RecordError):  # what cannot be read counts as used up
            before = read_outcome(calls, Attempt(job.id, attempt.number - 1))
    now, chance = calls.meter.now, calls.runtime.random.random()
    outcome = conclude(job, attempt, ending, before, now=now, chance=chance)
    creation = calls.create(attempt.outcome_key, outcome_fields(outcome), token)
    standing = read_standing(calls, attempt, creation.standing)
    wrap_up(calls, job, standing)
    return Settled(standing, creation.won)


def read_standing(calls: Calls, attempt: Attempt, body: bytes) -> Outcome:
    """Read an outcome; where that fails the job can never go on, so it becomes a dead letter."""
    try:
        return outcome_from(attempt.outcome_key, body)
    except RecordError as unreadable:
        fields = dead_fields(attempt.number, bad_record(unreadable))
        calls.write(_keys.dead_key(attempt.job_id), fields)
        calls.delete(attempt.claim_key)
        raise


def wrap_up(calls: Calls, job: Job, outcome: Outcome) -> None:
    """Finish what an outcome asks for; safe to repeat and to race."""
    if outcome.next is not None and outcome.next_due is not None:
        following = Attempt(job.id, outcome.next)
        # The claim first: a claim that is gone by now has left an outcome for the second look.
        if calls.read(following.claim_key).body is None:
            ended = read_outcome(calls, following)
            if ended is None:
                calls.write_raw(job.marker(outcome.next, outcome.next_due).key, b"")
            elif ended.kind is OutcomeKind.CANCELLED:
                # It may never have had a claim from which others could finish it.
                wrap_up(calls, job, ended)
    elif outcome.kind is not OutcomeKind.SUCCEEDED:
        calls.write(_keys.dead_key(job.id), dead_fields(outcome.attempt))
    calls.delete(Attempt(job.id, outcome.attempt).claim_key)


def restore_marker(calls: Calls, job: Job) -> bool:
    """Write the first marker of a job whose putter died before doing so; whether it was gone."""
    marker = job.marker(1, job.due)
    attempt = marker.attempt
    # In this order: a marker that was removed has left a claim, a claim an outcome.
    for key in (marker.key, attempt.claim_key, attempt.outcome_key):
        if calls.read(key).body is not None:
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
    found = calls.read(attempt.claim_key)
    if found.body is None or found.age <= limit:
        return False
    try:
        job = read_job(calls, attempt.job_id)
    except RecordError as unreadable:
        bury(calls, attempt, unreadable)
        return False
    if job is None or job.purged:
        calls.delete(attempt.claim_key)
        return False
    claim = claim_from(attempt.claim_key, found.body)
    error = {"reason": "lost", "worker": claim.worker, "silent_seconds": round(found.age)}
    ending = Ending(OutcomeKind.LOST, claim.worker, claim.since, error=error)
    with contextlib.suppress(RecordError):  # one job's bad record must not keep the others
        return settle(calls, job, attempt, ending).won
    return False


def bury(calls: Calls, attempt: Attempt, why: RecordError) -> None:
    """End a job whose record cannot be read, so that it cannot stop anybody twice."""
    stand_in = Job(id=attempt.job_id, payload=None)
    ending = Ending(OutcomeKind.FAILED, error=bad_record(why), retry=False)
    with contextlib.suppress(RecordError):
        settle(calls, stand_in, attempt, ending)


def bad_record(why: RecordError) -> Json:
    return {"reason": "bad-record", "message": str(why)}


def cancel(calls: Calls, job: Job) -> Outcome:
    """End a job at its first unsettled attempt, waiting or running."""
    number, due = 1, job.due
    while True:
        attempt = Attempt(job.id, number)
        outcome = read_outcome(calls, attempt)
        if outcome is None:
            body = calls.read(attempt.claim_key).body
            claim = ClaimRecord(None, None)
            if body is not None:
                claim = claim_from(attempt.claim_key, body)
            ending = Ending(OutcomeKind.CANCELLED, claim.worker, claim.since)
            outcome = settle(calls, job, attempt, ending).outcome
            calls.delete(job.marker(number, due).key)
        if outcome.next is None or outcome.next_due is None:
            return outcome
        number, due = outcome.next, outcome.next_due

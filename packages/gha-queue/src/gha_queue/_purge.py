"""How what has ended is removed: a tombstone first, so that no late request brings it back.

The job's payload, its files and its dead letter go at once. Its outcomes stay with the tombstone for a day:
whoever stood still in the middle of something finds how it ended, and cannot end it again. A job
and its retries go together.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from gha_queue import _endings, _keys
from gha_queue._errors import InvalidQueueError, RecordError
from gha_queue._keys import Attempt
from gha_queue._records import Job, OutcomeKind, job_fields
from gha_queue._store import WIDTH
from gha_queue._views import State

if TYPE_CHECKING:
    from gha_queue._calls import Calls

# Seconds that a tombstone stands: longer than any listing is kept or any request is under way.
TOMBSTONE = 86400.0

_ENDED = {
    State.SUCCEEDED: frozenset({OutcomeKind.SUCCEEDED}),
    State.DEAD: frozenset(OutcomeKind) - {OutcomeKind.SUCCEEDED},
    None: frozenset(OutcomeKind),
}


@dataclass(frozen=True)
class _Listed:
    """What stands in the queue. Ages are in seconds; jobs are grouped with their retries."""

    families: dict[str, list[str]]
    outcomes: dict[str, dict[int, float]]
    files: dict[str, list[str]]
    dead: set[str]
    purged: dict[str, float]


def purge(calls: Calls, older_than: float, state: State | None) -> int:
    """Remove what ended so many seconds ago or earlier; return how many jobs that were."""
    if state not in _ENDED:
        raise InvalidQueueError(f"{state} jobs have not ended: purge what is SUCCEEDED or DEAD")
    listed = _list(calls)

    def visit(members: list[str]) -> int:
        left = [job_id for job_id in members if job_id not in listed.purged]
        for job_id in listed.dead.intersection(members) - set(left):  # a late one
            calls.delete(_keys.dead_key(job_id))
        if not left and all(listed.purged[job_id] > TOMBSTONE for job_id in members):
            _forget(calls, members, listed)
        if not left or not _has_ended(calls, members[-1], listed, older_than, state):
            return 0
        for job_id in left:
            _bury(calls, job_id, listed)
        return len(left)

    for job_id in listed.purged.keys() - set(chain.from_iterable(listed.families.values())):
        calls.delete(_keys.purged_key(job_id))
    visits = [partial(visit, members) for members in listed.families.values()]
    return sum(calls.runtime.together(visits, WIDTH))


def _list(calls: Calls) -> _Listed:
    families: dict[str, list[str]] = defaultdict(list)
    for first, number in sorted(map(_keys.first_id, calls.ids(_keys.JOBS))):
        families[first].append(_keys.retry_id(first, number))
    outcomes: dict[str, dict[int, float]] = defaultdict(dict)
    for entry, age in calls.entries(_keys.OUTCOMES):
        attempt = _keys.parse_outcome(entry.key)
        if attempt is not None:
            outcomes[attempt.job_id][attempt.number] = age
    files: dict[str, list[str]] = defaultdict(list)
    for entry, _ in calls.entries(_keys.JOB_FILES):
        job_id = _keys.parse_job_file(entry.key)
        if job_id is not None:
            files[job_id].append(entry.key)
    dead = calls.ids(_keys.DEAD)
    return _Listed(families, outcomes, files, set(dead), calls.ids(_keys.PURGED))


def _has_ended(
    calls: Calls, job_id: str, listed: _Listed, older_than: float, state: State | None
) -> bool:
    ages = listed.outcomes[job_id]
    if not ages or ages[max(ages)] < older_than:
        return False
    if state is not None and (job_id in listed.dead) is not (state is State.DEAD):
        return False
    try:
        outcome = _endings.read_outcome(calls, Attempt(job_id, max(ages)))
    except RecordError:  # a dead letter for that very reason
        return state is not State.SUCCEEDED
    return outcome is not None and outcome.final and outcome.kind in _ENDED[state]


def _bury(calls: Calls, job_id: str, listed: _Listed) -> None:
    try:
        job = _endings.read_job(calls, job_id)
    except RecordError:
        job = None
    tombstone = replace(job or Job(job_id, None), payload=None, purged=True)
    calls.write(_keys.job_key(job_id), job_fields(tombstone))
    calls.delete(_keys.dead_key(job_id))
    for file in listed.files[job_id]:
        calls.delete(file)
    # Last: from now on listings pass this job over, and so would a purge that came to finish it.
    calls.write_raw(_keys.purged_key(job_id), b"")


def _forget(calls: Calls, members: list[str], listed: _Listed) -> None:
    # The first job last: a new job of its id must not find retries of the old one. And of each
    # the first outcome last: without it, and but for the tombstone, a job looks never begun.
    for job_id in reversed(members):
        job = _endings.read_job(calls, job_id)
        if job is None or job.purged:  # else the id is another job's since a purge broke off here
            for number in sorted(listed.outcomes[job_id], reverse=True):
                calls.delete(Attempt(job_id, number).claim_key)
                calls.delete(Attempt(job_id, number).outcome_key)
            for file in listed.files[job_id]:  # that came late
                calls.delete(file)
            calls.delete(_keys.job_key(job_id))
        calls.delete(_keys.purged_key(job_id))

"""How a worker comes by a claim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from gha_queue import _endings, _keys
from gha_queue._claim import Claim, deadline_after
from gha_queue._errors import RecordError
from gha_queue._records import OutcomeKind, Settings, claim_fields, job_from
from gha_queue._rules import Ending

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gha_queue._calls import Calls
    from gha_queue._keys import Marker
    from gha_queue._ready import Ready


# What a marker that gave no claim leaves to be done: it goes along with the next listing.
_Chores: TypeAlias = "tuple[Callable[[], object], ...]"


@dataclass(frozen=True)
class Claiming:
    """Claims for the workers of one process. `beats` are the calls that heartbeats use."""

    calls: Calls
    beats: Calls
    ready: Ready
    settings: Settings

    def claim(self, worker: str, accept: Callable[[str], bool] | None) -> Claim | None:
        tried: set[str] = set()
        chores: _Chores = ()
        while True:
            marker = self._next(accept, tried, chores)
            if marker is None:
                return None
            result = self._try(marker, worker)
            if isinstance(result, Claim):
                return result
            chores = result
            tried.add(marker.key)
            self.ready.drop_page()

    def _next(
        self, accept: Callable[[str], bool] | None, tried: Collection[str], chores: _Chores
    ) -> Marker | None:
        found: list[Marker | None] = []
        look = lambda: found.append(self.ready.next(accept, tried))  # noqa: E731 - one of many
        self.calls.runtime.together((look, *chores), len(chores) + 1)
        return found[0]

    def _try(self, marker: Marker, worker: str) -> Claim | _Chores:
        calls, attempt = self.calls, marker.attempt
        token, since = calls.runtime.token(), calls.meter.now
        sent = calls.runtime.monotonic()
        creation = calls.create(attempt.claim_key, claim_fields(worker, since, 0), token)
        if not creation.won:
            # Stale by construction: a claim was there, and only who made it could leave it behind.
            return (lambda: calls.try_delete(marker.key),)
        # The key may have been free because the attempt is over and its claim was removed.
        job_key = _keys.job_key(attempt.job_id)
        job_body, outcome_body = calls.read_together(
            (job_key, attempt.outcome_key), delete=marker.key
        )
        try:
            job = None if job_body is None else job_from(job_key, job_body)
            if job is None or job.purged:
                return (lambda: calls.delete(attempt.claim_key),)
            if outcome_body is not None:
                outcome = _endings.read_standing(calls, attempt, outcome_body)
                return (lambda: _endings.wrap_up(calls, job, outcome),)
        except RecordError as unreadable:
            why = unreadable
            return (lambda: _endings.bury(calls, attempt, why),)
        if calls.runtime.monotonic() >= deadline_after(sent, self.settings):
            # This process slept through its own lease: nothing ran, so nothing is used up.
            ending = Ending(OutcomeKind.RELEASED, worker, since)
            return (lambda: _endings.settle(calls, job, attempt, ending),)
        return Claim(
            job,
            attempt,
            worker,
            token=token,
            sent=sent,
            since=since,
            settings=self.settings,
            calls=calls,
            beats=self.beats,
        )

"""How a worker comes by a claim."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from gha_queue import _endings, _keys
from gha_queue._claim import Claim, deadline_after
from gha_queue._errors import RecordError
from gha_queue._records import OutcomeKind, Settings, claim_fields, job_from
from gha_queue._rules import Ending

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_queue._calls import Calls
    from gha_queue._keys import Marker
    from gha_queue._ready import Ready


@dataclass(frozen=True)
class Claiming:
    """Claims for the workers of one process. `beats` are the calls that heartbeats use."""

    calls: Calls
    beats: Calls
    ready: Ready
    settings: Settings

    def claim(self, worker: str, accept: Callable[[str], bool] | None) -> Claim | None:
        tried: set[str] = set()
        while True:
            marker = self.ready.next(accept, tried)
            if marker is None:
                return None
            claim = self._try(marker, worker)
            if claim is not None:
                return claim
            tried.add(marker.key)

    def _try(self, marker: Marker, worker: str) -> Claim | None:
        calls, attempt = self.calls, marker.attempt
        token, since = calls.runtime.token(), calls.meter.now
        sent = calls.runtime.monotonic()
        creation = calls.create(
            attempt.claim_key,
            claim_fields(worker, since, 0),
            token,
            # Stale by construction: a claim was there, and only who made it could leave it behind.
            if_refused=partial(self._miss, partial(calls.try_delete, marker.key)),
        )
        if not creation.won:
            return None
        # The key may have been free because the attempt is over and its claim was removed.
        job_key = _keys.job_key(attempt.job_id)
        job_body, outcome_body = calls.read_together(
            (job_key, attempt.outcome_key), delete=marker.key
        )
        try:
            job = None if job_body is None else job_from(job_key, job_body)
            outcome = None
            if outcome_body is not None:
                outcome = _endings.read_standing(calls, attempt, outcome_body)
        except RecordError as unreadable:
            self._miss(partial(_endings.bury, calls, attempt, unreadable))
            return None
        if job is None or job.purged:
            self._miss(partial(calls.delete, attempt.claim_key))
            return None
        if outcome is not None:
            self._miss(partial(_endings.wrap_up, calls, job, outcome))
            return None
        if calls.runtime.monotonic() >= deadline_after(sent, self.settings):
            # This process slept through its own lease: nothing ran, so nothing is used up.
            _endings.settle(calls, job, attempt, Ending(OutcomeKind.RELEASED, worker, since))
            self.ready.turn_page()
            return None
        return Claim(
            job,
            attempt,
            worker,
            token=token,
            sent=sent,
            since=since,
            due=marker.due,
            settings=self.settings,
            calls=calls,
            beats=self.beats,
        )

    def _miss(self, clean_up: Callable[[], object]) -> None:
        self.calls.runtime.together((self.ready.turn_page, clean_up), 2)

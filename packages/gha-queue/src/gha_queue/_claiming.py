"""How a worker comes by a claim."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

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


@dataclass(frozen=True)
class Claiming:
    """Claims for the workers of one process. `beats` are the calls that heartbeats use."""

    calls: Calls
    beats: Calls
    ready: Ready
    settings: Settings

    def claim(self, worker: str, accept: Callable[[str], bool] | None) -> Claim | None:
        # The markers of taken attempts are stale by construction: a claim was there, and only
        # who made it could leave the marker behind.
        taken: set[str] = set()
        while True:
            marker = self.ready.next(accept, taken)
            if marker is None:
                self.calls.read_together((), delete=taken)
                return None
            claim = self._try(marker, worker, taken)
            if claim is not None:
                return claim
            taken.add(marker.key)
            self.ready.drop_page()

    def _try(self, marker: Marker, worker: str, taken: Collection[str]) -> Claim | None:
        calls, attempt = self.calls, marker.attempt
        token, since = calls.runtime.token(), calls.meter.now
        sent = calls.runtime.monotonic()
        creation = calls.create(attempt.claim_key, claim_fields(worker, since, 0), token)
        if not creation.won:
            return None
        # The key may have been free because the attempt is over and its claim was removed.
        job_key = _keys.job_key(attempt.job_id)
        job_body, outcome_body = calls.read_together(
            (job_key, attempt.outcome_key), delete=(marker.key, *taken)
        )
        try:
            job = None if job_body is None else job_from(job_key, job_body)
        except RecordError as unreadable:
            _endings.bury(calls, attempt, unreadable)
            return None
        if job is None or job.purged:
            calls.delete(attempt.claim_key)
            return None
        if outcome_body is not None:
            with contextlib.suppress(RecordError):
                outcome = _endings.read_standing(calls, attempt, outcome_body)
                _endings.wrap_up(calls, job, outcome)
            return None
        if calls.runtime.monotonic() >= deadline_after(sent, self.settings):
            # This process slept through its own lease: nothing ran, so nothing is used up.
            ending = Ending(OutcomeKind.RELEASED, worker, since)
            with contextlib.suppress(RecordError):
                _endings.settle(calls, job, attempt, ending)
            return None
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

"""A claim: one attempt of one job, held by one worker until a deadline that heartbeats extend."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, NoReturn

from gha_queue import _endings
from gha_queue._errors import InvalidResultError, LeaseLostError, QueueError, StoreUnavailableError
from gha_queue._records import (
    Job,
    Json,
    Outcome,
    OutcomeKind,
    Settings,
    check_json,
    check_seconds,
    claim_fields,
    token_of,
)
from gha_queue._rules import Ending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gha_queue._calls import Calls
    from gha_queue._keys import Attempt

# The share of a lease that a holder leaves unused, so that its work is dead before others judge.
MARGIN = 0.25


def deadline_after(sent: float, settings: Settings) -> float:
    """Return until when work may run if the last confirmed sign of life was sent at `sent`."""
    return sent + settings.lease * (1 - MARGIN)


class Claim:
    """The right to run one attempt until `deadline`, on this machine's monotonic clock in seconds.

    `since` is the server's time of the claim in seconds since 1970, and `waited` how many seconds
    the attempt had been due by then; both are right to a second or two.

    The attempt number is the fencing token: hand it to the job, and let what the job writes carry
    it. A claim does not stop the work: the holder must, when `lost` is set or the deadline passes.
    """

    def __init__(
        self,
        job: Job,
        attempt: Attempt,
        worker: str,
        *,
        token: str,
        sent: float,
        since: float,
        due: float,
        settings: Settings,
        calls: Calls,
        beats: Calls,
    ) -> None:
        self.job = job
        self.worker = worker
        self.since = since
        self.waited = max(0.0, since - due)
        self.deadline = deadline_after(sent, settings)
        self.lost = threading.Event()
        self._attempt = attempt
        self._token = token
        self._settings = settings
        self._calls = calls
        self._beats = beats
        self._beat = 0
        self._taken: Outcome | None = None
        self._settled: Outcome | None = None
        self._trouble: QueueError | None = None
        # One token for the claim's whole ending: asking again after a lost answer is one request.
        self._ending = calls.runtime.token()

    @property
    def attempt(self) -> int:
        """The number of the attempt, from 1."""
        return self._attempt.number

    @property
    def payload(self) -> Json:
        """The job's payload."""
        return self.job.payload

    @property
    def taken(self) -> Outcome | None:
        """The outcome by which others ended this attempt, None if that has not been seen."""
        return self._taken

    @property
    def cancelled(self) -> Outcome | None:
        """The outcome by which the job was cancelled under its holder, None if it was not."""
        taken = self._taken
        return taken if taken is not None and taken.kind is OutcomeKind.CANCELLED else None

    def __repr__(self) -> str:
        return f"<Claim {self.job.id!r} attempt {self.attempt} by {self.worker!r}>"

    def check(self) -> None:
        """Raise LeaseLostError if the lease is known to be lost or past its deadline. No request.

        For the running code to call wherever it can stop.
        """
        if self.lost.is_set() or (
            self._settled is None and self._calls.runtime.monotonic() >= self.deadline
        ):
            self.lost.set()
            raise LeaseLostError(self.job.id, self.attempt, self._taken)

    def heartbeat(self) -> None:
        """Extend the deadline. Costs 1 PUT and 1 GET, each sent once.

        Raises LeaseLostError when the deadline has passed or the attempt has ended, and
        StoreUnavailableError when it could not be sent: then the old deadline holds, try again.
        """
        if self._settled is not None:
            return
        sent = self._calls.runtime.monotonic()
        if sent >= self.deadline:
            self.lost.set()
            raise LeaseLostError(self.job.id, self.attempt, None)
        self._beat += 1
        fields = {**claim_fields(self.worker, self.since, self._beat), "token": self._token}
        self._beats.write(self._attempt.claim_key, fields)
        body = self._beats.read(self._attempt.outcome_key).body
        if body is None:
            self.deadline = deadline_after(sent, self._settings)
            return
        outcome = _endings.read_standing(self._beats, self._attempt, body)
        # The write above may have brought back a claim that was wrapped up already.
        with contextlib.suppress(StoreUnavailableError):
            _endings.wrap_up(self._beats, self.job, outcome)
        if token_of(body) != self._ending:
            self._lose(outcome)
        self._settled = outcome

    @contextlib.contextmanager
    def keep_alive(self, on_extended: Callable[[float], None] | None = None) -> Iterator[Claim]:
        """Send heartbeats from a thread while the block runs.

        `on_extended` is called from that thread with every new deadline and should return at
        once; if it raises, the lease counts as lost. `lost` is set as soon as the attempt is known
        to have ended or the deadline passes unconfirmed; a fault that passes before that is
        survived. Python cannot interrupt the block: let it look at `lost` or call `check`. Where
        it ends without an error of its own and the lease was lost, LeaseLostError is raised.
        """
        stop = threading.Event()
        heartbeat = threading.Thread(
            target=self._beat_until, args=(stop, on_extended), name="heartbeat", daemon=True
        )
        # A heartbeat may hang beyond the deadline, which is to be told all the same.
        deadline = threading.Thread(
            target=self._watch_deadline, args=(stop,), name="deadline", daemon=True
        )
        heartbeat.start()
        deadline.start()
        try:
            yield self
        finally:
            stop.set()
            deadline.join()
            heartbeat.join()
        if self.lost.is_set():
            raise LeaseLostError(self.job.id, self.attempt, self._taken) from self._trouble

    def complete(self, result: Json = None) -> Outcome:
        """End the attempt and the job as succeeded; `result` is JSON of at most 256 KiB.

        Returns the outcome that stands, that of the first ending where a claim is ended twice;
        raises LeaseLostError if others made it. After StoreUnavailableError the same call may be
        repeated. Costs 1 PUT and 1 DELETE, from attempt 2 on also 1 GET.
        """
        check_json("a result", result, InvalidResultError)
        return self._settle(OutcomeKind.SUCCEEDED, result=result)

    def fail(self, error: Json, retry: bool = True, delay: float | None = None) -> Outcome:
        """End the attempt as failed; another follows if `retry` and the budget allow it.

        It follows after `delay` seconds, or, where that is None, after the job's backoff: doubled
        with each failure, up to 15 minutes, and spread by half. `error` is JSON of at most
        256 KiB. Otherwise like `complete`; another attempt costs 1 PUT and 2 GET more, a death 1 PUT.
        """
        check_json("an error", error, InvalidResultError)
        return self._settle(OutcomeKind.FAILED, error=error, retry=retry, delay=delay)

    def release(self, delay: float = 0.0) -> Outcome:
        """Give the attempt back unused, for another to start after `delay` seconds.

        For a worker that cannot run the job just now. Uses nothing of the budget. From the 20th
        release in a row on a job rests longer and longer, to 60 seconds; the 100th counts as lost.
        """
        return self._settle(OutcomeKind.RELEASED, delay=delay)

    def snooze(self, delay: float) -> Outcome:
        """Let the job sleep for `delay` seconds by its own wish, as often as it likes.

        For a job that found that it is too early. Uses nothing of the budget, and unlike a
        release is not counted.
        """
        return self._settle(OutcomeKind.RELEASED, delay=delay, wished=True)

    def _settle(
        self,
        kind: OutcomeKind,
        *,
        result: Json = None,
        error: Json = None,
        retry: bool = True,
        delay: float | None = None,
        wished: bool = False,
    ) -> Outcome:
        if delay is not None:
            check_seconds("delay", delay, InvalidResultError)
        ending = Ending(
            kind, self.worker, self.since, result, error, retry=retry, delay=delay, wished=wished
        )
        settled = _endings.settle(self._calls, self.job, self._attempt, ending, self._ending)
        outcome = settled.outcome
        if not settled.won:
            self._lose(outcome)
        self._settled = outcome
        too_often = kind is OutcomeKind.RELEASED and outcome.kind is OutcomeKind.LOST
        if outcome.kind is not kind and not too_often:
            raise LeaseLostError(self.job.id, self.attempt, outcome)
        return outcome

    def _lose(self, outcome: Outcome) -> NoReturn:
        self._taken = outcome
        self.lost.set()
        raise LeaseLostError(self.job.id, self.attempt, outcome)

    def _beat_until(
        self, stop: threading.Event, on_extended: Callable[[float], None] | None
    ) -> None:
        runtime, interval = self._calls.runtime, self._settings.heartbeat
        pause = interval
        try:
            while not stop.wait(max(0.0, min(pause, self.deadline - runtime.monotonic()))):
                try:
                    self.heartbeat()
                except LeaseLostError:
                    return
                except QueueError as trouble:  # it may pass before the deadline
                    self._trouble = trouble
                    pause = runtime.jitter(interval / 4)
                    continue
                if self._settled is not None:
                    return
                pause = interval
                if on_extended is not None:
                    on_extended(self.deadline)
        finally:
            if not stop.is_set() and self._settled is None:
                self.lost.set()

    def _watch_deadline(self, stop: threading.Event) -> None:
        while not stop.wait(max(0.0, self.deadline - self._calls.runtime.monotonic())):
            if self._settled is not None or self.lost.is_set():
                return
            if self._calls.runtime.monotonic() >= self.deadline:
                self.lost.set()

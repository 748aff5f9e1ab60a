"""The smallest useful worker: runs a command once per job."""

from __future__ import annotations

import contextlib
import enum
import os
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from gha_queue._errors import LeaseLostError, QueueError, RecordError, StoreUnavailableError
from gha_queue._queue import REAP_INTERVAL
from gha_queue._records import Status
from gha_queue._rules import idle_pause
from gha_queue.cli._child import Child
from gha_queue.cli._output import spoken

if TYPE_CHECKING:
    from gha_queue._claim import Claim
    from gha_queue._queue import Queue
    from gha_queue._records import Outcome
    from gha_queue.cli._guard import Guard
    from gha_queue.cli._journal import Journal
    from gha_queue.cli._pulse import Pulse
    from gha_queue.cli._signals import Signals

EX_TEMPFAIL = 75
_ATTEND_INTERVAL = 0.25
_SETTLE_PAUSE = 2.0


class Ending(enum.Enum):
    """Why a command ended."""

    EXITED = "it exited"
    TIMEOUT = "its time was over"
    LOST = "its lease was lost"
    STOPPED = "the queue was cancelled"
    SIGNALLED = "the worker was told to leave"


@dataclass(frozen=True)
class Assignment:
    """What a worker does, and when it leaves; times in seconds, None is no limit."""

    command: tuple[str, ...]
    name: str
    max_jobs: int | None
    idle_timeout: float | None
    drain: bool
    timeout: float | None
    snooze: float
    retry: bool
    needs: frozenset[str]


class Worker:
    """Claims jobs and runs the command for each, one after the other."""

    def __init__(
        self,
        queue: Queue,
        assignment: Assignment,
        *,
        journal: Journal,
        signals: Signals,
        guard: Guard,
        pulse: Pulse,
    ) -> None:
        self._queue = queue
        self._assignment = assignment
        self._journal = journal
        self._signals = signals
        self._guard = guard
        self._pulse = pulse
        self._claimed = 0
        self._looks = 0  # that found nothing, since the last job
        self._idle_since = self._reaped = time.monotonic()
        self._troubled = self._control_told = False

    def run(self) -> None:
        """Work until there is a reason to leave."""
        why = None
        while why is None:
            try:
                why = self._reason_to_leave()
                if why is None:
                    self._tell_of_control()
                    self._step()
            except StoreUnavailableError as error:  # noqa: PERF203 - a worker outlasts it
                self._trouble(error)
                self._rest()
            except RecordError as error:
                self._journal.worker("unreadable", str(error))
                self._rest()
            except KeyboardInterrupt:
                why = "told to, and something hangs: if it had a job, others will reap it"
        self._journal.worker("leaves", why)

    def _reason_to_leave(self) -> str | None:  # noqa: PLR0911 - one for each reason
        assignment, control = self._assignment, self._pulse.control
        if self._signals.received is not None:
            return self._signals.received.name
        if control.stopping:
            return "the queue is cancelled" if control.cancel else "the queue's owner is gone"
        if assignment.name in control.drain:
            return "the queue's owner drains it"
        if assignment.max_jobs is not None and self._claimed >= assignment.max_jobs:
            return f"{self._claimed} jobs were its share"
        if self._looks == 0:
            return None
        closed = control.status is Status.CLOSED
        if (closed or assignment.drain) and self._queue.drained():
            return "the queue is closed and drained" if closed else "the queue is drained"
        idle = time.monotonic() - self._idle_since
        if assignment.idle_timeout is not None and idle >= assignment.idle_timeout:
            return f"no job for {spoken(idle)}"
        return None

    def _step(self) -> None:
        if time.monotonic() - self._reaped >= REAP_INTERVAL:
            self._queue.reap()
            self._reaped = time.monotonic()
        claim = None
        if self._pulse.control.status is not Status.PAUSED:
            claim = self._queue.claim(self._assignment.name, self._assignment.needs.__contains__)
        self._recover()
        if claim is None:
            self._rest()
            return
        self._claimed += 1
        self._run(claim)
        self._looks, self._idle_since = 0, time.monotonic()

    def _rest(self) -> None:
        self._looks += 1
        self._signals.wait(idle_pause(self._looks, random.random()))  # noqa: S311 - no secret

    def _run(self, claim: Claim) -> None:
        started = time.monotonic()
        outcome: Outcome | None = None
        why = ""
        try:
            with claim.keep_alive(self._guard.extend):
                child = Child(self._assignment.command, claim.payload, self._environment(claim))
                # At once: a worker that freezes before leaves its command to nobody.
                self._guard.watch(child.group, claim.deadline)
                with child:
                    try:
                        self._journal.job(claim, "started")
                        ending, code = self._attend(claim, child, started)
                    finally:
                        self._guard.forget()
                    outcome, why = self._settle(claim, child, ending, code)
        except LeaseLostError:
            pass  # where the outcome was confirmed before, it stands
        except (OSError, click.UsageError):
            # It did not start, or nobody reads the journal: others may do better.
            with contextlib.suppress(QueueError):
                claim.release()
            raise
        seconds = time.monotonic() - started
        if outcome is not None:
            self._journal.job(claim, outcome.kind.value, seconds, why)
        elif claim.cancelled:
            self._journal.job(claim, "cancelled", seconds)
        else:
            self._journal.job(claim, "lost", seconds, why)

    def _environment(self, claim: Claim) -> dict[str, str]:
        return {
            **os.environ,
            "GHA_QUEUE_URL": self._queue.url,
            "GHA_QUEUE_JOB_ID": claim.job.id,
            "GHA_QUEUE_ATTEMPT": str(claim.attempt),
            "GHA_QUEUE_WORKER": self._assignment.name,
        }

    def _attend(self, claim: Claim, child: Child, started: float) -> tuple[Ending, int | None]:
        """Wait until the command has ended or must end, and end it then."""
        while True:
            code = child.poll()
            if code is not None:
                return Ending.EXITED, code
            ending = self._reason_to_end(claim, started)
            if ending is not None:
                child.end()
                return ending, None
            self._signals.wait(_ATTEND_INTERVAL)

    def _reason_to_end(self, claim: Claim, started: float) -> Ending | None:
        if claim.lost.is_set():
            return Ending.LOST
        if self._signals.received is not None:
            return Ending.SIGNALLED
        if self._pulse.control.stopping:
            return Ending.STOPPED
        limit = self._assignment.timeout
        if limit is not None and time.monotonic() - started >= limit:
            return Ending.TIMEOUT
        return None

    def _settle(
        self, claim: Claim, child: Child, ending: Ending, code: int | None
    ) -> tuple[Outcome | None, str]:
        """Record how the attempt ended; as long as the store is away, unless told to leave."""
        while True:
            try:
                settled = self._settle_once(claim, child, ending, code)
            except StoreUnavailableError as error:  # noqa: PERF203 - a result is worth it
                self._trouble(error)
                if self._signals.received is not None:
                    return None, "the store does not answer, so others will reap it"
                self._signals.wait(_SETTLE_PAUSE)
            else:
                self._recover()
                return settled

    def _settle_once(
        self, claim: Claim, child: Child, ending: Ending, code: int | None
    ) -> tuple[Outcome | None, str]:
        retry = self._assignment.retry
        if ending is Ending.LOST:
            return None, ending.value
        if ending is Ending.SIGNALLED:
            return claim.release(), ending.value
        if ending is Ending.STOPPED:  # to give it back would leave it waiting for ever
            return self._queue.cancel(claim.job.id), ending.value
        if ending is Ending.TIMEOUT:
            error = child.error("timeout", f"not done within {self._assignment.timeout:g} s", None)
        elif code == 0:
            return claim.complete(child.result()), ""
        elif code == EX_TEMPFAIL:
            pause = self._assignment.snooze
            return claim.snooze(pause), f"again in {spoken(pause)}, as exit code 75 asks"
        else:
            error = child.error("exit", f"exit code {code}", code)
        return claim.fail(error, retry=retry), str(error["message"])

    def _tell_of_control(self) -> None:
        trouble = self._pulse.trouble
        if trouble is not None and not self._control_told:
            self._control_told = True
            self._journal.worker("cannot read what the owner says", str(trouble))

    def _trouble(self, error: StoreUnavailableError) -> None:
        if not self._troubled:
            self._journal.worker("goes on without the store", str(error))
        self._troubled = True

    def _recover(self) -> None:
        if self._troubled:
            self._journal.worker("goes on", "the store answers again")
        self._troubled = False

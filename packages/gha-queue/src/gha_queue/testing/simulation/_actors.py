"""Who uses a simulated queue: workers, clients, reapers and others, each with its own habits."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gha_queue import (
    JobNotDeadError,
    JobNotFoundError,
    JobPurgedError,
    LeaseLostError,
    NewJob,
    PutManyError,
    Queue,
    QueueClosedError,
    State,
    Status,
    StoreUnavailableError,
    WaitTimeoutError,
)
from gha_queue.testing.simulation._ledger import FATAL

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from gha_queue import Claim, Job, Outcome, Settings
    from gha_queue.testing.simulation._ledger import Hold, Ledger
    from gha_queue.testing.simulation._world import Process


@dataclass
class Actor(ABC):
    """A process with its queue; `random` decides what it does, among jobs of these `ids`."""

    process: Process
    queue: Queue
    settings: Settings
    ledger: Ledger
    random: random.Random
    ids: Sequence[str]

    @abstractmethod
    def work(self) -> None:
        """Do what such an actor does, to its end."""

    def say(self, what: str, *details: object) -> None:
        self.process.world.story.say(self.process.name, what, *details)

    def rest(self, longest: float) -> None:
        self.process.sleep(self.random.random() * longest)

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def attempt(self, what: str, action: Callable[[], object]) -> bool:
        """Do something that the store may not answer; whether it did."""
        try:
            action()
        except StoreUnavailableError as error:
            self.say("gives up to %s: %s", what, error.reason)
            return False
        return True


class Worker(Actor):
    """Claims and runs jobs until its shift is over, or the queue is closed and done."""

    def work(self) -> None:
        ends = self.process.world.now + self.random.random() * 4 * self.settings.lease
        careful = self.chance(0.3)
        while self.process.world.now < ends:
            if careful and self._leaves():
                return
            if not self.serve():
                self.rest(self.settings.lease / 2)

    def serve(self) -> bool:
        """Claim a job and run it; whether there was one."""
        call = self.ledger.claim_called(self.process)
        claims: list[Claim | None] = [None]
        answered = self.attempt("claim", lambda: claims.append(self.queue.claim(self.process.name)))
        hold = self.ledger.claim_ended(call, claims[-1], gave_up=not answered)
        if hold is None:
            return False
        self.say("holds %s.%s", hold.claim.job.id, hold.claim.attempt)
        self.run(hold)
        return True

    def run(self, hold: Hold) -> None:
        """Do the job, and settle it, unless the lease is lost or the worker forgets it."""
        longest = self.random.choice((0.0, 1.0, self.settings.heartbeat, 2 * self.settings.lease))
        if longest > 1.0 or self.chance(0.5):
            self.process.start(lambda: self._beat(hold))
        if self.chance(0.2):
            files = self.queue.job_files(hold.claim.job.id)
            self.attempt("keep a file", lambda: files.put(f"log.{hold.claim.attempt}", b"log"))
        self._toil(hold, self.random.random() * longest)
        if hold.running or self.chance(0.3):  # some try to settle though their lease is lost
            hold.running = False
            if self.chance(0.9):
                self._settle(hold.claim)
            else:
                self.say("forgets %s.%s", hold.claim.job.id, hold.claim.attempt)
        hold.settled = True

    def _toil(self, hold: Hold, seconds: float) -> None:
        claim, process = hold.claim, self.process
        done = process.monotonic() + seconds
        while hold.running and (now := process.monotonic()) < done:
            if now >= claim.deadline:
                self.say("stops %s.%s at its deadline", claim.job.id, claim.attempt)
                hold.running = False
            else:
                process.sleep(min(done, claim.deadline) - now)

    def _beat(self, hold: Hold) -> None:
        process, claim, pause = self.process, hold.claim, self.settings.heartbeat
        while (left := claim.deadline - process.monotonic()) > 0.0:
            process.sleep(min(pause, left))
            if hold.settled:
                break
            try:
                claim.heartbeat()
                pause = self.settings.heartbeat
            except StoreUnavailableError:
                pause = self.settings.heartbeat / 4
            except LeaseLostError as error:
                self.say("learns at a heartbeat: %s", error)
                hold.running = False
                break

    def _settle(self, claim: Claim) -> None:
        mark = f"{claim.job.id}.{claim.attempt} by {self.process.name}"
        settle: Callable[[], Outcome] = self.random.choices(
            (
                lambda: claim.complete(mark),
                lambda: claim.fail(mark),
                lambda: claim.fail(mark, delay=0.0),
                lambda: claim.fail(f"{FATAL}: {mark}", retry=False),
                claim.release,
                lambda: claim.snooze(self.settings.heartbeat),
            ),
            (8, 3, 3, 1, 2, 1),
        )[0]
        for _ in range(3):
            if self.attempt("settle", lambda: self._end(claim, mark, settle)) or self.chance(0.3):
                return
            self.rest(self.settings.lease)  # then the same call may be repeated

    def _end(self, claim: Claim, mark: str, settle: Callable[[], Outcome]) -> None:
        try:
            outcome = settle()
        except LeaseLostError as error:
            self.say("learns when it settles: %s", error)
            return
        self.say("settled %s.%s as %s", claim.job.id, claim.attempt, outcome.kind.value)
        self.ledger.told(outcome, mark if outcome.result or outcome.error else "")

    def _leaves(self) -> bool:
        gone: list[bool] = []

        def look() -> None:
            if self.queue.state().status is Status.CLOSED and self.queue.drained():
                gone.append(True)

        self.attempt("look", look)
        if gone:
            self.say("leaves: closed and drained")
            self.ledger.left()
        return bool(gone)


class Finisher(Worker):
    """The healthy worker that comes when all trouble is over, and finishes what is left."""

    def work(self) -> None:
        for _ in range(40):
            self.queue.reap()
            while self.serve():
                pass
            if self.queue.drained():
                return
            self.process.sleep(self.settings.heartbeat)

    def run(self, hold: Hold) -> None:
        hold.running = False
        mark = f"{hold.claim.job.id}.{hold.claim.attempt} by {self.process.name}"
        self.ledger.told(hold.claim.complete(mark), mark)
        hold.settled = True


class Putter(Actor):
    """Puts jobs, some of them twice, and looks how one ends."""

    def work(self) -> None:
        for number in range(self.random.randint(1, 3)):
            self.rest(self.settings.heartbeat)
            items = [
                self._new(f"{self.process.name}-{number}{letter}")
                for letter in "xyz"[: self.random.choice((1, 1, 1, 3))]
            ]
            for _ in range(2):
                if self.attempt("put", lambda: self._put(items)):  # noqa: B023 - it is called now
                    break
        if self.chance(0.3):
            self._wait(self.random.choice(self.ids))

    def _new(self, payload: str) -> NewJob:
        random = self.random
        return NewJob(
            payload,
            id=random.choice(self.ids),
            max_attempts=random.randint(1, 3),
            priority=random.choice((0, 5, 5, 9)),
            delay=random.choice((0.0, 0.0, 0.0, 2.0, self.settings.lease)),
        )

    def _put(self, items: list[NewJob]) -> None:
        try:
            if len(items) == 1:
                new = items[0]
                jobs = [
                    self.queue.put(
                        new.payload,
                        id=new.id,
                        max_attempts=new.max_attempts,
                        priority=new.priority,
                        delay=new.delay,
                    )
                ]
            else:
                jobs = self.queue.put_many(items)
        except QueueClosedError as error:
            self.say("is told: %s", error)
        except PutManyError as error:
            self._note(error.jobs, items)
        else:
            self._note(jobs, items)

    def _note(self, jobs: Sequence[Job], items: Sequence[NewJob]) -> None:
        for job in jobs:
            self.say("has put %s%s", job.id, ", a duplicate" if job.duplicate else "")
            self.ledger.accepted(self.process, job, [item.payload for item in items])

    def _wait(self, job_id: str) -> None:
        def wait() -> None:
            with contextlib.suppress(WaitTimeoutError, JobNotFoundError, JobPurgedError):
                outcome = self.queue.wait(job_id, timeout=self.settings.lease)
                self.say("is told that %s %s", outcome.job_id, outcome.kind.value)
                self.ledger.told_final(outcome)

        self.attempt("wait", wait)


class Reaper(Actor):
    """Reaps now and then."""

    def work(self) -> None:
        for _ in range(self.random.randint(1, 5)):
            self.rest(self.settings.lease)
            self.attempt("reap", self.queue.reap)


class Canceller(Actor):
    """Cancels a job or two."""

    def work(self) -> None:
        for _ in range(self.random.randint(1, 2)):
            self.rest(self.settings.lease)
            job_id = self.random.choice(self.ids)
            self.ledger.cancelling(job_id)
            self.attempt("cancel", lambda: self._cancel(job_id))  # noqa: B023 - it is called now

    def _cancel(self, job_id: str) -> None:
        with contextlib.suppress(JobNotFoundError, JobPurgedError):
            outcome = self.queue.cancel(job_id)
            self.say("is told that %s %s", outcome.job_id, outcome.kind.value)
            self.ledger.told_final(outcome)


class Retrier(Actor):
    """Tries dead jobs again, one or all."""

    def work(self) -> None:
        for _ in range(self.random.randint(1, 4)):
            self.rest(self.settings.lease)
            self.attempt("retry", self._redrive if self.chance(0.3) else self._retry)

    def _retry(self) -> None:
        with contextlib.suppress(
            JobNotDeadError, JobNotFoundError, JobPurgedError, QueueClosedError
        ):
            self._note(self.queue.retry(self.random.choice(self.ids)))

    def _redrive(self) -> None:
        with contextlib.suppress(JobPurgedError, QueueClosedError):
            for job in self.queue.redrive():
                self._note(job)

    def _note(self, job: Job) -> None:
        self.say("has put %s", job.id)
        self.ledger.accepted(self.process, job)


class Purger(Actor):
    """Removes what has ended."""

    def work(self) -> None:
        for _ in range(self.random.randint(1, 3)):
            self.rest(2 * self.settings.lease)
            older_than = self.random.choice((0.0, self.settings.heartbeat))
            state = self.random.choice((None, State.DEAD, State.SUCCEEDED))
            self.attempt("purge", lambda: self.queue.purge(older_than, state))  # noqa: B023 - now


class Owner(Actor):
    """Pauses, resumes and closes the queue, limits and drains its workers."""

    def work(self) -> None:
        for steer in (
            self.queue.pause,
            lambda: self._drain("worker-1"),
            lambda: self.queue.limit_slots(2),
            self.queue.resume,
            lambda: self._drain("worker-2"),
        ):
            if self.chance(0.3):
                self.rest(self.settings.heartbeat)
                self.attempt("steer", steer)
        if self.chance(0.8):
            self.rest(self.settings.lease)
            self.attempt("close", lambda: self.queue.close(cancel=self.chance(0.2)))

    def _drain(self, worker: str) -> None:
        self.queue.drain([worker])
        self.ledger.drained(worker)

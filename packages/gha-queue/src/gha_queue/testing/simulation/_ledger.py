"""What the queue promises, judged by a book that is kept apart from it.

The ledger sees every request take effect in the bucket, and what each process was told. It knows
the true time, and so who was still running a job when somebody else judged it lost.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gha_queue import OutcomeKind, Status
from gha_queue._keys import CLAIMS, CONTROL, DEAD, JOBS, OUTCOMES, READY
from gha_queue.testing.simulation._bucket import OK, Operation, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gha_queue import Claim, Job, Json, Outcome, Settings
    from gha_queue._records import Fields
    from gha_queue.testing.simulation._bucket import Bucket
    from gha_queue.testing.simulation._world import Process, World

FATAL = "fatal"  # what holders write who allow no retry
_TICK = 1e-6  # seconds within which two times are the same


class ViolationError(Exception):
    """The queue broke a promise."""


@dataclass
class ClaimCall:
    """One call of `Queue.claim`: open, given up after too many faults, or returned."""

    process: Process
    open: bool = True
    gave_up: bool = False
    claim: Claim | None = None


@dataclass
class Hold:
    """An attempt that a process was told is its own; whether it still runs, and is settled."""

    process: Process
    claim: Claim
    running: bool = True
    settled: bool = False

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed by the clock of its holder."""
        return self.process.monotonic() >= self.claim.deadline - _TICK


@dataclass
class _Birth:
    """The creation of a claim in the bucket, during a call of `claim`."""

    at: float
    call: ClaimCall | None


@dataclass
class _JobBook:
    """What is known of one job; `endings` are the fields of its outcomes, from attempt 1 on.

    `files` are its files by name, with the time at which each was last written.
    """

    record: Fields
    endings: list[Fields] = field(default_factory=list)
    births: dict[int, _Birth] = field(default_factory=dict)
    holds: dict[int, Hold] = field(default_factory=dict)
    accepted: bool = False
    creator: Process | None = None
    retried: bool = False
    purged: bool = False
    ended: float | None = None
    files: dict[str, float] = field(default_factory=dict)

    @property
    def final(self) -> OutcomeKind | None:
        """How the job ended, None while it has not."""
        if not self.endings or self.endings[-1]["next"] is not None:
            return None
        return OutcomeKind(self.endings[-1]["kind"])

    @property
    def died(self) -> bool:
        return self.final not in {None, OutcomeKind.SUCCEEDED}


class Ledger:
    """Checks each promise at the moment when it can be broken; raises ViolationError."""

    def __init__(self, world: World, settings: Settings) -> None:
        self._world = world
        self._settings = settings
        self._jobs: dict[str, _JobBook] = {}
        self._calls: dict[Process, ClaimCall] = {}
        self._cancelling: set[str] = set()
        self._drained: set[str] = set()
        self._closed = self._ever_closed = False
        self._left = False

    # What takes effect in the bucket.

    def sent(self, process: Process, request: Request) -> ClaimCall | None:
        """Check what a process says, and return the call of `claim` during which it does, if any."""
        if request.key == CONTROL and request.operation is Operation.PUT and not request.if_absent:
            forgotten = self._drained - set(json.loads(request.body)["drain"])
            if forgotten:
                raise ViolationError(f"{forgotten} were drained, and then no more")
        return self._calls.get(process) if request.if_absent else None

    def landed(self, request: Request, sent: object, status: int) -> None:
        """Check what a request has just done to the bucket."""
        kind, _, name = request.key.partition("/")
        if request.operation is Operation.DELETE:
            self._deleted(request.key, kind, name)
        elif request.operation is Operation.PUT and status == OK:
            if kind == "jobs":
                self._job_written(request, name)
            elif kind == "outcomes":
                self._outcome_written(request)
            elif kind == "claims" and request.if_absent:
                job_id, number = _attempt_of(request.key)
                birth = _Birth(self._world.now, sent if isinstance(sent, ClaimCall) else None)
                self._job(job_id).births.setdefault(number, birth)
            elif kind == "files":
                job_id, _, file = name.removeprefix("jobs/").partition("/")
                self._job(job_id).files[file] = self._world.now
            elif kind == "purged":
                self._purged(name)
            elif kind == "control":
                self._closed = json.loads(request.body)["status"] == Status.CLOSED.value
                self._ever_closed |= self._closed
                self._left &= self._closed  # a late write may open the queue again

    def _deleted(self, key: str, kind: str, name: str) -> None:
        if kind == "claims":
            job_id, number = _attempt_of(key)
            if len(self._job(job_id).endings) < number:
                raise ViolationError(f"{key} was deleted though its attempt has no outcome")
        elif kind == "dead":
            if not (self._job(name).purged or self._job(name).retried):
                raise ViolationError(f"{key} was deleted")
        elif kind == "files":
            job_id, _, file = name.removeprefix("jobs/").partition("/")
            if not self._job(job_id).purged:
                raise ViolationError(f"{key} was deleted before its job was purged")
            self._job(job_id).files.pop(file, None)
        elif kind in {"jobs", "outcomes"}:  # a purge removes them a day later
            raise ViolationError(f"{key} was deleted")

    def _purged(self, job_id: str) -> None:
        job = self._job(job_id)
        for file, written in job.files.items():
            if job.ended is not None and written < job.ended:
                raise ViolationError(f"{job_id} was purged, and its file {file} was forgotten")

    def _job_written(self, request: Request, job_id: str) -> None:
        record = json.loads(request.body)
        if request.if_absent:
            self._jobs[job_id] = _JobBook(record)
            retry_of = record["retry_of"]
            if retry_of is not None:
                if not self._job(retry_of).died:
                    raise ViolationError(f"{request.key} repeats a job that is not dead")
                self._job(retry_of).retried = True
            return
        if not record["purged"]:
            raise ViolationError(f"{request.key} was overwritten")
        job = self._job(job_id)
        if job.final is None:
            raise ViolationError(f"{request.key} was purged before the job had ended")
        job.purged = True

    def _outcome_written(self, request: Request) -> None:
        key = request.key
        job_id, number = _attempt_of(key)
        job, ending = self._job(job_id), json.loads(request.body)
        if not request.if_absent:
            raise ViolationError(f"{key} was overwritten")
        if number != len(job.endings) + 1:
            raise ViolationError(f"{key} was made after {len(job.endings)} outcomes of its job")
        if job.final is not None:
            raise ViolationError(f"{key} was made after the job had ended")
        job.endings.append(ending)
        job.ended = self._world.now if ending["next"] is None else None
        if ending["kind"] == OutcomeKind.LOST.value:
            self._check_lost(key, job.births.get(number), job.holds.get(number))
        self._check_budget(key, job, ending)

    def _check_lost(self, key: str, birth: _Birth | None, hold: Hold | None) -> None:
        if birth is None or birth.call is None:
            raise ViolationError(f"{key}: an attempt was lost that nobody had claimed")
        call = birth.call
        if call.process.crashed or call.gave_up:
            return
        expired = hold is not None and hold.expired
        # While the call goes on, its answers are late or lost, or its process stands still.
        slow = call.open and self._world.now - birth.at > self._settings.lease
        if not (expired or slow):
            why = "was told that it had not claimed it"
            if hold or call.open:
                why = "held it in good time" if hold else "was still to hear of its claim"
            raise ViolationError(f"{key}: lost, though {call.process.name} {why}")

    def _check_budget(self, key: str, job: _JobBook, ending: Fields) -> None:
        spent = sum(
            each["kind"] in {OutcomeKind.FAILED.value, OutcomeKind.LOST.value}
            for each in job.endings
        )
        budget, kind = job.record["max_attempts"], OutcomeKind(ending["kind"])
        if ending["next"] is not None:
            if ending["next"] != len(job.endings) + 1:
                raise ViolationError(f"{key}: attempt {ending['next']} is to follow")
            if spent >= budget:
                raise ViolationError(f"{key}: the job goes on after {spent} of {budget} attempts")
            if kind in {OutcomeKind.SUCCEEDED, OutcomeKind.CANCELLED}:
                raise ViolationError(f"{key}: the job goes on after it has {kind.value}")
        elif kind is OutcomeKind.RELEASED:
            raise ViolationError(f"{key}: a release ended the job")
        elif kind is OutcomeKind.CANCELLED:
            if not self._ever_closed and _first_of(job.record["id"]) not in self._cancelling:
                raise ViolationError(f"{key}: cancelled, and nobody asked for it")
        elif kind is not OutcomeKind.SUCCEEDED and spent < budget and not _is_fatal(ending):
            raise ViolationError(f"{key}: the job died after {spent} of {budget} attempts")

    # What processes were told.

    def claim_called(self, process: Process) -> ClaimCall:
        """Open the entry of a call of `claim`; `claim_ended` closes it."""
        call = self._calls[process] = ClaimCall(process)
        return call

    def claim_ended(self, call: ClaimCall, claim: Claim | None, *, gave_up: bool) -> Hold | None:
        """Check a claim that was handed out."""
        call.open, call.claim, call.gave_up = False, claim, gave_up
        del self._calls[call.process]
        if claim is None:
            return None
        name, job = f"{claim.job.id}.{claim.attempt}", self._job(claim.job.id)
        birth = job.births.get(claim.attempt)
        if claim.attempt in job.holds:
            raise ViolationError(f"attempt {name} was handed out twice")
        if birth is None or birth.call is not call:
            raise ViolationError(f"attempt {name} was handed to a process that did not claim it")
        if claim.attempt > len(job.endings) + 1:
            raise ViolationError(f"attempt {name} was handed out before the one before had ended")
        for number, hold in job.holds.items():
            if hold.running and not hold.process.crashed and not hold.expired:
                raise ViolationError(
                    f"attempt {name} was handed out while {hold.process.name} runs {number}"
                )
        hold = job.holds[claim.attempt] = Hold(call.process, claim)
        return hold

    def told(self, outcome: Outcome, mark: str = "") -> None:
        """Check an outcome that a process was told; `mark` is part of what it wrote there."""
        job = self._job(outcome.job_id)
        stands = job.endings[outcome.attempt - 1]
        if (stands["kind"], stands["next"]) != (outcome.kind.value, outcome.next):
            raise ViolationError(f"{outcome} was told, but {stands} stands")
        if mark not in f"{stands['result']} {stands['error']}":
            raise ViolationError(f"the ending {mark!r} was told to stand, but {stands} does")

    def told_final(self, outcome: Outcome) -> None:
        """Check an outcome that was told as the end of its job."""
        self.told(outcome)
        if not outcome.final:
            raise ViolationError(f"{outcome} was told as the end of its job")

    def accepted(self, process: Process, job: Job, payloads: Sequence[Json] = ()) -> None:
        """Check the answer to a put, which had one of these payloads."""
        book = self._job(job.id)
        if book.purged:
            return
        book.accepted = True
        if book.record["payload"] != job.payload:
            raise ViolationError(f"{job} was told, but {book.record} stands")
        if not job.duplicate:
            if book.creator is not None or (payloads and job.payload not in payloads):
                raise ViolationError(f"{process.name} was told that job {job.id!r} was new")
            book.creator = process
        if self._left and book.final is None:
            raise ViolationError(f"job {job.id!r} was accepted when a worker had left for good")

    def drained(self, worker: str) -> None:
        """Know that the owner was told that a worker is drained: from now on it says nothing else."""
        self._drained.add(worker)

    def cancelling(self, job_id: str) -> None:
        """Know that somebody wants this job to be cancelled, be it there or not."""
        self._cancelling.add(job_id)

    def left(self) -> None:
        """Check that a worker that left a closed queue because all was done, was right."""
        self._left = self._closed
        self._check_ended("when a worker left because all was done")

    # The end.

    def close(self, bucket: Bucket) -> None:
        """Check what is left when all has come to rest."""
        for prefix in (READY, CLAIMS):
            for key in bucket.below(prefix):
                raise ViolationError(f"{key} is left at the end")
        self._check_ended("at the end")
        marked = {key[len(DEAD) :] for key in bucket.below(DEAD)}
        for job_id, job in sorted(self._jobs.items()):
            if job_id in marked and not job.died:
                raise ViolationError(f"{DEAD}{job_id} stands for a job that did not die")
            # Of a put that nobody was told of, and its cancellation, both crashed half way,
            # nothing may be left to finish from.
            owed = job.accepted and job.died and not job.retried and not job.purged
            if owed and job_id not in marked:
                raise ViolationError(f"{DEAD}{job_id} is missing, though its job died")
            for number, ending in enumerate(job.endings, 1):
                stored = bucket.objects.get(f"{OUTCOMES}{job_id}.{number}")
                if stored is None or json.loads(stored.body) != ending:
                    raise ViolationError(f"{OUTCOMES}{job_id}.{number} has changed")
            if f"{JOBS}{job_id}" not in bucket.objects:
                raise ViolationError(f"{JOBS}{job_id} is gone")

    def _check_ended(self, when: str) -> None:
        for job_id, job in self._jobs.items():
            if job.accepted and job.final is None:
                raise ViolationError(f"job {job_id!r} was accepted and has not ended {when}")

    def _job(self, job_id: str) -> _JobBook:
        job = self._jobs.get(job_id)
        if job is None:
            raise ViolationError(f"job {job_id!r} is spoken of, but was never put")
        return job


def _attempt_of(key: str) -> tuple[str, int]:
    job_id, _, number = key.partition("/")[2].rpartition(".")
    return job_id, int(number)


def _first_of(job_id: str) -> str:
    return job_id.partition("~")[0]


def _is_fatal(ending: Fields) -> bool:
    return ending["kind"] == OutcomeKind.FAILED.value and FATAL in str(ending["error"])

"""What a worker does next: every decision as a function of what it knows. No I/O, no clock."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from gha_worker._guard.ending import Ended, Ending
from gha_worker._jobs.command_job import OnStop
from gha_worker._jobs.result import CommandResult, Reason

if TYPE_CHECKING:
    from gha_worker._jobs.command_job import CommandJob

PATIENCE = 1800.0
"""Seconds of a machine's life that are enough to start a job of any time limit."""

GRACE = 2.0
"""Seconds between asking a script to end and killing it."""


class Leaving(Enum):
    """Why a worker leaves; the value completes "the worker leaves: ..."."""

    SIGNALLED = "it was told to stop"
    CANCELLED = "the queue was cancelled"
    ABANDONED = "the owner of the queue is gone"
    DISMISSED = "the owner of the queue wants it to"
    DRAINED = "the queue is closed and empty"
    ENOUGH = "it has run as many jobs as it was to"
    EXPIRED = "it has no AWS identity any more, without which jobs would fail"
    IDLE = "no work came"
    TOO_OLD = "this machine is too old for the work that waits"

    @property
    def at_once(self) -> bool:
        """Whether running jobs are stopped; else they end first."""
        return self in {Leaving.SIGNALLED, Leaving.CANCELLED, Leaving.ABANDONED}


@dataclass(frozen=True)
class Situation:
    """What a worker knows. Times are monotonic seconds; `work_seen` is when work last ended.

    `running` counts the jobs it holds, `taken` those it ever started, of at most `max_jobs`.
    """

    now: float
    started: float
    work_seen: float
    lifetime: float
    idle_timeout: float
    running: int = 0
    taken: int = 0
    max_jobs: int | None = None
    signalled: bool = False
    paused: bool = False
    closed: bool = False
    cancelled: bool = False
    abandoned: bool = False
    dismissed: bool = False
    drained: bool = False
    refused_for_age: bool = False
    expired: bool = False

    @property
    def left(self) -> float:
        """Seconds until this machine ends."""
        return self.started + self.lifetime - self.now


def why_leave(situation: Situation) -> Leaving | None:
    """The reason to claim nothing more and to leave, strongest first; None to stay.

    Unless it says `at_once`, the jobs that run are seen to their end first.
    """
    idle = not situation.running
    reasons = {
        Leaving.SIGNALLED: situation.signalled,
        Leaving.CANCELLED: situation.cancelled,
        Leaving.ABANDONED: situation.abandoned,
        Leaving.DISMISSED: situation.dismissed,
        Leaving.DRAINED: idle and situation.closed and situation.drained,
        Leaving.ENOUGH: situation.max_jobs is not None and situation.taken >= situation.max_jobs,
        Leaving.EXPIRED: situation.expired,
        Leaving.TOO_OLD: (idle and situation.refused_for_age) or situation.left <= 0,
        Leaving.IDLE: idle and situation.now - situation.work_seen >= situation.idle_timeout,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def may_claim(situation: Situation) -> bool:
    """Whether to look for work. A closed queue is still worked off; a paused one is not."""
    return not situation.paused and why_leave(situation) is None


def has_time_for(situation: Situation, timeout: float) -> bool:
    """Whether a job of this time limit may start before the machine ends.

    A long job may start when only half an hour is left, or half of a life that is shorter than
    an hour: otherwise machines with a short life could never run it.
    """
    return situation.left >= min(timeout, PATIENCE, situation.lifetime / 2)


def may_begin(situation: Situation, timeout: float) -> bool:
    """Whether a job that was held until the machine had room may start now, or goes to others."""
    return not (situation.dismissed or situation.expired) and has_time_for(situation, timeout)


def time_limit(situation: Situation, timeout: float) -> tuple[float, Reason]:
    """When a job that starts now is ended, and the reason that this will have."""
    own = situation.now + timeout
    end = situation.started + situation.lifetime
    return (own, Reason.TIMEOUT) if own <= end else (end, Reason.VM_LIFETIME)


class Interruption(Enum):
    """What made a worker stop a running job."""

    SIGNAL = "signal"
    CANCEL = "cancel"
    LEASE_LOST = "lease lost"
    MEMORY = "memory"
    """The machine had none left, and this job was the furthest above its share."""

    @property
    def grace(self) -> float:
        """Seconds that the job gets to end by itself."""
        return GRACE if self in {Interruption.SIGNAL, Interruption.CANCEL} else 0.0


class Settlement(Enum):
    """How the attempt of a job is brought to its end."""

    COMPLETE = auto()
    FAIL = auto()
    FAIL_FOR_GOOD = auto()
    RELEASE = auto()
    NONE = auto()
    """Whoever took its lease does that."""


def settlement(
    reason: Reason, *, ok: bool, interruption: Interruption | None, on_stop: OnStop
) -> Settlement:
    """How to settle a job that ended for `reason`.

    A lost lease is settled by whoever took it. A job of a cancelled queue is not given back: no
    one would run it. One that its machine's end cut off is not tried again on another.
    """
    if reason is Reason.LEASE_LOST:
        return Settlement.NONE
    if reason is Reason.STOPPED:
        if interruption is Interruption.CANCEL:
            return Settlement.FAIL_FOR_GOOD
        return Settlement.RELEASE if on_stop is OnStop.RELEASE else Settlement.FAIL
    if reason in (Reason.BAD_JOB, Reason.VM_LIFETIME):
        return Settlement.FAIL_FOR_GOOD
    return Settlement.COMPLETE if ok else Settlement.FAIL


@dataclass(frozen=True)
class Stage:
    """One script of a job: its preparation or the job itself."""

    preparing: bool
    limit: Reason
    """What it means for this job to be ended at its limit."""


@dataclass(frozen=True)
class Memory:
    """The memory of a job in MB: its share, that of its whole machine, the most it was seen with.

    `ran_out` tells that the machine had none left while the job ran.
    """

    share: int
    machine: int
    peak: int | None = None
    ran_out: bool = False

    @property
    def enough(self) -> int:
        """What to ask for so that the same job would fit: its peak and a quarter, in steps."""
        return math.ceil(max(self.peak or 0, self.share) * 1.25 / _MEMORY_STEP) * _MEMORY_STEP


_MEMORY_STEP = 256


def conclude(
    job: CommandJob,
    stage: Stage,
    ended: Ended,
    memory: Memory,
    *,
    interruption: Interruption | None = None,
    before: float = 0.0,
    tail: str = "",
) -> CommandResult:
    """The result of a job whose `stage` ended so, after `before` seconds of earlier stages."""
    reason = _reason(stage, ended, memory, interruption)
    return CommandResult(
        reason=reason,
        exit_code=ended.exit_code,
        signal=ended.signal,
        seconds=round(before + ended.seconds, 3),
        message=_message(job, reason, ended, memory),
        tail=tail,
        peak_memory_mb=memory.peak,
        memory_mb=memory.share,
    )


def _reason(
    stage: Stage, ended: Ended, memory: Memory, interruption: Interruption | None
) -> Reason:
    if ended.ending is Ending.ITSELF:
        if memory.ran_out and _killed(ended):
            return Reason.OUT_OF_MEMORY
        return Reason.PREPARE_FAILED if stage.preparing else Reason.EXITED
    if ended.ending is Ending.STOP:
        return {
            Interruption.LEASE_LOST: Reason.LEASE_LOST,
            Interruption.MEMORY: Reason.OUT_OF_MEMORY,
        }.get(interruption or Interruption.SIGNAL, Reason.STOPPED)
    return {
        Ending.LIMIT: stage.limit,
        Ending.DEADLINE: Reason.LEASE_LOST,
        Ending.GUARD_DIED: Reason.GUARD_DIED,
        Ending.SERVER_FAILED: Reason.SERVER_FAILED,
    }[ended.ending]


_EXIT_AFTER_SIGKILL = 137


def _killed(ended: Ended) -> bool:
    return ended.signal == "SIGKILL" or ended.exit_code == _EXIT_AFTER_SIGKILL


def _message(job: CommandJob, reason: Reason, ended: Ended, memory: Memory) -> str:
    end = f"signal {ended.signal}" if ended.signal else f"exit code {ended.exit_code}"
    if _killed(ended):
        end += ", most often a machine out of memory"
    if reason is Reason.EXITED:
        if ended.exit_code == 0:
            return "The script ended with exit code 0."
        return f"The script ended with {end}; the end of its output says more."
    return {
        Reason.PREPARE_FAILED: f"The preparation ended with {end}; the end of its output says"
        " more, and the next job with this key prepares again.",
        Reason.TIMEOUT: f"The job was ended at its time limit of {job.timeout:g} s; raise the"
        " job's timeout or give it less to do.",
        Reason.VM_LIFETIME: "The job was ended because its machine reached its greatest age;"
        " split the job or run it on a machine that lives longer.",
        Reason.STOPPED: "The job was ended because its worker was told to stop; put it again to"
        " have it run.",
        Reason.LEASE_LOST: "The job was ended because its lease was lost; whoever took the lease"
        " settles it.",
        Reason.OUT_OF_MEMORY: _out_of_memory(memory),
        Reason.SERVER_FAILED: "The persistent server that ran the job failed in the middle of it;"
        " put the job again, without a server if that happens once more.",
        Reason.GUARD_DIED: f"The job was ended because the process that watches it died of {end};"
        " give the job more memory or a larger machine.",
    }[reason]


def _out_of_memory(memory: Memory) -> str:
    held = "" if memory.peak is None else f"it held {memory.peak} MB, "
    advice = (
        f"put it again with memory_mb={memory.enough} in its resources."
        if memory.enough <= memory.machine
        else f"that is about all of the {memory.machine} MB there are: run it on a larger machine."
    )
    return (
        "The job was ended because its machine ran out of memory:"
        f" {held}its share was {memory.share} MB; {advice}"
    )

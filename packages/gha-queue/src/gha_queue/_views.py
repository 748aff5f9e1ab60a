"""What the queue shows of itself: frozen pictures, true when they were taken."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gha_queue._records import Job, Json, Outcome, OutcomeKind


class State(enum.Enum):
    """Where a job stands, as far as listings tell.

    RETRIED is a dead job that was put again. What looks like SUCCEEDED may also be a job whose
    putter died half way, or one that is just going from one attempt to the next: `Queue.history`
    knows.
    """

    READY = "ready"
    DELAYED = "delayed"
    RUNNING = "running"
    DEAD = "dead"
    RETRIED = "retried"
    SUCCEEDED = "succeeded"


@dataclass(frozen=True)
class Stats:
    """Counts of jobs from LISTs alone; ages in seconds, None when there is none of the kind.

    `oldest_waiting_age` is how long the first of the ready jobs has been due. `dead` counts what
    ended without success and was neither retried nor purged, `succeeded` the rest.
    """

    ready: int
    delayed: int
    running: int
    dead: int
    succeeded: int
    oldest_waiting_age: float | None
    oldest_heartbeat_age: float | None


@dataclass(frozen=True)
class JobSeen:
    """A job in a listing.

    `attempt` is the one that waits or runs, None for a job that has ended. `age` in seconds since
    it was due (READY), put or put back (DELAYED), last heard of (RUNNING), dead (DEAD), or first
    put (RETRIED, SUCCEEDED).
    """

    id: str
    state: State
    attempt: int | None
    age: float


@dataclass(frozen=True)
class DeadLetter:
    """A job that ended without success, and why.

    `reason` is one word for machines: the outcome's kind, or the `reason` that its error gives.
    `attempts` counts those that were made. `age` is the seconds since it died.
    """

    job_id: str
    kind: OutcomeKind
    reason: str
    error: Json
    attempts: int
    worker: str | None
    age: float


@dataclass(frozen=True)
class AttemptSeen:
    """One attempt of a job; times are server times in seconds since 1970.

    `worker` and `started` are None while it waits, `ended` and `outcome` until it ends.
    """

    number: int
    worker: str | None
    started: float | None
    ended: float | None
    outcome: Outcome | None


@dataclass(frozen=True)
class History:
    """The life of one job: every attempt in order, and the ids of the retries that followed."""

    job: Job
    state: State
    attempts: tuple[AttemptSeen, ...]
    retries: tuple[str, ...]

"""The records of a queue, and how they are written as JSON."""

from __future__ import annotations

import enum
import json
import reprlib
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gha_queue._errors import InvalidJobError, InvalidQueueError, QueueError, RecordError
from gha_queue._keys import PRIORITIES, Attempt, Marker, check_id, check_need

FORMAT = 1
PAYLOAD_LIMIT = 256 * 1024
NESTING_LIMIT = 100
ATTEMPTS_LIMIT = 999_999_999  # what keys have room for
DELAY_LIMIT = 10 * 365.0 * 86400  # a due time has ten digits

Json: TypeAlias = Any  # a recursive type would make every reader of a payload cast
Fields: TypeAlias = "dict[str, Json]"


class OutcomeKind(enum.Enum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"
    RELEASED = "released"
    CANCELLED = "cancelled"


class Status(enum.Enum):
    """What the owner of a queue lets happen in it."""

    OPEN = "open"
    PAUSED = "paused"
    CLOSED = "closed"


def check_period(name: str, seconds: float) -> None:
    """Raise InvalidQueueError unless this is a positive time that somebody can wait."""
    check_seconds(name, seconds, InvalidQueueError)
    if not seconds:
        raise InvalidQueueError(f"{name}=0: give a positive number of seconds")


@dataclass(frozen=True)
class Settings:
    """Seconds a claim lasts without a heartbeat, and seconds between heartbeats."""

    lease: float = 60.0
    heartbeat: float = 15.0

    def __post_init__(self) -> None:
        check_period("lease", self.lease)
        check_period("heartbeat", self.heartbeat)
        if self.lease < 3 * self.heartbeat * (1 - 1e-9):  # 0.3 is a little less than 3 * 0.1
            raise InvalidQueueError(
                f"lease={self.lease:g} is shorter than three heartbeats of {self.heartbeat:g} s, "
                f"so one lost answer could end a lease: use lease >= {3 * self.heartbeat:g}"
            )


@dataclass(frozen=True)
class Job:
    """A job as it was put. `due` is server time in whole seconds since 1970.

    `backoff` is the pause after its first failure in seconds, which doubles with each further one.
    `retry_of` is the id of the dead job that this one repeats, None for a job of its own.
    `duplicate` is True on the job that `put` returns when the id was already taken: it is the
    first job of that id, whatever the second put asked for. `purged` is True on what is left of a
    job that was purged: its id, without payload.
    """

    id: str
    payload: Json
    max_attempts: int = 1
    priority: int = 5
    need: str = ""
    due: int = 0
    backoff: float = 1.0
    retry_of: str | None = None
    purged: bool = False
    duplicate: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        check_id(self.id)
        check_need(self.need)
        if not (_is_int(self.max_attempts) and 1 <= self.max_attempts <= ATTEMPTS_LIMIT):
            raise InvalidJobError(
                f"max_attempts={shown(self.max_attempts)}: give a number from 1 to {ATTEMPTS_LIMIT}"
            )
        if not _is_int(self.priority) or self.priority not in PRIORITIES:
            raise InvalidJobError(f"priority={shown(self.priority)}: give 0 (first) to 9 (last)")
        check_seconds("backoff", self.backoff, InvalidJobError)

    def marker(self, attempt: int, due: int) -> Marker:
        """Return the marker of one attempt of this job."""
        return Marker(self.priority, due, self.need, Attempt(self.id, attempt))


@dataclass(frozen=True)
class Outcome:
    """How one attempt of a job ended.

    `used` counts the attempts of the budget used so far, `releases` the releases in a row up to
    this one. `next` is the number of the attempt that follows, None when the job has ended;
    `next_due` is when that attempt may start (server time, whole seconds since 1970).
    `worker` is the name that the claim was made under, None if no worker is known. `started` and
    `ended` are server times in seconds since 1970, as those who wrote them knew it, to a second
    or two; `started` is None if the attempt never ran.
    """

    job_id: str
    attempt: int
    kind: OutcomeKind
    result: Json
    error: Json
    worker: str | None
    used: int
    releases: int
    next: int | None
    next_due: int | None
    started: float | None
    ended: float

    @property
    def final(self) -> bool:
        """Whether the job ended with this attempt."""
        return self.next is None


@dataclass(frozen=True)
class Control:
    """What the owner last said, and how many seconds ago by the server's clock.

    The workers named in `drain` claim no more and leave when what they run has ended. `slots` is
    how many jobs a worker may run at a time, None as many as it can.
    """

    status: Status = Status.OPEN
    cancel: bool = False
    keepalive: float | None = None
    age: float = 0.0
    drain: frozenset[str] = frozenset()
    slots: int | None = None

    @property
    def abandoned(self) -> bool:
        """Whether the owner promised to renew this record and stopped doing so."""
        return self.keepalive is not None and self.age > self.keepalive

    @property
    def stopping(self) -> bool:
        """Whether running jobs should be stopped now."""
        return self.cancel or self.abandoned


@dataclass(frozen=True)
class WorkerSeen:
    """A worker, the seconds since it last reported, and whether it said that it left.

    `info` is what it reported; None in a listing, which does not read it.
    """

    name: str
    age: float
    left: bool
    info: Json = None


@dataclass(frozen=True)
class ClaimRecord:
    """Who claimed an attempt, and when by the server's clock; None where the record fails to say."""

    worker: str | None
    since: float | None


@dataclass(frozen=True)
class DeadRecord:
    """With which attempt a job died; `error` only where that attempt's outcome is unreadable."""

    attempt: int
    error: Json = None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def dump(fields: Fields) -> bytes:
    return json.dumps(fields, separators=(",", ":"), allow_nan=False).encode()


def json_size(value: Json) -> int:
    """Return the size of a value as JSON in bytes; raises ValueError if it is not JSON."""
    try:
        _check_nesting(value, NESTING_LIMIT)
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
        if json.loads(text) != value:
            raise ValueError("it does not read back as it was (keys must be strings, no tuples)")
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    return len(text)


def _check_nesting(value: Json, levels: int) -> None:
    # So that it can be read by whoever is deep in calls already.
    if isinstance(value, (dict, list)):
        if not levels:
            raise ValueError(f"it is nested more than {NESTING_LIMIT} levels deep")
        for inner in value.values() if isinstance(value, dict) else value:
            _check_nesting(inner, levels - 1)


def check_json(what: str, value: Json, error: type[QueueError]) -> None:
    """Raise `error` unless the value is JSON of a size that records may hold."""
    try:
        size = json_size(value)
    except ValueError as why:
        raise error(f"{what} must be JSON: {why}") from None
    if size > PAYLOAD_LIMIT:
        raise error(
            f"{what} has {size} bytes as JSON, the limit is {PAYLOAD_LIMIT}: store it elsewhere "
            f"and give its address"
        )


def load(key: str, body: bytes) -> Fields:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RecordError(key, f"it is not JSON ({error})") from None
    if not isinstance(fields, dict):
        raise RecordError(key, "it is not a JSON object")
    version = fields.get("v")
    if not isinstance(version, int):
        raise RecordError(key, "it has no format version")
    if version > FORMAT:
        raise RecordError(
            key, f"it has format {version}, this gha-queue reads up to {FORMAT}: upgrade gha-queue"
        )
    return fields


def token_of(body: bytes) -> str | None:
    """Return the token of the write that made this record, None if it has none."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None
    token = fields.get("token") if isinstance(fields, dict) else None
    return token if isinstance(token, str) else None


def check_seconds(name: str, value: float, error: type[QueueError]) -> None:
    """Raise `error` unless this is a time that somebody can wait."""
    if not (_is_number(value) and 0 <= value <= DELAY_LIMIT):
        raise error(f"{name}={shown(value)}: give a number of seconds from 0 to {DELAY_LIMIT:.0f}")


def shown(value: object) -> str:
    """Return a value as a message shows it: short, and whatever it is."""
    try:
        return reprlib.repr(value)
    except ValueError:  # an int of too many digits
        return f"a huge {type(value).__name__}"


def settings_fields(settings: Settings, probe: str) -> Fields:
    return {"v": FORMAT, "lease": settings.lease, "heartbeat": settings.heartbeat, "probe": probe}


def settings_from(key: str, body: bytes) -> tuple[Settings, str]:
    fields = load(key, body)
    try:
        return Settings(float(fields["lease"]), float(fields["heartbeat"])), str(fields["probe"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RecordError(key, f"a field is missing or wrong ({error})") from None


def job_fields(job: Job) -> Fields:
    return {
        "v": FORMAT,
        "id": job.id,
        "payload": job.payload,
        "max_attempts": job.max_attempts,
        "priority": job.priority,
        "need": job.need,
        "due": job.due,
        "backoff": job.backoff,
        "retry_of": job.retry_of,
        "purged": job.purged,
    }


def job_from(key: str, body: bytes) -> Job:
    fields = load(key, body)
    try:
        return Job(
            id=str(fields["id"]),
            payload=fields["payload"],
            max_attempts=fields["max_attempts"],
            priority=fields["priority"],
            need=str(fields["need"]),
            due=int(fields["due"]),
            backoff=fields["backoff"],
            retry_of=fields["retry_of"],
            purged=bool(fields["purged"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RecordError(key, f"a field is missing or wrong ({error})") from None


def claim_fields(worker: str, since: float, beat: int) -> Fields:
    return {"v": FORMAT, "worker": worker, "since": since, "beat": beat}


def claim_from(key: str, body: bytes) -> ClaimRecord:
    """Return what a claim says. Nothing depends on it, so a damaged one says nothing."""
    try:
        fields = load(key, body)
    except RecordError:
        return ClaimRecord(None, None)
    worker, since = fields.get("worker"), fields.get("since")
    return ClaimRecord(
        worker if isinstance(worker, str) else None,
        float(since) if isinstance(since, (int, float)) else None,
    )


def dead_fields(attempt: int, error: Json = None) -> Fields:
    return {"v": FORMAT, "attempt": attempt, "error": error}


def dead_from(key: str, body: bytes) -> DeadRecord:
    fields = load(key, body)
    try:
        return DeadRecord(int(fields["attempt"]), fields["error"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RecordError(key, f"a field is missing or wrong ({error})") from None


def outcome_fields(outcome: Outcome) -> Fields:
    return {
        "v": FORMAT,
        "job": outcome.job_id,
        "attempt": outcome.attempt,
        "kind": outcome.kind.value,
        "result": outcome.result,
        "error": outcome.error,
        "worker": outcome.worker,
        "used": outcome.used,
        "releases": outcome.releases,
        "next": outcome.next,
        "next_due": outcome.next_due,
        "started": outcome.started,
        "ended": outcome.ended,
    }


def outcome_from(key: str, body: bytes) -> Outcome:
    fields = load(key, body)
    try:
        return Outcome(
            job_id=str(fields["job"]),
            attempt=int(fields["attempt"]),
            kind=OutcomeKind(fields["kind"]),
            result=fields["result"],
            error=fields["error"],
            worker=fields["worker"],
            used=int(fields["used"]),
            releases=int(fields["releases"]),
            next=fields["next"],
            next_due=fields["next_due"],
            started=fields["started"],
            ended=float(fields["ended"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RecordError(key, f"a field is missing or wrong ({error})") from None


def control_fields(control: Control) -> Fields:
    return {
        "v": FORMAT,
        "status": control.status.value,
        "cancel": control.cancel,
        "keepalive": control.keepalive,
        "drain": sorted(control.drain),
        "slots": control.slots,
    }


def control_from(key: str, body: bytes, age: float) -> Control:
    fields = load(key, body)
    try:
        keepalive = fields["keepalive"]
        slots = fields.get("slots")  # an older gha-queue wrote neither this nor `drain`
        return Control(
            status=Status(fields["status"]),
            cancel=bool(fields["cancel"]),
            keepalive=None if keepalive is None else float(keepalive),
            age=age,
            drain=frozenset(map(str, fields.get("drain", ()))),
            slots=None if slots is None else int(slots),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RecordError(key, f"a field is missing or wrong ({error})") from None

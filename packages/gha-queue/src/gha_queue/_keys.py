"""The layout of keys below a queue's prefix: how names are built and read back.

Keys are ASCII, so that every store lists them in one order. They are read from the right, because
an id may itself contain dots: `a.1` is attempt 1 of `a`, `a.1.2` is attempt 2 of `a.1`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gha_queue._errors import InvalidFileError, InvalidJobError, InvalidWorkerError

QUEUE = "queue"
CONTROL = "control"
JOBS = "jobs/"
READY = "ready/"
CLAIMS = "claims/"
OUTCOMES = "outcomes/"
DEAD = "dead/"
PURGED = "purged/"
WORKERS = "workers/"
PROBE = "probe/"
JOB_FILES = "files/jobs/"
WORKER_FILES = "files/workers/"

PRIORITIES = range(10)

_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
# What users may not write, "~", marks the retries of a job: `a~2` is the second of `a`.
_ID = re.compile(r"(?P<first>[A-Za-z0-9._-]{1,200})(?:~(?P<retry>[1-9][0-9]{0,3}))?")
_NEED = re.compile(r"[A-Za-z0-9_-]{0,64}")
_MARKER = re.compile(
    r"ready/(?P<priority>[0-9])\.(?P<due>[0-9]{10})\.(?P<need>[A-Za-z0-9_-]{0,64})"
    r"\.(?P<id>[A-Za-z0-9._~-]+)\.(?P<attempt>[1-9][0-9]{0,8})"
)
_ATTEMPT = re.compile(r"(?P<id>[A-Za-z0-9._~-]+)\.(?P<attempt>[1-9][0-9]{0,8})")
# No worker's name contains "~", so this mark cannot be mistaken for one.
_LEFT = "~left"


def _is_name(text: object) -> bool:
    return isinstance(text, str) and _NAME.fullmatch(text) is not None and text not in {".", ".."}


def _is_id(text: object) -> bool:
    match = _ID.fullmatch(text) if isinstance(text, str) else None
    return match is not None and _is_name(match["first"])


def check_new_id(job_id: str) -> str:
    """Return the id if a user may give it to a job."""
    if not _is_name(job_id):
        raise InvalidJobError(
            f"{job_id!r} is no job id: use 1 to 200 of A-Z a-z 0-9 . _ - and not '.' or '..'"
        )
    return job_id


def check_id(job_id: str) -> str:
    """Return the id if a job can have it, retries included."""
    if not _is_id(job_id):
        raise InvalidJobError(
            f"{job_id!r} is no job id: an id is 1 to 200 of A-Z a-z 0-9 . _ - and not '.' or "
            f"'..', that of a retry ends in ~ and its number"
        )
    return job_id


def first_id(job_id: str) -> tuple[str, int]:
    """Return the id that a user gave, and the number of the retry: 0 for the job itself."""
    match = _ID.fullmatch(job_id)
    if match is None:
        raise ValueError(job_id)
    return match["first"], int(match["retry"] or 0)


def retry_id(first: str, number: int) -> str:
    return f"{first}~{number}" if number else first


def check_need(need: str) -> str:
    """Return the need if a job can have it."""
    if not isinstance(need, str) or _NEED.fullmatch(need) is None:
        raise InvalidJobError(f"{need!r} is no need: use at most 64 of A-Z a-z 0-9 _ -")
    return need


def check_worker(name: str) -> str:
    """Return the name if a worker can have it."""
    if not _is_name(name):
        raise InvalidWorkerError(
            f"{name!r} is no worker name: use 1 to 200 of A-Z a-z 0-9 . _ - and not '.' or '..'"
        )
    return name


def check_file(name: str) -> str:
    """Return the name if a file of a job or worker can have it."""
    if not _is_name(name):
        raise InvalidFileError(
            f"{name!r} is no file name: use 1 to 200 of A-Z a-z 0-9 . _ - and not '.' or '..'"
        )
    return name


def following_id(job_id: str) -> str:
    """Return the id that the next retry of a job has."""
    first, number = first_id(job_id)
    return retry_id(first, number + 1)


@dataclass(frozen=True, order=True)
class Attempt:
    """One attempt of one job."""

    job_id: str
    number: int

    @property
    def claim_key(self) -> str:
        return f"{CLAIMS}{self.job_id}.{self.number}"

    @property
    def outcome_key(self) -> str:
        return f"{OUTCOMES}{self.job_id}.{self.number}"


@dataclass(frozen=True)
class Marker:
    """Says that an attempt can be claimed from `due` (server time, whole seconds) on."""

    priority: int
    due: int
    need: str
    attempt: Attempt

    @property
    def key(self) -> str:
        return (
            f"{READY}{self.priority}.{self.due:010d}.{self.need}"
            f".{self.attempt.job_id}.{self.attempt.number}"
        )


def job_key(job_id: str) -> str:
    return f"{JOBS}{job_id}"


def dead_key(job_id: str) -> str:
    return f"{DEAD}{job_id}"


def purged_key(job_id: str) -> str:
    return f"{PURGED}{job_id}"


def job_files(job_id: str) -> str:
    """Return what the keys of a job's files start with."""
    return f"{JOB_FILES}{job_id}/"


def worker_files(name: str) -> str:
    """Return what the keys of a worker's files start with."""
    return f"{WORKER_FILES}{name}/"


def worker_key(name: str) -> str:
    return f"{WORKERS}{name}"


def left_key(name: str) -> str:
    return f"{WORKERS}{name}{_LEFT}"


def parse_marker(key: str) -> Marker | None:
    """Read a marker's key; None if it is not one."""
    match = _MARKER.fullmatch(key)
    if match is None or not _is_id(match["id"]):
        return None
    attempt = Attempt(match["id"], int(match["attempt"]))
    return Marker(int(match["priority"]), int(match["due"]), match["need"], attempt)


def parse_claim(key: str) -> Attempt | None:
    """Read a claim's key; None if it is not one."""
    return _parse_attempt(CLAIMS, key)


def parse_outcome(key: str) -> Attempt | None:
    """Read an outcome's key; None if it is not one."""
    return _parse_attempt(OUTCOMES, key)


def _parse_attempt(prefix: str, key: str) -> Attempt | None:
    match = _ATTEMPT.fullmatch(key[len(prefix) :]) if key.startswith(prefix) else None
    if match is None or not _is_id(match["id"]):
        return None
    return Attempt(match["id"], int(match["attempt"]))


def parse_id(prefix: str, key: str) -> str | None:
    """Read a key that is a prefix and a job's id; None if it is not one."""
    job_id = key[len(prefix) :] if key.startswith(prefix) else ""
    return job_id if _is_id(job_id) else None


def parse_job_file(key: str) -> str | None:
    """Read the key of a job's file as the job's id; None if it is not one."""
    path = key[len(JOB_FILES) :] if key.startswith(JOB_FILES) else ""
    job_id, _, name = path.partition("/")
    return job_id if _is_id(job_id) and _is_name(name) else None


def parse_worker(key: str) -> tuple[str, bool] | None:
    """Read a worker's key as its name and whether it marks that the worker left."""
    name = key[len(WORKERS) :] if key.startswith(WORKERS) else ""
    left = name.endswith(_LEFT)
    name = name[: -len(_LEFT)] if left else name
    return (name, left) if _is_name(name) else None

"""What a worker reports of one command job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from gha_worker._errors import InvalidResultError

TAIL_BYTES = 8192


class Reason(str, Enum):
    """Why a job ended."""

    EXITED = "exited"
    """Its script ended by itself, with `exit_code` or by `signal`."""
    TIMEOUT = "timeout"
    """Its own time limit was over."""
    STOPPED = "stopped"
    """Its worker was told to stop, or its queue was cancelled."""
    PREPARE_FAILED = "prepare-failed"
    """Its preparation did not succeed; the script never ran."""
    VM_LIFETIME = "vm-lifetime"
    """Its machine reached the age at which it ends."""
    BAD_JOB = "bad-job"
    """Its payload is no command job; nothing ran."""
    LEASE_LOST = "lease-lost"
    """Its lease ran out or another outcome stands; a worker only logs this, it settles nothing."""
    OUT_OF_MEMORY = "out-of-memory"
    """Its machine had no memory left, and this job was the furthest above its share."""
    SERVER_FAILED = "server-failed"
    """The persistent server that ran it ended or went astray in the middle of it."""
    GUARD_DIED = "guard-died"
    """The process that watches the job was killed; the job was ended with it."""


@dataclass(frozen=True)
class CommandResult:
    """How one attempt of a command job went: the outcome's `result`, or its `error`.

    `exit_code` is None when the script ended by `signal` (a name such as ``SIGKILL``) or never
    ran. `seconds` is the run time of preparation and script together. `peak_memory_mb` is the most
    memory that its processes were seen with, None when none was; `memory_mb` is its share of the
    machine's, None when it never got one. `message` is one sentence,
    with the next step when something is wrong. `tail` is the end of the job's own output, at most
    8 KiB, with the values of its secrets replaced by ``***``.
    """

    reason: Reason
    exit_code: int | None
    signal: str | None
    seconds: float
    message: str
    tail: str
    peak_memory_mb: int | None = None
    memory_mb: int | None = None

    @property
    def ok(self) -> bool:
        """Whether the script ended by itself with exit code 0."""
        return self.reason is Reason.EXITED and self.exit_code == 0

    def to_json(self) -> dict[str, Any]:
        """A plain JSON object, read back by :meth:`from_json`."""
        return {
            "reason": self.reason.value,
            "exit_code": self.exit_code,
            "signal": self.signal,
            "seconds": self.seconds,
            "message": self.message,
            "tail": self.tail,
            "peak_memory_mb": self.peak_memory_mb,
            "memory_mb": self.memory_mb,
        }

    @classmethod
    def from_json(cls, value: object) -> CommandResult:
        """Read what :meth:`to_json` wrote; unknown fields are ignored.

        Raises :class:`InvalidResultError` for anything else.
        """
        if not isinstance(value, Mapping):
            raise InvalidResultError("it is not a JSON object")
        missing = [part.name for part in fields(cls) if part.name not in value]
        if missing:
            raise InvalidResultError(f"it has no {missing[0]}")
        try:
            reason = Reason(value["reason"])
        except ValueError:
            raise InvalidResultError(f"it has the unknown reason {value['reason']!r}") from None
        kinds: dict[str, tuple[type, ...]] = {
            "exit_code": (int, type(None)),
            "signal": (str, type(None)),
            "seconds": (int, float),
            "message": (str,),
            "tail": (str,),
            "peak_memory_mb": (int, type(None)),
            "memory_mb": (int, type(None)),
        }
        for name, kind in kinds.items():
            if not isinstance(value[name], kind):
                raise InvalidResultError(f"its {name} is not of the right type")
        return cls(reason=reason, **{name: value[name] for name in kinds})

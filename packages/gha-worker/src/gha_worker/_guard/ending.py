"""How a guarded script ended, as its guard reports it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gha_worker._guard import guard


class Ending(Enum):
    """Why a guarded script ended."""

    ITSELF = guard.ENDED_ITSELF
    LIMIT = guard.ENDED_BY_LIMIT
    STOP = guard.ENDED_BY_STOP
    DEADLINE = guard.ENDED_BY_DEADLINE
    GUARD_DIED = "guard-died"
    DECLINED = guard.DECLINED
    """A persistent server never began it: nothing ran."""
    SERVER_FAILED = guard.SERVER_FAILED
    """A persistent server ended or went astray in the middle of it."""


@dataclass(frozen=True)
class Ended:
    """How a guarded script ended; `seconds` is its run time.

    `peak_memory_mb` is the most memory that one of its processes had, at least the guard's own 10
    to 15 MB, from which it was copied; None when nobody knows.
    """

    ending: Ending
    exit_code: int | None
    signal: str | None
    seconds: float
    peak_memory_mb: int | None = None

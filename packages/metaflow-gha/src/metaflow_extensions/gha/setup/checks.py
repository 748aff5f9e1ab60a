"""What a check of the set-up finds, and the error of a run that a check must stop."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from metaflow_extensions.gha.errors import GhaException


class Status(enum.Enum):
    """How a prerequisite stands."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"  # it could not be asked, because another one failed


@dataclass(frozen=True)
class Check:
    """One prerequisite: what was found, and the shell commands that mend it, one a line."""

    name: str
    status: Status
    found: str
    remedy: tuple[str, ...] = ()


class UnmetError(GhaException):
    """A prerequisite that is not met: a run stops with these words, `doctor` shows them in red."""

    def __init__(self, found: str, *remedy: str) -> None:
        super().__init__("\n".join([found, *(f"  {line}" for line in remedy)]))
        self.found = found
        self.remedy = remedy

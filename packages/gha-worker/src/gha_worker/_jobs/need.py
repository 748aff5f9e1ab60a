"""What a job needs of a machine, as the few characters that stand in its queue's listing."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from gha_worker._jobs.command_job import DEFAULT_TIMEOUT, CommandJob

_TEXT = re.compile(
    r"c(?P<cores>[1-9][0-9]{0,7})(?:m(?P<memory>[1-9][0-9]{0,9}))?t(?P<time>[1-9][0-9]{0,9})"
)
_GREATEST = 10**7


@dataclass(frozen=True)
class Need:
    """Thousandths of a core, MB of memory (None when nobody chose it), and a time limit in seconds.

    Whole numbers, so that what fits a machine does not depend on how fractions are rounded.
    """

    millicores: int = 1000
    memory_mb: int | None = None
    timeout: int = int(DEFAULT_TIMEOUT)

    @classmethod
    def of(cls, job: CommandJob) -> Need:
        """What `job` asks for, rounded up."""
        memory = job.resources.memory_mb
        return cls(
            millicores=_whole(job.resources.cpu * 1000),
            memory_mb=None if memory is None else _whole(memory),
            timeout=_whole(job.timeout),
        )

    @property
    def cores(self) -> float:
        return self.millicores / 1000

    def __str__(self) -> str:
        """``one core and 512 MB``."""
        memory = "" if self.memory_mb is None else f" and {self.memory_mb} MB"
        return f"{spelled(self.cores)}{memory}"

    def to_text(self) -> str:
        """``c1500m4096t600`` for one and a half cores, 4096 MB and ten minutes."""
        memory = "" if self.memory_mb is None else f"m{self.memory_mb}"
        return f"c{self.millicores}{memory}t{self.timeout}"

    @classmethod
    def parse(cls, text: str) -> Need | None:
        """Read what :meth:`to_text` wrote; None for the text of somebody else's job.

        A job that was put without a need counts as small and short until its payload is read.
        """
        if not text:
            return cls(timeout=1)
        match = _TEXT.fullmatch(text)
        if match is None:
            return None
        memory = match["memory"]
        return cls(int(match["cores"]), None if memory is None else int(memory), int(match["time"]))


def spelled(cores: float) -> str:
    """``one core`` or ``2.5 cores``."""
    return "one core" if cores == 1 else f"{cores:g} cores"


def _whole(number: float) -> int:
    return min(max(1, math.ceil(round(number, 3))), _GREATEST)

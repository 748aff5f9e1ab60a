"""A job's steps and lines, as act tells of them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class JobEvent:
    """What act said: some text, the step that it belongs to, and how that step ended.

    `step` is empty for what belongs to none. `is_whole` is false within a composite action.
    """

    text: str
    step: str = ""
    name: str = ""
    result: str = ""
    is_whole: bool = True


@dataclass
class Step:
    """A step of a job; `conclusion` is None while it runs."""

    number: int
    name: str
    started: float
    ended: float | None = None
    conclusion: str | None = None


@dataclass(frozen=True)
class Line:
    """A line of a job's log; `step` is its step's number, 0 without one."""

    moment: float
    step: int
    text: str


@dataclass
class JobLog:
    """The steps and lines of one job. Thread-safe."""

    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _steps: dict[str, Step] = field(default_factory=dict)
    _lines: list[Line] = field(default_factory=list)

    def hear(self, event: JobEvent, texts: list[str]) -> None:
        """Take note of an event; `texts` are its lines as everyone may see them."""
        now = time.time()
        with self._lock:
            number = 0
            if event.step:
                new = Step(len(self._steps) + 1, event.name, now)
                step = self._steps.setdefault(event.step, new)
                number = step.number
                if event.result and event.is_whole:
                    step.conclusion, step.ended = event.result, now
            self._lines += [Line(now, number, text) for text in texts]

    def steps(self) -> list[Step]:
        """The steps so far, in their order."""
        with self._lock:
            return list(self._steps.values())

    def lines(self) -> list[Line]:
        """The lines so far, in their order."""
        with self._lock:
            return list(self._lines)

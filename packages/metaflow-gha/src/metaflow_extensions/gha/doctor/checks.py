"""What a check of the set-up finds, and the asking of many at once."""

from __future__ import annotations

import enum
import threading
import time
from concurrent.futures import Future
from concurrent.futures import (
    TimeoutError as FutureTimeoutError,
)  # its own class before Python 3.11
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from metaflow_extensions.gha.errors import UnmetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T_co = TypeVar("T_co", covariant=True)


# Seconds for all checks together; each call of gh and of the store has a limit of its own below this.
LIMIT = 30.0


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


class NeedsError(Exception):
    """What is asked rests on another check, and that one has no answer."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True)
class Found(Generic[T_co]):
    """The good answer of a check: its value for other checks, and what the user reads of it."""

    value: T_co
    text: str
    warning: bool = False
    remedy: tuple[str, ...] = ()


class Question(Generic[T_co]):
    """A check that runs in a thread of its own; others that rest on it ask for its value.

    `ask` returns what it found, or raises: UnmetError for what is wrong, NeedsError through the value of another.
    A daemon thread, so that nothing that hangs keeps the command from ending.
    """

    def __init__(self, name: str, ask: Callable[[], Found[T_co]]) -> None:
        self.name = name
        self._ask = ask
        self._answer: Future[Found[T_co]] = Future()
        self._begun = threading.Lock()

    @property
    def value(self) -> T_co:
        """The value, as soon as it is known; raises NeedsError when it will not be in time."""
        self.start()
        try:
            return self._answer.result(LIMIT).value
        except NeedsError:
            raise  # the user shall hear of the first one in the row
        except Exception:  # noqa: BLE001  # whatever it is, this check shows it
            raise NeedsError(self.name) from None

    def start(self) -> None:
        """Begin to ask; once."""
        if self._begun.acquire(blocking=False):
            threading.Thread(target=self._run, name=f"check-{self.name}", daemon=True).start()

    def check(self, timeout: float) -> Check:
        """How it stands, after at most `timeout` seconds."""
        try:
            found = self._answer.result(timeout)
        except UnmetError as unmet:
            return Check(self.name, Status.FAILED, unmet.found, unmet.remedy)
        except NeedsError as needs:
            return Check(self.name, Status.SKIPPED, f"not checked: needs {needs.name}")
        except FutureTimeoutError:
            return Check(self.name, Status.FAILED, "no answer in time; try again")
        except Exception as error:  # noqa: BLE001  # one broken check must not hide the others
            return Check(self.name, Status.FAILED, f"the check itself failed: {error!r}")
        status = Status.WARNING if found.warning else Status.OK
        return Check(self.name, status, found.text, found.remedy)

    def _run(self) -> None:
        try:
            self._answer.set_result(self._ask())
        except Exception as error:  # noqa: BLE001  # a thread's error has no other way out
            self._answer.set_exception(error)


def ask_all(questions: Iterable[Question[object]]) -> list[Check]:
    """Ask all at once; the checks in the order of the questions, after at most LIMIT seconds."""
    asked = list(questions)
    for question in asked:
        question.start()
    deadline = time.monotonic() + LIMIT
    return [question.check(max(0.0, deadline - time.monotonic())) for question in asked]

"""Where time, chance, tokens and threads come from: injected, so that tests can decide them."""

from __future__ import annotations

import contextlib
import random
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_T = TypeVar("_T")


class Together(Protocol):
    """Runs requests at the same time, at most `width` of them.

    Returns their results in order, when all have ended; raises the first error, in that order.
    """

    def __call__(self, requests: Sequence[Callable[[], _T]], width: int) -> list[_T]: ...


def in_threads(requests: Sequence[Callable[[], _T]], width: int) -> list[_T]:
    """Run requests in this thread and up to `width - 1` others.

    The others are daemons, and an interrupt does not wait for them: a request that hangs must not
    keep an interrupted process alive. They end with the request that each is at.
    """
    results: dict[int, _T] = {}
    errors: dict[int, Exception] = {}
    numbers = iter(range(len(requests)))  # next() on it is atomic
    stop = threading.Event()

    def work() -> None:
        for number in numbers:
            if stop.is_set():
                break
            try:
                results[number] = requests[number]()
            except Exception as error:  # noqa: BLE001 - raised in the caller
                errors[number] = error

    others: list[threading.Thread] = []
    try:
        for _ in range(min(width, len(requests)) - 1):
            thread = threading.Thread(target=work, name="request", daemon=True)
            with contextlib.suppress(RuntimeError):  # no more threads here: fewer do as well
                thread.start()
                others.append(thread)
        work()
        for thread in others:
            thread.join()
    finally:
        stop.set()
    if errors:
        raise errors[min(errors)]
    return [results[number] for number in range(len(requests))]


def _fresh_token() -> str:
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Runtime:
    """The outside world of a queue, apart from its store.

    Nothing here is compared with another machine's time: `monotonic` only measures, the server's
    Date decides.
    """

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    token: Callable[[], str] = _fresh_token
    random: random.Random = field(default_factory=random.SystemRandom)
    together: Together = in_threads

    def jitter(self, seconds: float) -> float:
        """Return a time between half and one and a half of `seconds`."""
        return seconds * (0.5 + self.random.random())

"""Simulated time and the processes that live in it.

Every process runs the real code in greenlets. A greenlet that waits gives control back to the
hub, which resumes whoever is next on the one clock: so the order of everything follows from the
latencies and chances that the simulation draws, and a seed repeats it exactly.
"""

from __future__ import annotations

import itertools
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

from gha_queue.testing.simulation._story import Story

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_T = TypeVar("_T")

EVENTS_LIMIT = 200_000
_TICK = 1e-6  # seconds that even the shortest sleep takes: otherwise time might stand still


class UnrestError(Exception):
    """The processes go on and on, as if they never came to an end."""


class World:
    """The clock, in seconds from 0, and what is to happen at which time."""

    def __init__(self, story: Story | None = None, *, events_limit: int = EVENTS_LIMIT) -> None:
        self.now = 0.0
        self.over = False
        self.story = story or Story(muted=True)
        self.story.clock = lambda: self.now
        self._hub = getcurrent()
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Process | None, Callable[[Any], object], Any]] = []
        self._greenlets: list[greenlet] = []
        self._events_limit = events_limit

    def after(
        self,
        seconds: float,
        action: Callable[[Any], object],
        value: object = None,
        process: Process | None = None,
    ) -> None:
        """Call `action(value)` later: not while `process` is paused, nor after it crashed."""
        event = (self.now + max(0.0, seconds), next(self._numbers), process, action, value)
        heappush(self._events, event)

    def start(self, process: Process, work: Callable[[], object]) -> None:
        """Run `work` in a greenlet of its own."""
        task = greenlet(work, parent=self._hub)
        self._greenlets.append(task)
        self.after(0.0, lambda _: task.switch(), None, process)

    def suspend(self) -> Any:  # noqa: ANN401 - whatever the greenlet is resumed with
        """Wait until something resumes this greenlet, and return what it hands over."""
        if self.over:
            raise GreenletExit
        value = self._hub.switch()
        if self.over:
            raise GreenletExit
        return value

    def run(self) -> None:
        """Let everything happen until nothing is left to happen."""
        events, limit = self._events, self._events_limit
        while events:
            time, number, process, action, value = heappop(events)
            if process is not None:
                if process.crashed:
                    continue
                if process.paused_until > time:
                    heappush(events, (process.paused_until, number, process, action, value))
                    continue
            self.now = time
            action(value)
            limit -= 1
            if not limit:
                raise UnrestError(f"{self._events_limit} steps and no end")

    def end(self) -> None:
        """Unwind the greenlets that crashes left behind; nothing they do has any effect."""
        self.over = True
        for task in self._greenlets:
            if task:
                task.throw(GreenletExit)


class Process:
    """A machine with a clock of its own, which runs wrong by `offset` seconds and a `rate`.

    Its methods are the parts of a `gha_queue.Runtime`.
    """

    def __init__(self, world: World, name: str, *, offset: float = 0.0, rate: float = 1.0) -> None:
        self.world = world
        self.name = name
        self.crashed = False
        self.paused_until = 0.0
        self._offset = offset
        self._rate = rate
        self._tokens = itertools.count(1)

    def monotonic(self) -> float:
        return self._offset + self.world.now * self._rate

    def sleep(self, seconds: float) -> None:
        world = self.world
        world.after(max(_TICK, seconds / self._rate), getcurrent().switch, None, self)
        world.suspend()

    def token(self) -> str:
        return f"{self.name}-{next(self._tokens)}"

    def start(self, work: Callable[[], object]) -> None:
        """Run `work` as a thread of this process."""
        self.world.start(self, work)

    def together(self, requests: Sequence[Callable[[], _T]], width: int) -> list[_T]:
        """Run requests at the same time, at most `width` of them; see `gha_queue.Runtime`."""
        results: dict[int, _T] = {}
        errors: dict[int, Exception] = {}
        numbers = iter(range(len(requests)))
        caller = getcurrent()
        threads = min(width, len(requests))

        def work() -> None:
            nonlocal threads
            for number in numbers:
                try:
                    results[number] = requests[number]()
                except Exception as error:  # noqa: BLE001, PERF203 - raised in the caller
                    errors[number] = error
            threads -= 1
            if not threads:
                self.world.after(0.0, caller.switch, None, self)

        for _ in range(threads):
            self.start(work)
        if threads:
            self.world.suspend()
        if errors:
            raise errors[min(errors)]
        return [results[number] for number in range(len(requests))]

    def pause(self, seconds: float) -> None:
        """Stand still, as a machine that is suspended; the clocks go on."""
        self.world.story.say(self.name, "stands still for %.1f s", seconds)
        self.paused_until = max(self.paused_until, self.world.now + seconds)

    def crash(self) -> None:
        """End without another step, unlike an exception: what was sent may still land."""
        self.world.story.say(self.name, "crashes")
        self.crashed = True

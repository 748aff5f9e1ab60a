"""What goes wrong, drawn by chance for every request."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from gha_queue import Settings
    from gha_queue.testing.simulation._world import Process


class Fate(enum.Enum):
    """What becomes of one request."""

    ANSWERED = enum.auto()
    CRASH_BEFORE = enum.auto()  # its process ends before it is sent
    CRASH_AFTER = enum.auto()  # its process ends, but it lands
    PAUSE_BEFORE = enum.auto()  # its process stands still before it is sent
    PAUSE_AFTER = enum.auto()  # its process stands still while it is on its way
    DROPPED = enum.auto()  # it never arrives
    ANSWER_LOST = enum.auto()  # it lands, and the connection breaks
    TWICE = enum.auto()  # it lands, is sent again by the client, and the second answer counts
    AGAIN_LATER = enum.auto()  # it is answered, and delivered once more later
    LATE = enum.auto()  # it times out, and lands at some time
    REFUSED = enum.auto()  # 409, 429, 500 or 503, and nothing landed
    FAILED = enum.auto()  # 500 or 503, and it landed


REFUSALS = (
    (409, "ConditionalRequestConflict"),
    (429, "TooManyRequests"),
    (500, "InternalError"),
    (503, "SlowDown"),
)
FAILURES = ((500, "InternalError"), (503, "ServiceUnavailable"))

_WEIGHTS = {
    Fate.CRASH_BEFORE: 1,
    Fate.CRASH_AFTER: 2,
    Fate.PAUSE_BEFORE: 1,
    Fate.PAUSE_AFTER: 2,
    Fate.DROPPED: 1,
    Fate.ANSWER_LOST: 4,
    Fate.TWICE: 4,
    Fate.AGAIN_LATER: 3,
    Fate.LATE: 4,
    Fate.REFUSED: 2,
    Fate.FAILED: 2,
}
_WITHOUT_NETWORK = (Fate.DROPPED, Fate.DROPPED, Fate.ANSWER_LOST, Fate.LATE)
_TROUBLES = (0.0, 0.02, 0.05, 0.1, 0.2)  # shares of requests
_KIND = 0.6  # the chance that a seed knows a kind of trouble
_OUTAGE = 0.1  # the share of troubles by which a process loses the network for a while


class Faults:
    """Draws fates: each seed knows a few kinds of trouble, to an extent of its own."""

    def __init__(self, random: random.Random, settings: Settings) -> None:
        self._random = random
        self._settings = settings
        self._trouble = random.choice(_TROUBLES)
        self._kinds = [fate for fate in _WEIGHTS if random.random() < _KIND] or [Fate.ANSWER_LOST]
        self._weights = [_WEIGHTS[fate] for fate in self._kinds]
        self._outages: dict[Process, float] = {}

    def end(self) -> None:
        """Let all go well from now on."""
        self._trouble = 0.0
        self._outages.clear()

    def draw(self, process: Process) -> tuple[Fate, float]:
        """Return the fate of what this process sends now, and the seconds of silence it brings."""
        random = self._random
        if self._outages.get(process, 0.0) > process.world.now:
            return random.choice(_WITHOUT_NETWORK), self._silence()
        if random.random() >= self._trouble:
            return Fate.ANSWERED, 0.0
        if random.random() < _OUTAGE:
            seconds = self._silence()
            process.world.story.say(process.name, "loses the network for %.1f s", seconds)
            self._outages[process] = process.world.now + seconds
            return random.choice(_WITHOUT_NETWORK), self._silence()
        return random.choices(self._kinds, self._weights)[0], self._silence()

    def _silence(self) -> float:
        lease, heartbeat = self._settings.lease, self._settings.heartbeat
        longest = self._random.choice((1.0, heartbeat, 1.5 * lease, 4.0 * lease))
        return self._random.random() * longest

"""One seed: who takes part, what goes wrong, and whether the queue kept its promises."""

from __future__ import annotations

import random
import traceback
from typing import TYPE_CHECKING

from gha_queue import Settings
from gha_queue.testing.simulation._actors import (
    Actor,
    Canceller,
    Finisher,
    Owner,
    Purger,
    Putter,
    Reaper,
    Retrier,
    Worker,
)
from gha_queue.testing.simulation._faults import Faults
from gha_queue.testing.simulation._ledger import Ledger, ViolationError
from gha_queue.testing.simulation._simulation import Simulation
from gha_queue.testing.simulation._world import UnrestError, World

if TYPE_CHECKING:
    from gha_queue.testing.simulation._story import Story

SETTINGS = Settings(lease=15.0, heartbeat=5.0)
HOUR = 3600.0

# How many of each take part: one of these, by chance.
_CAST: dict[type[Actor], tuple[int, ...]] = {
    Putter: (1, 1, 2),
    Worker: (1, 1, 2, 2, 2, 3, 3, 8),
    Reaper: (0, 1, 1, 2),
    Canceller: (0, 0, 1),
    Retrier: (0, 0, 1),
    Purger: (0, 0, 0, 1),
    Owner: (0, 0, 1),
}
_IDS = ("a", "a", "ab", "ab", "abc", "abcd")
_SLOWEST = (0.05, 0.2, 1.0)  # seconds of one way of a request
_TIMEOUTS = (2.0, 5.0)
_GRAINS = (1.0, 0.001)  # of LastModified
_UNCREATED = 0.01  # the share of seeds that begin with creating the queue
_RATES = (1.0, 1.0, 0.99, 1.01)  # of clocks


def violation_of(seed: int, story: Story | None = None) -> str | None:
    """Play the scenario of a seed; return which promise was broken, None if all were kept."""
    try:
        _play(random.Random(seed), World(story))  # noqa: S311 - to be repeated is its purpose
    except (ViolationError, UnrestError) as violation:
        return str(violation)
    except Exception:  # noqa: BLE001 - whatever escapes from the code under test
        return traceback.format_exc()
    return None


def _play(chance: random.Random, world: World) -> None:
    slowest = chance.choice(_SLOWEST)
    ledger, faults = Ledger(world, SETTINGS), Faults(chance, SETTINGS)
    simulation = Simulation(
        chance,
        lambda: chance.random() ** 2 * slowest,
        settings=SETTINGS,
        created=chance.random() >= _UNCREATED,
        world=world,
        grain=chance.choice(_GRAINS),
        timeout=chance.choice(_TIMEOUTS),
        faults=faults,
        watcher=ledger,
    )
    ids = chance.choice(_IDS)

    def start(role: type[Actor], name: str) -> None:
        process = simulation.process(
            name, offset=chance.uniform(-2 * HOUR, 2 * HOUR), rate=chance.choice(_RATES)
        )
        actor = role(process, simulation.queue(process), SETTINGS, ledger, chance, ids)
        process.start(actor.work)

    for role, counts in _CAST.items():
        for number in range(1, chance.choice(counts) + 1):
            start(role, f"{role.__name__.lower()}-{number}")
    try:
        simulation.run()
        world.story.say("", "All trouble is over. One healthy worker finishes what is left.")
        faults.end()
        start(Finisher, "finisher")
        simulation.run()
        ledger.close(simulation.bucket)
    finally:
        simulation.end()

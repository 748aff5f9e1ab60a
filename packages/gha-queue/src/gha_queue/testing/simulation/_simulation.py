"""Real queues over a simulated bucket, in simulated time."""

from __future__ import annotations

import functools
import random
from typing import TYPE_CHECKING

from gha_queue import Queue, Runtime, Settings
from gha_queue.testing.simulation._bucket import Bucket
from gha_queue.testing.simulation._network import Client, Network
from gha_queue.testing.simulation._world import Process, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_queue.testing.simulation._bucket import Operation
    from gha_queue.testing.simulation._faults import Faults
    from gha_queue.testing.simulation._network import Watcher

URL = "s3://simulated"


class Simulation:
    """A bucket that holds a new queue, and processes that use it by the real code.

    Unless it is `created`, who first uses the queue creates it, which takes some 150 requests.

    `latency` gives the seconds that a request takes one way; it and everything else that is left
    to chance should draw from `random`, so that its seed repeats the run. `grain` is that of
    LastModified in seconds, `timeout` how long a client waits for an answer.

    Call `process` and its `start`, then `run`. Nothing here takes real time but the computing:
    some 50 microseconds per request.
    """

    def __init__(
        self,
        random: random.Random,
        latency: Callable[[], float],
        *,
        settings: Settings | None = None,
        created: bool = True,
        world: World | None = None,
        grain: float = 1.0,
        timeout: float = 5.0,
        faults: Faults | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.world = world or World()
        objects = _new_queue(self.settings) if created else {}
        self.bucket = Bucket(self.world, grain=grain, objects=objects)
        self._random = random
        self._network = Network(
            self.bucket, random, latency, timeout=timeout, faults=faults, watcher=watcher
        )

    @property
    def now(self) -> float:
        """The simulated time, in seconds from 0."""
        return self.world.now

    @property
    def counts(self) -> dict[Operation, int]:
        """How many requests all processes have sent so far, by operation."""
        return dict(self._network.counts)

    def process(self, name: str, *, offset: float = 0.0, rate: float = 1.0) -> Process:
        """Return a new process; its clock is `offset` seconds off and runs at `rate`."""
        return Process(self.world, name, offset=offset, rate=rate)

    def queue(self, process: Process) -> Queue:
        """Return the queue as one process has it; only this process may use it."""
        return Queue(
            URL,
            Client(self._network, process),
            self.settings.lease,
            self.settings.heartbeat,
            runtime=Runtime(
                monotonic=process.monotonic,
                sleep=process.sleep,
                token=process.token,
                random=self._random,
                together=process.together,
            ),
        )

    def run(self) -> None:
        """Let everything happen until every process has ended and every request has landed."""
        self.world.run()

    def end(self) -> None:
        """Drop what crashed processes left."""
        self.world.end()


@functools.lru_cache
def _new_queue(settings: Settings) -> dict[str, bytes]:
    """Return the objects of a queue that has just been created, so that not each run probes."""
    world, chance = World(), random.Random(0)  # noqa: S311 - decides nothing but an order
    bucket = Bucket(world)
    network = Network(bucket, chance, lambda: 0.01, timeout=5.0, faults=None, watcher=None)
    owner = Process(world, "owner")
    runtime = Runtime(owner.monotonic, owner.sleep, owner.token, chance, owner.together)
    queue = Queue(URL, Client(network, owner), settings.lease, settings.heartbeat, runtime=runtime)
    owner.start(queue.create)
    world.run()
    return {key: stored.body for key, stored in bucket.objects.items()}

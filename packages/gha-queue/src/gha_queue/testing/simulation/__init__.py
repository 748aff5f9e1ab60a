"""A simulator that plays the real queue code over a simulated bucket and clock, by seeds.

`violation_of(seed)` plays one scenario of workers, clients, reapers and troubles, and says which
promise of the queue was broken, if any. `python -m gha_queue.testing.simulation` plays many, or
tells the story of one. `Simulation` is the stage alone, for measurements in simulated time.

Needs the extra `testing`.
"""

from __future__ import annotations

from gha_queue.testing.simulation._bucket import Bucket, Operation
from gha_queue.testing.simulation._scenario import violation_of
from gha_queue.testing.simulation._simulation import Simulation
from gha_queue.testing.simulation._story import Story
from gha_queue.testing.simulation._world import Process, UnrestError, World

__all__ = [
    "Bucket",
    "Operation",
    "Process",
    "Simulation",
    "Story",
    "UnrestError",
    "World",
    "violation_of",
]

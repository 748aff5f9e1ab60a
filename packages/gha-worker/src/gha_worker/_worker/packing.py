"""Which jobs fit onto a machine together. No I/O, no clock: times are handed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gha_worker._jobs.need import Need
    from gha_worker._machine.capacity import Capacity

PATIENCE = 30.0
"""Seconds after which a job that smaller ones keep from starting is given the machine."""

_KNOWN_NEEDS = 64


@dataclass(frozen=True)
class Packing:
    """How a machine of `capacity` is filled.

    `slots` jobs run at a time, whatever they need, where that is given; else as many as fit.
    """

    capacity: Capacity
    slots: int | None = None

    def share(self, need: Need) -> int:
        """The memory in MB that a job of `need` may use: what it chose, else that of its cores."""
        capacity = self.capacity
        if need.memory_mb is not None:
            return min(need.memory_mb, capacity.memory_mb)
        if self.slots is not None:
            return capacity.memory_mb // self.slots
        return min(capacity.memory_mb * need.millicores // capacity.millicores, capacity.memory_mb)

    def cores(self, need: Need) -> float:
        """The cores that a job of `need` may use."""
        return min(need.millicores, self.capacity.millicores) / 1000

    def fits_empty(self, need: Need) -> bool:
        """Whether this machine could ever run a job of `need`."""
        return self.fits(need, (), None)

    def fits(self, need: Need, running: Iterable[Need], limit: int | None) -> bool:
        """Whether a job of `need` may start beside those that are `running`.

        `limit` is the most jobs at a time that the queue's owner allows here, None for no limit.
        """
        running = tuple(running)
        if limit is not None and len(running) >= limit:
            return False
        if self.slots is not None:
            return len(running) < self.slots
        together = (*running, need)
        return (
            sum(each.millicores for each in together) <= self.capacity.millicores
            and sum(self.share(each) for each in running) + self._memory(need)
            <= self.capacity.memory_mb
        )

    def _memory(self, need: Need) -> int:
        return self.share(need) if need.memory_mb is None else need.memory_mb


class PassedOver:
    """Needs that were refused because the machine was not empty enough, and since when."""

    def __init__(self) -> None:
        self._since: dict[Need, float] = {}

    def note(self, need: Need, now: float) -> None:
        """A job of `need` would fit the empty machine and not what is free of it."""
        if len(self._since) < _KNOWN_NEEDS:
            self._since.setdefault(need, now)

    def overdue(self, now: float) -> frozenset[Need]:
        """The needs that have waited for 30 s."""
        return frozenset(need for need, since in self._since.items() if now - since >= PATIENCE)

    def forget(self, needs: Iterable[Need]) -> None:
        """These have been claimed, or nobody has them any more."""
        for need in needs:
            self._since.pop(need, None)

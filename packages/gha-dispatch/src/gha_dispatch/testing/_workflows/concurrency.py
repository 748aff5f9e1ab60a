"""Concurrency groups of workflows and jobs.

https://docs.github.com/en/actions/how-tos/write-workflows/choose-when-workflows-run/control-workflow-concurrency
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gha_dispatch.testing._workflows.expressions import as_text, evaluate

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_dispatch.testing._workflows.expressions import Contexts

MAX_WAITING = 100


@dataclass(frozen=True, eq=False)
class Concurrency:
    """What a `concurrency` key asks for: one object for each run, job or call that shares a place."""

    group: str
    cancels: bool = False
    keeps_queue: bool = False


def read_concurrency(stated: object, contexts: Contexts) -> Concurrency | None:
    """Evaluate a `concurrency` key; None without one. Raises ValueError."""
    value = evaluate(stated, contexts)
    if value is None:
        return None
    if not isinstance(value, Mapping):
        value = {"group": value}
    group = as_text(value.get("group"))
    cancels = as_text(value.get("cancel-in-progress", False)) == "true"
    queue = as_text(value.get("queue", "single"))
    if not group:
        raise ValueError("concurrency names no group")
    if queue not in {"single", "max"} or (queue == "max" and cancels):
        raise ValueError(
            f"concurrency: queue: {queue} is not known, or not with cancel-in-progress"
        )
    return Concurrency(group, cancels, queue == "max")


@dataclass(eq=False)
class Place:
    """A place in a group. `cancel` is told why whoever holds or awaits it has to go."""

    wanted: Concurrency
    cancel: Callable[[str], None]
    is_granted: bool = False


@dataclass
class _Group:
    running: Place | None = None
    waiting: list[Place] = field(default_factory=list)


class Groups:
    """The groups of a repository. Not thread-safe: its user holds a lock."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}

    def enter(self, place: Place) -> None:
        """Grant the place, or let it wait; cancel whom the newcomer displaces."""
        group = self._groups.setdefault(place.wanted.group.lower(), _Group())
        if group.running is None:
            group.running = place
            place.is_granted = True
            return
        words = (
            f"Canceling since a higher priority waiting request for '{place.wanted.group}' exists"
        )
        displaced = []
        if not place.wanted.keeps_queue:
            displaced, group.waiting = group.waiting, []
        if place.wanted.cancels:
            displaced.append(group.running)
        group.waiting.append(place)
        if len(group.waiting) > MAX_WAITING:
            displaced.append(group.waiting.pop())
        for other in displaced:
            other.cancel(words)

    def leave(self, place: Place) -> None:
        """Give a place back, held or awaited; the one who waits longest follows."""
        group = self._groups.get(place.wanted.group.lower(), _Group())
        if place in group.waiting:
            group.waiting.remove(place)
        if group.running is place:
            group.running = group.waiting.pop(0) if group.waiting else None
            if group.running is not None:
                group.running.is_granted = True

"""How many VMs a run can use, and how many tasks one takes: decided from plain numbers. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Metaflow's graph names the kinds of node so.
FOREACH = "foreach"
SPLIT = "split"
SWITCH = "split-switch"

# More tasks at once than any run has VMs: the width of a foreach is not known before it runs.
UNBOUNDED = 1 << 30


def graph_width(graph: Any, on_gha: frozenset[str], *, foreach: int = UNBOUNDED) -> int:
    """The most tasks of the steps `on_gha` that can run at the same time, a foreach taken to have `foreach` items."""
    return min(_width(graph, "start", None, on_gha, foreach, frozenset()), UNBOUNDED)


def _width(
    graph: Any,
    name: str | None,
    stop: str | None,
    on_gha: frozenset[str],
    foreach: int,
    seen: frozenset[str],
) -> int:
    """The width of the chain from `name` up to, not including, `stop`."""
    widest = 0
    while name is not None and name != stop and name not in seen:
        node = graph[name]
        seen = seen | {name}
        widest = max(widest, 1 if name in on_gha else 0)
        following: str | None = node.out_funcs[0] if node.out_funcs else None
        if node.type in (SPLIT, FOREACH):
            branches = [
                _width(graph, branch, node.matching_join, on_gha, foreach, seen)
                for branch in node.out_funcs
            ]
            if node.type == SPLIT:
                inside = sum(branches)
            elif getattr(node, "parallel_foreach", False):
                inside = max(branches)  # all nodes of @parallel are processes of one VM
            else:
                inside = foreach * max(branches)
            widest = max(widest, inside)
            following = node.matching_join
        elif node.type == SWITCH:
            ways = [_width(graph, branch, stop, on_gha, foreach, seen) for branch in node.out_funcs]
            return max(widest, *ways)
        name = following
    return widest


@dataclass(frozen=True)
class Demand:
    """What the supervisor sees of a run at one moment.

    `waiting` and `running` count jobs, `alive` the VMs that report, `booting` those that were asked for
    and did not report yet, `limit` the most VMs the run may have. `late` tells that some of those booting take
    so long that GitHub has most likely queued them.
    """

    waiting: int
    running: int
    alive: int
    booting: int
    limit: int
    late: bool = False

    def missing(self) -> int:
        """VMs to ask for now: enough for all the work there is, none while nothing waits."""
        if not self.waiting:
            return 0
        wanted = min(self.limit, self.waiting + self.running)
        return max(0, wanted - self.alive - self.booting)

    def slots(self, now: int | None) -> int | None:
        """The most tasks that each VM shall run at a time, None for as many as fit; `now` is what holds already.

        Spread before pack: a task has a VM of its own while the run has VMs without work, or may soon get one.
        Once all are busy they share what waits, until there is more room than work again.
        """
        if self.limit == 1:
            return None
        if not self.alive:
            return 1
        if self.waiting and self.running >= self.alive:
            is_full = self.alive >= self.limit or self.late
            return None if is_full else now
        return 1 if not self.waiting and self.running < self.alive else now

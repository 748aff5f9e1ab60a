"""Watches the memory of all running jobs, and picks who must go when the machine has none left.

The kernel would pick by size alone: a job that keeps to its large share would end for a small one
that eats what belongs to others.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gha_worker._machine.capacity import memory_left, oom_kills, read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

_PERIOD = 0.5
_SHORTEST = 0.05
_PARTING = 1.0
_RETURN = 2.0
"""Seconds in which the kernel gives back what a process held that has just ended."""

_IDLE_PER_LOOK = 40
_LONGEST = 1.0
"""A look is followed by a pause 40 times as long, so that it costs 2.5 % of a core, or by this."""

_GROWTH = 1.1
"""How much a job may grow before it is weighed again."""

_FASTEST_MB = 4096
"""MB that the jobs of a machine fill in a second at the very most."""

_RESERVE_MB = 512
"""What is filled before a second look can be taken and a job be ended; less on a small machine."""

_PAGE = os.sysconf("SC_PAGE_SIZE")
_MB = 2**20
_PARENT, _RSS = 1, 21
"""Where /proc/<pid>/stat holds them, counted from behind the name in parentheses."""


class Holding(NamedTuple):
    """What one job holds of the machine's memory, in MB."""

    used_mb: float
    share_mb: int
    condemned: bool = False


def reserve_mb(capacity_mb: int) -> int:
    """How much must stay free, so that the end of a job comes before that of the machine.

    Jobs within their shares may use it all the same.
    """
    return min(capacity_mb // 3, _RESERVE_MB)


def room_mb(holdings: Iterable[Holding], capacity_mb: int, left_mb: int | None) -> float:
    """How much the jobs may still grow: to the declared capacity, or to what the machine has."""
    declared = capacity_mb - sum(holding.used_mb for holding in holdings)
    return (declared if left_mb is None else min(declared, left_mb)) - reserve_mb(capacity_mb)


def condemn(holdings: Sequence[Holding], room_mb: float) -> int | None:
    """The place of the job that must go, None while all may stay.

    It is the one that is most MB above its share: that is what it took from others, and what its
    end gives back, so that no second one need follow. A ratio would pick a job of 100 MB that has
    grown to 300, which saves nobody. One that keeps to its share is never picked, and nobody is
    while a condemned one still holds memory.
    """
    if room_mb > 0 or any(holding.condemned and holding.used_mb > 0 for holding in holdings):
        return None
    excess, place = max(
        ((holding.used_mb - holding.share_mb, place) for place, holding in enumerate(holdings)),
        default=(0.0, 0),
    )
    return place if excess > 0 else None


def pause(room_mb: float, took: float) -> float:
    """Seconds until the next look, before which the jobs cannot fill `room_mb`.

    `took` is what the last look cost: where looks are slow there are fewer of them.
    """
    affordable = min(took * _IDLE_PER_LOOK, _LONGEST)
    return max(min(_PERIOD, room_mb / _FASTEST_MB), _SHORTEST, affordable)


class MemoryUse:
    """The memory of one followed job, all its processes together.

    `peak_mb` is the most that it was seen to hold, None while nothing was and where there is no
    watch. Growth by less than a tenth may go unseen, and what lasts less than half a second.
    """

    def __init__(self, share_mb: int, kills: Callable[[], int]) -> None:
        self.share_mb = share_mb
        self.peak_mb: int | None = None
        self.condemned = False
        self._resident_mb = 0.0
        self._kills = kills
        self._killed_before = kills()
        self._killed: int | None = None

    @property
    def machine_ran_out(self) -> bool:
        """Whether the kernel has killed a process for memory while this job was followed.

        It need not have been one of this job.
        """
        killed = self._kills() if self._killed is None else self._killed
        return killed > self._killed_before

    def close(self) -> None:
        """What the kernel kills from now on has nothing to do with this job."""
        self._killed = self._kills()

    def has_grown(self, resident_mb: float) -> bool:
        """Whether it is worth weighing."""
        return resident_mb > self._resident_mb * _GROWTH

    def weigh(self, processes: Mapping[int, float]) -> float:
        """The MB that the job holds; see :func:`held_mb`."""
        held = held_mb(processes)
        self._resident_mb = sum(processes.values())
        self.peak_mb = max(self.peak_mb or 0, round(held))
        return held


@dataclass(frozen=True)
class _Followed:
    guard: int
    use: MemoryUse
    condemned: Callable[[], None]


class MemoryWatch:
    """Looks at all jobs twice a second, more often as memory gets scarce, never without a job.

    A look is one pass over /proc. Where there is no such thing (macOS) nothing is watched and
    nobody is condemned. `root` is where the machine's own memory is read.
    """

    def __init__(self, capacity_mb: int, root: Path = Path("/")) -> None:
        self._capacity_mb = capacity_mb
        self._root = root
        self._changed = threading.Condition()
        self._followed: list[_Followed] = []
        self._over = False
        self._quiet_until = 0.0
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> Self:
        if sys.platform == "linux":
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(_PARTING)

    @contextmanager
    def follow(
        self, guard_pid: int, share_mb: int, condemned: Callable[[], None]
    ) -> Iterator[MemoryUse]:
        """Watch everything below the process `guard_pid`, itself not included.

        `condemned` is called at most once, from the watch's thread, and must not block: the job has
        to be ended at once. Nothing calls it any more once the context is left.
        """
        use = MemoryUse(share_mb, lambda: oom_kills(self._root))
        followed = _Followed(guard_pid, use, condemned)
        with self._changed:
            self._followed.append(followed)
            self._changed.notify()
        try:
            yield use
        finally:
            with self._changed:
                self._followed.remove(followed)
            use.close()

    def _watch(self) -> None:
        rest = 0.0
        while True:
            with self._changed:
                # A job that begins meanwhile fills the machine no faster than any other.
                self._changed.wait_for(lambda: self._over, rest)
                self._changed.wait_for(lambda: self._over or self._followed)
                if self._over:
                    return
                followed = tuple(self._followed)
            began = time.thread_time()
            room = 0.0
            with suppress(OSError):  # no descriptors or memory left: the next look may have them
                room = self._look(followed)
            rest = pause(room, time.thread_time() - began)

    def _look(self, followed: Sequence[_Followed]) -> float:
        trees = processes_below([one.guard for one in followed])
        left = memory_left(self._root)

        def hold(*, weigh: bool) -> list[Holding]:
            holdings = []
            for one, tree in zip(followed, trees, strict=True):
                resident = sum(tree.values())
                used = one.use.weigh(tree) if weigh or one.use.has_grown(resident) else resident
                holdings.append(Holding(used, one.use.share_mb, one.use.condemned))
            return holdings

        holdings = hold(weigh=False)
        room = room_mb(holdings, self._capacity_mb, left)
        if condemn(holdings, room) is not None:
            holdings = hold(weigh=True)
            room = room_mb(holdings, self._capacity_mb, left)
        place = condemn(holdings, room)
        now = time.monotonic()
        if room > 0:
            self._quiet_until = now
        elif place is None:
            if any(holding.condemned and holding.used_mb > 0 for holding in holdings):
                self._quiet_until = now + _RETURN
        elif now >= self._quiet_until:
            self._quiet_until = now + _RETURN
            self._condemn(followed[place])
        return room

    def _condemn(self, one: _Followed) -> None:
        with self._changed:
            if one in self._followed:
                one.use.condemned = True
                one.condemned()


def processes_below(roots: Sequence[int]) -> list[dict[int, float]]:
    """The resident MB of every descendant of each of `roots`, in one pass over /proc."""
    children: dict[int, list[int]] = {}
    resident: dict[int, float] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  # of hundreds, twice a second
        if not name.isdigit():
            continue
        # A process may end before it is read.
        with suppress(OSError):
            fields = _read(f"/proc/{name}/stat").rpartition(b")")[2].split()
            pid = int(name)
            children.setdefault(int(fields[_PARENT]), []).append(pid)
            resident[pid] = int(fields[_RSS]) * _PAGE / _MB
    return [_tree(root, children, resident) for root in roots]


def _tree(
    root: int, children: Mapping[int, list[int]], resident: Mapping[int, float]
) -> dict[int, float]:
    tree: dict[int, float] = {}
    fresh = [root]
    while fresh:
        # Rows are not all of one moment: a number that was used again could close a circle.
        fresh = [pid for parent in fresh for pid in children.get(parent, ()) if pid not in tree]
        tree.update((pid, resident[pid]) for pid in fresh)
    return tree


def held_mb(processes: Mapping[int, float]) -> float:
    """The MB that go back to the machine when `processes`, with their resident MB, end together.

    The resident size is never less, and often much more: it counts a page again for every process
    that was forked from the one that filled it, and it counts mapped files, which the kernel drops
    as soon as it needs memory. Without them takes far longer, and the rights to look.
    """
    return sum(_held_mb(pid, resident) for pid, resident in processes.items())


def _held_mb(pid: int, resident_mb: float) -> float:
    rows = read_table(Path(f"/proc/{pid}/smaps_rollup"))
    if "Pss_Anon" not in rows:
        return resident_mb
    return (rows["Pss_Anon"] + rows.get("Pss_Shmem", 0)) / 1024


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)

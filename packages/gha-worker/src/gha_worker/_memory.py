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

from gha_worker._machine import memory_left, oom_kills

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

    from typing_extensions import Self

_PERIOD = 0.5
_SHORTEST = 0.05
_PARTING = 1.0
_RETURN = 2.0
"""Seconds in which the kernel gives back what a process held that has just ended."""

_IDLE_PER_LOOK = 40
"""A look that takes long is followed by a pause this many times as long: 2.5 % of a core at most."""

_FASTEST_MB = 4096
"""MB that the jobs of a machine fill in a second at the very most."""

_RESERVE_PARTS = 5
_GREATEST_RESERVE_MB = 512

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
    """How much memory must stay free, so that the end of a job comes before that of the machine."""
    return min(capacity_mb // _RESERVE_PARTS, _GREATEST_RESERVE_MB)


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
    return max(min(_PERIOD, room_mb / _FASTEST_MB), _SHORTEST, took * _IDLE_PER_LOOK)


class MemoryUse:
    """The memory of one followed job, all its processes together.

    `peak_mb` is the most that a look has seen, None before the first one and where there is no
    watch. A page that several processes share counts once when that decides anything.
    """

    def __init__(self, share_mb: int, kills: Callable[[], int]) -> None:
        self.share_mb = share_mb
        self.peak_mb: int | None = None
        self.condemned = False
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
        """What the kernel does from now on is not about this job."""
        self._killed = self._kills()

    def see(self, used_mb: float) -> None:
        if used_mb > 0:
            self.peak_mb = max(self.peak_mb or 0, round(used_mb))


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
        self._fresh = False
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
            self._fresh = True
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
                self._changed.wait_for(lambda: self._over or self._fresh, rest)
                self._changed.wait_for(lambda: self._over or self._followed)
                if self._over:
                    return
                self._fresh = False
                followed = tuple(self._followed)
            began = time.monotonic()
            room = 0.0
            with suppress(OSError):  # no descriptors or memory left: the next look may have them
                room = self._look(followed)
            rest = pause(room, time.monotonic() - began)

    def _look(self, followed: Sequence[_Followed]) -> float:
        trees = processes_below([one.guard for one in followed])
        holdings = []
        for one, tree in zip(followed, trees, strict=True):
            used = sum(tree.values())
            if used > one.use.share_mb and len(tree) > 1:
                used = proportional_mb(tree)
            one.use.see(used)
            holdings.append(Holding(used, one.use.share_mb, one.use.condemned))
        room = room_mb(holdings, self._capacity_mb, memory_left(self._root))
        now = time.monotonic()
        place = condemn(holdings, room)
        if any(holding.condemned and holding.used_mb > 0 for holding in holdings):
            self._quiet_until = now + _RETURN
        elif place is not None and now >= self._quiet_until:
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
    return [{pid: resident[pid] for pid in _below(root, children)} for root in roots]


def _below(root: int, children: dict[int, list[int]]) -> Iterator[int]:
    fresh = [root]
    while fresh:
        fresh = [child for parent in fresh for child in children.get(parent, ())]
        yield from fresh


def proportional_mb(tree: dict[int, float]) -> float:
    """The MB of processes that share pages, each page counted once among those that have it.

    Much slower than the resident size, which counts a page again for every process that forked
    from the one that filled it.
    """
    return sum(_proportional_mb(pid, resident) for pid, resident in tree.items())


def _proportional_mb(pid: int, resident_mb: float) -> float:
    try:
        rows = _read(f"/proc/{pid}/smaps_rollup").split(b"\n")
    except FileNotFoundError:
        return 0.0  # it has ended
    except OSError:
        return resident_mb  # of another user
    return next((int(row.split()[1]) / 1024 for row in rows if row.startswith(b"Pss:")), 0.0)


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)

"""What this machine has for jobs: its own cores and memory, or less where a cgroup says so.

Both versions of cgroups are read, at every level from this process up, because each of them may be
the narrowest: https://docs.kernel.org/admin-guide/cgroup-v2.html and
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html. In a container the path in
/proc/self/cgroup is often the host's, and only the top of what is mounted exists.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MB = 2**20
_GB_IN_MB = 1024
_SYSTEM = Path("/")


@dataclass(frozen=True)
class Capacity:
    """Thousandths of a core and MB (2**20 bytes) of memory that all jobs together may have."""

    millicores: int
    memory_mb: int


def read_capacity(root: Path = _SYSTEM) -> Capacity:
    """The cores and the memory that this process may use; `root` is where /proc and /sys are.

    A machine's own memory is rounded up to whole GiB: the kernel keeps some of it for itself, and
    a job that asks for 16 GB is meant for the machine that is sold with 16 GB. A cgroup's limit is
    taken as it is.
    """
    machine = _machine_memory(root)
    limits = [limit for _, limit in _memory_limits(root) if limit < machine]
    whole = -(-machine // (_GB_IN_MB * _MB)) * _GB_IN_MB
    return Capacity(
        millicores=min([_cores() * 1000, *_quotas(root)]),
        memory_mb=min(limits) // _MB if limits else whole,
    )


def memory_left(root: Path = _SYSTEM) -> int | None:
    """MB that can still be allocated before something must be swapped out or killed.

    What the page cache holds counts as left. None where the system does not say.
    """
    left = []
    available = read_table(root / "proc/meminfo").get("MemAvailable")
    if available is not None:
        left.append(available * 1024)
    for directory, limit in _memory_limits(root):
        used = _number(directory / "memory.current", directory / "memory.usage_in_bytes")
        if used is not None:
            left.append(limit - used + _cached(directory))
    return max(0, min(left)) // _MB if left else None


def oom_kills(root: Path = _SYSTEM) -> int:
    """How many processes the kernel has killed so far because there was no memory left.

    Those of this cgroup where it counts them, else those of the whole machine.
    """
    for directory in _levels(root, "memory"):
        for name in ("memory.events", "memory.oom_control"):
            count = read_table(directory / name).get("oom_kill")
            if count is not None:
                return count
    return read_table(root / "proc/vmstat").get("oom_kill", 0)


def read_table(file: Path) -> dict[str, int]:
    """The rows ``name number`` of a kernel's file, empty when there is no such file."""
    rows = (line.split() for line in _lines(file))
    return {row[0].rstrip(":"): int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # knows of cpusets as well
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _machine_memory(root: Path) -> int:
    total = read_table(root / "proc/meminfo").get("MemTotal")
    if total is not None:
        return total * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _quotas(root: Path) -> Iterator[int]:
    """Thousandths of a core that each level allows."""
    for directory in _levels(root, "cpu"):
        v1 = (directory / "cpu.cfs_quota_us", directory / "cpu.cfs_period_us")
        match _words(directory / "cpu.max") or [word for file in v1 for word in _words(file)]:
            case [quota, period] if quota.isdigit():  # not "max", not -1
                yield max(1, int(quota) * 1000 // int(period))


def _memory_limits(root: Path) -> Iterator[tuple[Path, int]]:
    """Every level with a limit, in bytes; one that nobody set is larger than any machine in v1."""
    for directory in _levels(root, "memory"):
        limit = _number(directory / "memory.max", directory / "memory.limit_in_bytes")
        if limit is not None:
            yield directory, limit


def _cached(directory: Path) -> int:
    table = read_table(directory / "memory.stat")
    whole = "total_" if "total_inactive_file" in table else ""  # v1: its plain rows are one level's
    return table.get(f"{whole}inactive_file", 0) + table.get(f"{whole}active_file", 0)


def _levels(root: Path, controller: str) -> Iterator[Path]:
    """The directories of this process's cgroups, from its own up to the top of the mount."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / (controller if controllers else "")
        own = PurePosixPath(path.lstrip("/"))
        # A path that leaves this namespace begins with "..".
        levels = [PurePosixPath()] if ".." in own.parts else [own, *own.parents]
        yield from (mount / level for level in dict.fromkeys(levels))


def _number(*files: Path) -> int | None:
    """The number in the first of `files` that holds one."""
    for file in files:
        words = _words(file)
        if words and words[0].isdigit():
            return int(words[0])
    return None


def _words(file: Path) -> list[str]:
    return " ".join(_lines(file)).split()


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []

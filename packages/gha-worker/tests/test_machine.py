from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from gha_worker._machine.capacity import Capacity, memory_left, oom_kills, read_capacity

if TYPE_CHECKING:
    from pathlib import Path

MB = 2**20
CORES = 8
TOTAL_KB = 16_369_480  # what a machine sold with 16 GB says
V1_UNLIMITED = 9223372036854771712


class Computer:
    """The files of /proc and /sys that a kernel would show."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/meminfo", f"MemTotal:  {TOTAL_KB} kB\nMemAvailable: 8192000 kB\n")

    def write(self, path: str, text: object) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def cgroup(self, *lines: str) -> None:
        self.write("proc/self/cgroup", "\n".join(lines))

    def limit(self, path: str, **files: object) -> None:
        """Write files of a cgroup; the first ``_`` of a name is its dot."""
        for name, text in files.items():
            self.write(f"sys/fs/cgroup/{path}/{name.replace('_', '.', 1)}", text)

    @property
    def capacity(self) -> Capacity:
        return read_capacity(self.root)


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Computer:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(CORES)), raising=False)
    return Computer(tmp_path)


def test_a_machine_of_16_gb_has_16_gb(computer: Computer) -> None:
    assert computer.capacity == Capacity(8000, 16384)


def test_the_cores_that_a_process_may_run_on_count(
    computer: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 5}, raising=False)
    assert computer.capacity.millicores == 2000


def test_a_limit_of_a_cgroup_is_taken_as_it_is(computer: Computer) -> None:
    computer.cgroup("0::/job")
    computer.limit("job", memory_max=4000 * MB, cpu_max="150000 100000")
    assert computer.capacity == Capacity(1500, 4000)


def test_the_narrowest_level_counts(computer: Computer) -> None:
    computer.cgroup("0::/a/b/c")
    computer.limit("a/b/c", memory_max="max", cpu_max="max 100000")
    computer.limit("a/b", memory_max=3000 * MB, cpu_max="50000 100000")
    computer.limit("a", memory_max=2000 * MB, cpu_max="400000 100000")
    assert computer.capacity == Capacity(500, 2000)


def test_a_limit_above_the_machine_is_none(computer: Computer) -> None:
    computer.cgroup("0::/job")
    computer.limit("job", memory_max=64 * 1024 * MB, cpu_max="6400000 100000")
    assert computer.capacity == Capacity(8000, 16384)


def test_the_first_version_of_cgroups_is_read_too(computer: Computer) -> None:
    computer.cgroup("5:memory:/docker/x", "4:cpu,cpuacct:/docker/x", "0::/")
    computer.limit("memory/docker/x", memory_limit_in_bytes=2048 * MB)
    computer.limit("memory", memory_limit_in_bytes=V1_UNLIMITED)
    computer.limit("cpu/docker/x", cpu_cfs_quota_us=250000, cpu_cfs_period_us=100000)
    computer.limit("cpu", cpu_cfs_quota_us=-1, cpu_cfs_period_us=100000)
    assert computer.capacity == Capacity(2500, 2048)


@pytest.mark.parametrize("path", ["/kubepods/pod1/host-side", "/../../elsewhere", "/"])
def test_a_container_that_sees_only_the_top_of_its_cgroups(computer: Computer, path: str) -> None:
    computer.cgroup(f"0::{path}")
    computer.limit("", memory_max=1000 * MB, cpu_max="200000 100000")
    assert computer.capacity == Capacity(2000, 1000)


def test_what_is_left_is_the_least_of_all_levels_and_the_machine(computer: Computer) -> None:
    assert memory_left(computer.root) == 8000
    computer.cgroup("0::/a/b")
    computer.limit("a/b", memory_max=2000 * MB, memory_current=500 * MB)
    assert memory_left(computer.root) == 1500
    computer.limit("a", memory_max=3000 * MB, memory_current=2900 * MB)
    assert memory_left(computer.root) == 100


def test_the_page_cache_of_a_cgroup_is_left(computer: Computer) -> None:
    computer.cgroup("0::/a")
    stat = f"anon {900 * MB}\ninactive_file {60 * MB}\nactive_file {40 * MB}"
    computer.limit("a", memory_max=1000 * MB, memory_current=1000 * MB, memory_stat=stat)
    assert memory_left(computer.root) == 100


def test_the_page_cache_below_a_cgroup_of_the_first_version_is_left(computer: Computer) -> None:
    computer.cgroup("5:memory:/a")
    stat = f"inactive_file 0\nactive_file 0\ntotal_inactive_file {70 * MB}\ntotal_active_file 0"
    limits = {"memory_limit_in_bytes": 1000 * MB, "memory_usage_in_bytes": 950 * MB}
    computer.limit("memory/a", **limits, memory_stat=stat)
    assert memory_left(computer.root) == 120


def test_a_system_that_does_not_say_what_is_left(tmp_path: Path) -> None:
    assert memory_left(tmp_path) is None


def test_kills_for_memory_are_counted_where_they_concern_this_process(computer: Computer) -> None:
    assert oom_kills(computer.root) == 0
    computer.write("proc/vmstat", "nr_free_pages 5\noom_kill 7")
    assert oom_kills(computer.root) == 7
    computer.cgroup("0::/a/b")
    computer.limit("a", memory_events="low 0\noom 3\noom_kill 2\noom_group_kill 0")
    assert oom_kills(computer.root) == 2
    computer.limit("a/b", memory_events="oom_kill 1")
    assert oom_kills(computer.root) == 1


def test_kills_are_counted_in_the_first_version_too(computer: Computer) -> None:
    computer.cgroup("5:memory:/a")
    computer.limit("memory/a", memory_oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 4")
    assert oom_kills(computer.root) == 4


def test_this_machine_has_cores_and_memory() -> None:
    capacity = read_capacity()
    assert 0 < capacity.millicores <= (os.cpu_count() or 1) * 1000
    assert capacity.memory_mb > 0
    left = memory_left()
    assert left is None or 0 < left <= capacity.memory_mb

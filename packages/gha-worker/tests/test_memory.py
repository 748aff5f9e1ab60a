from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from process_watch import eventually

from gha_worker._machine.memory import (
    Holding,
    MemoryUse,
    MemoryWatch,
    condemn,
    held_mb,
    pause,
    processes_below,
    reserve_mb,
    room_mb,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc to look at")

HOLD = """
import signal, sys
held = [b"x" * 2**20 for _ in range({megabytes})]
print("full", flush=True)
signal.pause()
"""
SLOWLY = """
import signal, sys, time
held = []
for _ in range(10):
    held.append(b"x" * (20 * 2**20))
    time.sleep(0.02)
print("full", flush=True)
signal.pause()
"""
FORKS = """
import os, signal, sys
held = [b"x" * 2**20 for _ in range({megabytes})]
for _ in range(3):
    if os.fork() == 0:
        signal.pause()
print("full", flush=True)
signal.pause()
"""
SHARES = """
import mmap, signal
shared = mmap.mmap(-1, {megabytes} * 2**20)
shared.write(b"x" * len(shared))
print("full", flush=True)
signal.pause()
"""
MAPS = """
import mmap, signal, sys
with open({file!r}, "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
read = sum(mapped[place] for place in range(0, len(mapped), mmap.PAGESIZE))
print("full", flush=True)
signal.pause()
"""

holdings = st.lists(
    st.builds(
        Holding,
        used_mb=st.floats(min_value=0, max_value=20000),
        share_mb=st.integers(min_value=1, max_value=20000),
        condemned=st.booleans(),
    ),
    max_size=8,
)
rooms = st.floats(min_value=-20000, max_value=20000)


class Job:
    """A process in the place of a guard, with one that runs `program` below it."""

    def __init__(self, program: str) -> None:
        self._process = subprocess.Popen(
            ["bash", "-c", f"{sys.executable} -I -S -c '{program}'; true"],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.condemned = 0

    def full(self) -> Job:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"full\n"
        return self

    def condemn(self) -> None:
        self.condemned += 1

    def condemn_and_end(self) -> None:
        self.condemn()
        self.end()

    def end(self) -> None:
        os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        self.end()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Jobs:
    def __init__(self) -> None:
        self._started: list[Job] = []

    def start(self, program: str) -> Job:
        job = Job(program)
        self._started.append(job)
        return job

    def holding(self, megabytes: int) -> Job:
        return self.start(HOLD.format(megabytes=megabytes)).full()

    def close(self) -> None:
        for job in self._started:
            job.close()


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    jobs = Jobs()
    yield jobs
    jobs.close()


class Kernel:
    """The machine's memory, as it says."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc").mkdir()

    def left(self, megabytes: int) -> None:
        fresh = self.root / "fresh"
        fresh.write_text(f"MemTotal: 16000000 kB\nMemAvailable: {megabytes * 1024} kB\n")
        fresh.replace(self.root / "proc/meminfo")

    def kills(self, count: int) -> None:
        (self.root / "proc/vmstat").write_text(f"oom_kill {count}\n")


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def wait_for_looks(watch: MemoryWatch, jobs: Jobs) -> None:
    """Until the watch has looked at all jobs once more, from beginning to end."""
    wait_for_a_look(watch, jobs)  # the end of which may still be to come
    wait_for_a_look(watch, jobs)


def wait_for_a_look(watch: MemoryWatch, jobs: Jobs) -> None:
    job = jobs.holding(1)
    with watch.follow(job.pid, 10**6, job.condemn) as use:
        eventually(lambda: use.peak_mb)


@given(holdings, rooms)
def test_a_job_within_its_share_is_never_condemned(jobs: list[Holding], room: float) -> None:
    place = condemn(jobs, room)
    assert place is None or jobs[place].used_mb > jobs[place].share_mb


@given(holdings, rooms)
def test_nobody_is_condemned_while_there_is_room(jobs: list[Holding], room: float) -> None:
    assert condemn(jobs, abs(room) + 1e-6) is None


@given(holdings, rooms)
def test_one_is_condemned_at_a_time(jobs: list[Holding], room: float) -> None:
    if any(job.condemned and job.used_mb > 0 for job in jobs):
        assert condemn(jobs, room) is None


@given(holdings)
def test_without_room_the_one_furthest_above_its_share_is_condemned(jobs: list[Holding]) -> None:
    jobs = [job._replace(condemned=False) for job in jobs]
    place = condemn(jobs, 0.0)
    excess = [job.used_mb - job.share_mb for job in jobs]
    if place is None:
        assert all(one <= 0 for one in excess)
    else:
        assert excess[place] == max(excess)


@given(holdings, st.integers(1, 20000), st.none() | st.integers(0, 20000))
def test_there_is_never_more_room_than_declared_or_left(
    jobs: list[Holding], capacity: int, left: int | None
) -> None:
    room = room_mb(jobs, capacity, left)
    assert room <= capacity - reserve_mb(capacity)
    if left is not None:
        assert room <= left - reserve_mb(capacity)
    more = Holding(used_mb=10.0, share_mb=10)
    assert room_mb([*jobs, more], capacity, left) <= room


@given(rooms, st.floats(min_value=0, max_value=10))
def test_a_pause_is_never_long_and_never_nothing(room: float, took: float) -> None:
    assert 0.05 <= pause(room, took) <= 1.0
    assert pause(room, took) <= pause(room + 1.0, took)


def test_looks_are_rare_where_there_is_room_and_where_they_are_slow() -> None:
    assert pause(16000.0, took=0.003) == 0.5
    assert pause(200.0, took=0.001) < 0.1
    assert pause(200.0, took=0.010) == pytest.approx(0.4)


def test_a_peak_is_unknown_until_there_is_one() -> None:
    use = MemoryUse(100, lambda: 0)
    assert (use.peak_mb, use.condemned, use.machine_ran_out) == (None, False, False)


@linux
def test_a_fast_eater_is_condemned_and_its_neighbour_is_not(jobs: Jobs) -> None:
    neighbour = jobs.holding(60)
    with MemoryWatch(300) as watch, watch.follow(neighbour.pid, 150, neighbour.condemn) as calm:
        eater = jobs.start(SLOWLY)
        with watch.follow(eater.pid, 150, eater.condemn_and_end) as use:
            eventually(lambda: eater.condemned, 5.0)
            wait_for_looks(watch, jobs)
            assert (use.condemned, eater.condemned) == (True, 1)
            assert use.peak_mb is not None
            assert use.peak_mb > 150
        assert (calm.condemned, neighbour.condemned) == (False, 0)
        assert calm.peak_mb is not None
        assert 60 <= calm.peak_mb < 90


@linux
def test_a_job_above_its_share_stays_while_there_is_room(jobs: Jobs) -> None:
    job = jobs.holding(60)
    with MemoryWatch(1000) as watch, watch.follow(job.pid, 10, job.condemn) as use:
        wait_for_looks(watch, jobs)
        assert use.peak_mb is not None
        assert not use.condemned


@linux
def test_a_machine_that_has_nothing_left_condemns_before_the_declared_capacity_is_full(
    jobs: Jobs, kernel: Kernel
) -> None:
    kernel.left(8000)
    job = jobs.holding(30)
    with (
        MemoryWatch(16384, kernel.root) as watch,
        watch.follow(job.pid, 10, job.condemn_and_end) as use,
    ):
        wait_for_looks(watch, jobs)
        assert not use.condemned
        kernel.left(400)
        eventually(lambda: use.condemned)


@linux
def test_a_job_within_its_share_is_left_to_the_kernel(jobs: Jobs, kernel: Kernel) -> None:
    kernel.left(0)
    job = jobs.holding(30)
    with MemoryWatch(16384, kernel.root) as watch, watch.follow(job.pid, 100, job.condemn) as use:
        wait_for_looks(watch, jobs)
        assert not use.condemned


@linux
def test_nobody_else_is_condemned_while_a_condemned_job_holds_its_memory(
    jobs: Jobs, kernel: Kernel
) -> None:
    kernel.left(8000)
    worst, second = jobs.holding(60), jobs.holding(30)
    with (
        MemoryWatch(16384, kernel.root) as watch,
        watch.follow(second.pid, 10, second.condemn),
        watch.follow(worst.pid, 10, worst.condemn),
    ):
        wait_for_looks(watch, jobs)
        kernel.left(0)
        eventually(lambda: worst.condemned)
        wait_for_looks(watch, jobs)
        assert (worst.condemned, second.condemned) == (1, 0)


@linux
def test_the_memory_of_a_condemned_job_has_time_to_return(jobs: Jobs, kernel: Kernel) -> None:
    kernel.left(8000)
    worst, second = jobs.holding(60), jobs.holding(30)
    with (
        MemoryWatch(16384, kernel.root) as watch,
        watch.follow(second.pid, 10, second.condemn),
        watch.follow(worst.pid, 10, worst.condemn_and_end),
    ):
        wait_for_looks(watch, jobs)
        kernel.left(0)
        eventually(lambda: worst.condemned)
        ended = time.monotonic()
        eventually(lambda: second.condemned)
        assert time.monotonic() - ended > 1.0


@linux
def test_pages_that_forked_processes_share_count_once(jobs: Jobs) -> None:
    job = jobs.start(FORKS.format(megabytes=100)).full()
    (resident,) = processes_below([job.pid])
    assert sum(resident.values()) > 400
    assert held_mb(resident) < 150
    with MemoryWatch(300) as watch, watch.follow(job.pid, 150, job.condemn) as use:
        wait_for_looks(watch, jobs)
        assert not use.condemned
        assert use.peak_mb is not None
        assert 100 <= use.peak_mb < 150


@linux
def test_mapped_files_are_not_held(jobs: Jobs, tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"\1" * (200 * 2**20))
    job = jobs.start(MAPS.format(file=str(file)).replace("'", '"')).full()
    (resident,) = processes_below([job.pid])
    assert sum(resident.values()) > 200
    with MemoryWatch(220) as watch, watch.follow(job.pid, 100, job.condemn) as use:
        wait_for_looks(watch, jobs)
        assert not use.condemned
        assert use.peak_mb is not None
        assert use.peak_mb < 50


@linux
def test_memory_that_is_shared_on_purpose_is_held(jobs: Jobs) -> None:
    job = jobs.start(SHARES.format(megabytes=60)).full()
    (resident,) = processes_below([job.pid])
    assert 60 <= held_mb(resident) < 90


@linux
def test_one_look_sees_all_jobs_and_each_only_its_own(jobs: Jobs) -> None:
    first, second, without = jobs.holding(20), jobs.holding(40), jobs.holding(1)
    a, b, none = processes_below([first.pid, second.pid, 2**22 + 1])
    assert 20 <= sum(a.values()) < 40 <= sum(b.values())
    assert not a.keys() & b.keys()
    assert without.pid not in {*a, *b}
    assert none == {}


@linux
def test_kills_of_the_kernel_count_while_a_job_is_followed(kernel: Kernel) -> None:
    kernel.left(8000)
    kernel.kills(3)
    with MemoryWatch(16384, kernel.root) as watch:
        with watch.follow(os.getpid(), 100, lambda: None) as before:
            assert not before.machine_ran_out
        with watch.follow(os.getpid(), 100, lambda: None) as during:
            kernel.kills(4)
            assert during.machine_ran_out
        assert during.machine_ran_out
        assert not before.machine_ran_out


@linux
def test_a_machine_without_descriptors_is_looked_at_again(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    listdir = os.listdir
    refused: list[str] = []

    def once(path: str) -> list[str]:
        if not refused:
            refused.append(path)
            raise OSError(24, "Too many open files")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", once)
    job = jobs.holding(1)
    with MemoryWatch(1000) as watch, watch.follow(job.pid, 100, job.condemn) as use:
        eventually(lambda: use.peak_mb)
    assert refused == ["/proc"]


def test_a_watch_ends_at_once(jobs: Jobs) -> None:
    with MemoryWatch(1000) as watch:
        thread = watch._thread
    assert not thread.is_alive()

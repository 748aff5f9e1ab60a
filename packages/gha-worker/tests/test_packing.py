from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_worker import CommandJob, Resources
from gha_worker._jobs.need import Need
from gha_worker._machine.capacity import Capacity
from gha_worker._worker.packing import PATIENCE, Packing, PassedOver

VM = Capacity(millicores=4000, memory_mb=16384)
capacities = st.builds(
    Capacity, millicores=st.integers(100, 64000), memory_mb=st.integers(100, 500000)
)
needs = st.builds(
    Need,
    millicores=st.integers(1, 8000),
    memory_mb=st.none() | st.integers(1, 20000),
    timeout=st.integers(1, 21600),
)


@given(needs)
def test_a_need_survives_its_way_through_the_listing(need: Need) -> None:
    assert Need.parse(need.to_text()) == need
    assert len(need.to_text()) <= 64


@pytest.mark.parametrize("text", ["gpu", "c0t1", "c1", "c1000m0t5", "c1000t600 ", "c01t1", "t5"])
def test_a_need_of_somebody_else_is_not_understood(text: str) -> None:
    assert Need.parse(text) is None


def test_a_job_that_asks_for_nothing_needs_one_core() -> None:
    assert Need.of(CommandJob("true")) == Need(1000, None, 21600)
    assert Need.parse("") == Need(1000, None, 1)


def test_fractions_are_rounded_up() -> None:
    job = CommandJob("true", resources=Resources(cpu=0.0001, memory_mb=1), timeout=0.5)
    assert Need.of(job) == Need(1, 1, 1)
    assert Need.of(replace(job, resources=Resources(cpu=0.1))).millicores == 100


@given(capacities, st.lists(needs, max_size=30))
def test_what_runs_together_never_exceeds_the_machine(
    capacity: Capacity, waiting: list[Need]
) -> None:
    packing = Packing(capacity)
    running: list[Need] = []
    for need in waiting:
        if packing.fits(need, running, None):
            running.append(need)
    assert sum(need.millicores for need in running) <= capacity.millicores
    assert sum(packing.share(need) for need in running) <= capacity.memory_mb


@given(capacities, needs)
def test_what_fits_beside_others_fits_the_empty_machine(capacity: Capacity, need: Need) -> None:
    packing = Packing(capacity)
    if packing.fits(need, [Need(1, 1, 1)], None):
        assert packing.fits_empty(need)
    assert packing.fits_empty(need) == (
        need.millicores <= capacity.millicores and (need.memory_mb or 0) <= capacity.memory_mb
    )


def test_memory_that_nobody_chose_counts_as_that_of_the_cores() -> None:
    packing = Packing(VM)
    assert packing.share(Need(1000)) == 4096
    assert packing.share(Need(500)) == 2048
    assert packing.fits(Need(1000), [Need(1000)] * 3, None)
    assert not packing.fits(Need(1000), [Need(1000, 12289)], None)
    assert packing.fits(Need(1000), [Need(1000, 12288)], None)


def test_slots_run_so_many_jobs_whatever_they_need() -> None:
    packing = Packing(VM, slots=2)
    huge = Need(millicores=64000, memory_mb=500000)
    assert packing.fits_empty(huge)
    assert packing.fits(huge, [huge], None)
    assert not packing.fits(Need(1), [huge, huge], None)
    assert packing.share(Need()) == 8192
    assert packing.cores(huge) == 4


@pytest.mark.parametrize("packing", [Packing(VM), Packing(VM, slots=4)])
def test_the_owner_of_the_queue_can_lower_the_slots(packing: Packing) -> None:
    assert packing.fits(Need(), [Need()], 2)
    assert not packing.fits(Need(), [Need()], 1)
    assert not packing.fits(Need(), [], 0)


def test_a_need_is_overdue_once_it_was_passed_over_for_its_patience() -> None:
    passed_over, big = PassedOver(), Need(4000)
    passed_over.note(big, 100.0)
    passed_over.note(big, 100.0 + PATIENCE)
    assert passed_over.overdue(99.9 + PATIENCE) == frozenset()
    assert passed_over.overdue(100.0 + PATIENCE) == {big}
    passed_over.forget([big])
    assert passed_over.overdue(1000.0) == frozenset()

"""How many VMs a run asks for, and how many tasks share one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_dispatch import RepositoryView
from metaflow_extensions.gha.launcher.backend import first_width
from metaflow_extensions.gha.launcher.demand import UNBOUNDED, Demand, graph_width
from metaflow_extensions.gha.launcher.supervisor import BOOT, LATE, Wave


def graph(**nodes: tuple[str, list[str], str | None]) -> Any:
    return {
        name: SimpleNamespace(name=name, type=kind, out_funcs=out, matching_join=join)
        for name, (kind, out, join) in nodes.items()
    }


LINEAR = graph(
    start=("start", ["middle"], None), middle=("linear", ["end"], None), end=("end", [], None)
)
FOREACH = graph(
    start=("foreach", ["work"], "join"),
    work=("linear", ["join"], None),
    join=("join", ["end"], None),
    end=("end", [], None),
)
BRANCHES = graph(
    start=("split", ["a", "b", "c"], "join"),
    a=("linear", ["join"], None),
    b=("linear", ["b2"], None),
    b2=("linear", ["join"], None),
    c=("linear", ["join"], None),
    join=("join", ["end"], None),
    end=("end", [], None),
)
LOOP = graph(
    start=("linear", ["turn"], None),
    turn=("split-switch", ["turn", "end"], None),
    end=("end", [], None),
)


def test_a_linear_flow_uses_one_vm() -> None:
    assert graph_width(LINEAR, frozenset(LINEAR)) == 1


def test_a_flow_without_gha_steps_uses_none() -> None:
    assert graph_width(LINEAR, frozenset()) == 0


def test_a_foreach_may_use_any_number() -> None:
    assert graph_width(FOREACH, frozenset({"work"})) == UNBOUNDED


@pytest.mark.parametrize(("visibility", "width"), [("public", UNBOUNDED), ("private", 1)])
def test_vms_for_items_that_nobody_has_counted_are_asked_for_only_where_they_are_free(
    visibility: str, width: int
) -> None:
    view = RepositoryView("o/r", visibility, "main", is_fork=False, is_archived=False, url="")
    assert first_width(FOREACH, frozenset({"work"}), view) == width
    assert first_width(BRANCHES, frozenset(BRANCHES), view) == 3


def test_a_foreach_with_nothing_remote_inside_uses_what_is_around_it() -> None:
    assert graph_width(FOREACH, frozenset({"join"})) == 1


def test_branches_add_up_and_steps_in_a_row_do_not() -> None:
    assert graph_width(BRANCHES, frozenset(BRANCHES)) == 3
    assert graph_width(BRANCHES, frozenset({"a", "b2"})) == 2


def test_a_loop_is_walked_once() -> None:
    assert graph_width(LOOP, frozenset(LOOP)) == 1


counts = st.integers(0, 300)
demands = st.builds(Demand, counts, counts, counts, counts, st.integers(1, 256), st.booleans())
slots = st.sampled_from([1, None])


@given(demands)
def test_no_vm_is_asked_for_while_nothing_waits(demand: Demand) -> None:
    if demand.waiting == 0:
        assert demand.missing() == 0


@given(demands)
def test_the_limit_is_never_passed(demand: Demand) -> None:
    missing = demand.missing()
    assert missing >= 0
    if missing:
        assert demand.alive + demand.booting + missing <= demand.limit


@given(demands)
def test_work_that_waits_without_a_vm_gets_one(demand: Demand) -> None:
    if demand.waiting and demand.alive + demand.booting == 0:
        assert demand.missing() >= 1


def test_each_task_has_a_vm_of_its_own_while_vms_may_come() -> None:
    assert Demand(waiting=9, running=0, alive=0, booting=3, limit=3).slots(None) == 1
    assert Demand(waiting=8, running=1, alive=1, booting=2, limit=3).slots(1) == 1
    assert Demand(waiting=7, running=2, alive=3, booting=0, limit=3).slots(1) == 1


def test_vms_are_shared_once_all_that_the_run_may_have_are_busy() -> None:
    assert Demand(waiting=7, running=3, alive=3, booting=0, limit=3).slots(1) is None


def test_vms_are_shared_while_github_starts_no_more_of_them() -> None:
    assert Demand(waiting=7, running=2, alive=2, booting=18, limit=20, late=True).slots(1) is None


def test_a_run_that_may_have_one_vm_fills_it_at_once() -> None:
    assert Demand(waiting=1, running=0, alive=0, booting=1, limit=1).slots(None) is None


def test_tasks_are_spread_again_when_vms_are_idle() -> None:
    assert Demand(waiting=0, running=1, alive=3, booting=0, limit=3).slots(None) == 1


def test_vms_between_two_of_many_short_tasks_are_not_taken_for_idle() -> None:
    assert Demand(waiting=9, running=2, alive=3, booting=0, limit=3).slots(None) is None


@given(demands, slots)
def test_no_core_idles_for_good_where_work_waits_and_no_vm_comes(
    demand: Demand, now: int | None
) -> None:
    full = demand.alive >= demand.limit or demand.late
    if demand.waiting and full and 0 < demand.alive <= demand.running:
        assert demand.slots(now) is None


@given(demands, slots)
def test_the_same_sight_never_changes_the_slots_twice(demand: Demand, now: int | None) -> None:
    once = demand.slots(now)
    assert demand.slots(once) == once


@given(demands)
def test_tasks_are_not_held_back_once_vms_are_shared_and_work_waits(demand: Demand) -> None:
    if demand.waiting and demand.alive:
        assert demand.slots(None) is None


def test_vms_are_late_when_github_has_most_likely_queued_them() -> None:
    wave = Wave("w", size=2, sent_at=0.0, arrived={"0"}, alive=1, open_jobs=2)
    assert not wave.is_late(LATE)
    assert wave.is_late(LATE + 1)
    wave.arrived.add("1")
    assert not wave.is_late(LATE + 1)


def test_vms_that_github_has_queued_are_waited_for_however_long() -> None:
    wave = Wave("w", size=20, sent_at=0.0, arrived={"0", "1"}, alive=2, open_jobs=20)
    assert wave.booting(10 * BOOT) == 18


def test_vms_whose_jobs_github_has_ended_are_not_waited_for() -> None:
    assert Wave("w", size=3, sent_at=0.0, open_jobs=0).booting(1.0) == 0
    # One came and works, one ended before it came, one is still queued.
    assert Wave("w", size=3, sent_at=0.0, arrived={"0"}, alive=1, open_jobs=2).booting(1.0) == 1


def test_without_a_word_from_github_vms_are_waited_for_a_while() -> None:
    wave = Wave("w", size=3, sent_at=0.0, arrived={"0"})
    assert wave.booting(BOOT) == 2
    assert wave.booting(BOOT + 1) == 0

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_worker import CommandJob, CommandResult, OnStop, Reason
from gha_worker._guard.ending import Ended, Ending
from gha_worker._worker.rules import (
    Interruption,
    Leaving,
    Memory,
    Settlement,
    Situation,
    Stage,
    conclude,
    has_time_for,
    may_claim,
    settlement,
    time_limit,
    why_leave,
)

CALM = Situation(now=100.0, started=0.0, work_seen=90.0, lifetime=21000.0, idle_timeout=120.0)
moments = st.floats(min_value=0, max_value=30000)
flags = st.booleans()
situations = st.builds(
    Situation,
    now=moments,
    started=st.just(0.0),
    work_seen=moments,
    lifetime=st.floats(min_value=1, max_value=30000),
    idle_timeout=st.floats(min_value=0, max_value=600),
    signalled=flags,
    paused=flags,
    closed=flags,
    cancelled=flags,
    abandoned=flags,
    drained=flags,
    refused_for_age=flags,
    expired=flags,
    dismissed=flags,
    running=st.integers(0, 3),
    taken=st.integers(0, 5),
    max_jobs=st.none() | st.integers(1, 5),
)
timeouts = st.floats(min_value=0.1, max_value=50000)


def test_a_calm_worker_claims_and_stays() -> None:
    assert why_leave(CALM) is None
    assert may_claim(CALM)


@pytest.mark.parametrize(
    ("change", "leaving"),
    [
        ({"signalled": True}, Leaving.SIGNALLED),
        ({"cancelled": True}, Leaving.CANCELLED),
        ({"abandoned": True}, Leaving.ABANDONED),
        ({"closed": True, "drained": True}, Leaving.DRAINED),
        ({"expired": True}, Leaving.EXPIRED),
        ({"now": 21000.0, "work_seen": 20999.0}, Leaving.TOO_OLD),
        ({"refused_for_age": True}, Leaving.TOO_OLD),
        ({"now": 210.0}, Leaving.IDLE),
        ({"dismissed": True}, Leaving.DISMISSED),
        ({"taken": 3, "max_jobs": 3}, Leaving.ENOUGH),
    ],
)
def test_each_reason_to_leave(change: dict[str, float], leaving: Leaving) -> None:
    situation = replace(CALM, **change)  # type: ignore[arg-type]
    assert why_leave(situation) is leaving
    assert not may_claim(situation)


@pytest.mark.parametrize(
    "change",
    [{"now": 210.0}, {"refused_for_age": True}, {"closed": True, "drained": True}],
)
def test_a_worker_with_a_running_job_is_not_idle(change: dict[str, float]) -> None:
    assert why_leave(replace(CALM, running=1, **change)) is None  # type: ignore[arg-type]


@given(situations)
def test_only_a_stop_from_outside_ends_running_jobs(situation: Situation) -> None:
    leaving = why_leave(situation)
    if leaving is not None and leaving.at_once:
        assert situation.signalled or situation.cancelled or situation.abandoned


def test_a_closed_queue_is_worked_off_first() -> None:
    closed = replace(CALM, closed=True)
    assert why_leave(closed) is None
    assert may_claim(closed)


def test_an_empty_queue_that_is_open_is_waited_at() -> None:
    assert why_leave(replace(CALM, drained=True)) is None


def test_a_paused_queue_is_waited_at_without_claims() -> None:
    paused = replace(CALM, paused=True)
    assert why_leave(paused) is None
    assert not may_claim(paused)


@given(situations)
def test_who_leaves_claims_nothing(situation: Situation) -> None:
    if why_leave(situation) is not None:
        assert not may_claim(situation)


@given(situations, timeouts)
def test_no_job_outlives_its_machine_or_its_own_limit(situation: Situation, timeout: float) -> None:
    at, reason = time_limit(situation, timeout)
    assert at <= situation.now + timeout
    assert at <= situation.started + situation.lifetime
    assert (reason is Reason.TIMEOUT) == (at == situation.now + timeout)


@given(situations, timeouts)
def test_a_job_starts_only_where_it_can_end_or_has_half_an_hour(
    situation: Situation, timeout: float
) -> None:
    if has_time_for(situation, timeout):
        assert situation.left >= min(timeout, 1800, situation.lifetime / 2)
    else:
        assert situation.left < timeout
        assert situation.left < 1800


@given(timeouts, st.floats(min_value=1, max_value=30000))
def test_a_young_machine_takes_any_job(timeout: float, lifetime: float) -> None:
    young = replace(CALM, now=0.0, work_seen=0.0, lifetime=lifetime)
    assert has_time_for(young, timeout)


@pytest.mark.parametrize(
    ("left", "timeout", "starts"),
    [(1800, 21600, True), (1799, 21600, False), (60, 60, True), (59, 60, False)],
)
def test_the_last_half_hour_is_for_short_jobs(left: float, timeout: float, *, starts: bool) -> None:
    situation = replace(CALM, now=CALM.lifetime - left)
    assert has_time_for(situation, timeout) is starts


reasons = st.sampled_from(Reason)
interruptions = st.none() | st.sampled_from(Interruption)


@given(reasons, flags, interruptions, st.sampled_from(OnStop))
def test_settlements_keep_their_promises(
    reason: Reason, ok: bool, interruption: Interruption | None, on_stop: OnStop
) -> None:
    settled = settlement(reason, ok=ok, interruption=interruption, on_stop=on_stop)
    if settled is Settlement.COMPLETE:
        assert ok
    if settled is Settlement.RELEASE:
        assert reason is Reason.STOPPED
        assert on_stop is OnStop.RELEASE
        assert interruption is not Interruption.CANCEL
    assert (settled is Settlement.NONE) == (reason is Reason.LEASE_LOST)
    if reason in (Reason.VM_LIFETIME, Reason.BAD_JOB):
        assert settled is Settlement.FAIL_FOR_GOOD


@pytest.mark.parametrize(
    ("ending", "preparing", "interruption", "reason"),
    [
        (Ending.ITSELF, False, None, Reason.EXITED),
        (Ending.ITSELF, True, None, Reason.PREPARE_FAILED),
        (Ending.ITSELF, False, Interruption.SIGNAL, Reason.EXITED),
        (Ending.LIMIT, False, None, Reason.VM_LIFETIME),
        (Ending.LIMIT, True, None, Reason.VM_LIFETIME),
        (Ending.STOP, True, Interruption.SIGNAL, Reason.STOPPED),
        (Ending.STOP, False, Interruption.CANCEL, Reason.STOPPED),
        (Ending.STOP, False, Interruption.LEASE_LOST, Reason.LEASE_LOST),
        (Ending.DEADLINE, False, None, Reason.LEASE_LOST),
        (Ending.STOP, False, Interruption.MEMORY, Reason.OUT_OF_MEMORY),
        (Ending.SERVER_FAILED, False, None, Reason.SERVER_FAILED),
        (Ending.GUARD_DIED, False, None, Reason.GUARD_DIED),
    ],
)
def test_the_guard_decides_why_a_job_ended(
    ending: Ending, preparing: bool, interruption: Interruption | None, reason: Reason
) -> None:
    result = conclude(
        CommandJob(script="true"),
        Stage(preparing=preparing, limit=Reason.VM_LIFETIME),
        Ended(ending, 1, None, 2.0),
        Memory(share=4096, machine=16384, peak=100),
        interruption=interruption,
        before=1.5,
        tail="end",
    )
    assert result.reason is reason
    assert result.seconds == 3.5
    assert result.tail == "end"
    assert result.message.endswith(".")
    assert (result.peak_memory_mb, result.memory_mb) == (100, 4096)


def script_ended(ended: Ended, memory: Memory) -> CommandResult:
    stage = Stage(preparing=False, limit=Reason.TIMEOUT)
    return conclude(CommandJob(script="true"), stage, ended, memory)


@pytest.mark.parametrize(
    "ended",
    [Ended(Ending.ITSELF, None, "SIGKILL", 1.0), Ended(Ending.ITSELF, 137, None, 1.0)],
)
def test_a_kill_counts_as_want_of_memory_only_where_there_was_none(ended: Ended) -> None:
    out = script_ended(ended, Memory(share=4096, machine=16384, peak=5000, ran_out=True))
    assert out.reason is Reason.OUT_OF_MEMORY
    assert script_ended(ended, Memory(share=4096, machine=16384, peak=5000)).reason is Reason.EXITED


def test_a_failure_beside_a_hungry_neighbour_stays_its_own() -> None:
    failed = script_ended(
        Ended(Ending.ITSELF, 1, None, 1.0), Memory(share=4096, machine=16384, ran_out=True)
    )
    assert failed.reason is Reason.EXITED


def test_a_job_without_memory_is_told_what_it_had_and_what_to_ask_for() -> None:
    killed = Ended(Ending.STOP, None, "SIGKILL", 1.0)
    stage = Stage(preparing=False, limit=Reason.TIMEOUT)
    memory = Memory(share=4096, machine=16384, peak=5000)
    result = conclude(
        CommandJob(script="true"), stage, killed, memory, interruption=Interruption.MEMORY
    )
    assert "it held 5000 MB, its share was 4096 MB" in result.message
    assert "put it again with memory_mb=6400" in result.message


def test_a_job_that_had_the_whole_machine_is_told_to_take_a_larger_one() -> None:
    killed = Ended(Ending.ITSELF, None, "SIGKILL", 1.0)
    memory = Memory(share=4096, machine=4096, peak=4000, ran_out=True)
    message = script_ended(killed, memory).message
    assert "all of the 4096 MB there are: run it on a larger machine" in message

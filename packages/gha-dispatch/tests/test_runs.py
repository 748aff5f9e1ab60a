"""A run: watched, waited for through troubles, cancelled; and the list of a workflow's runs."""

from __future__ import annotations

import contextlib
import time
from datetime import datetime, timedelta, timezone

import pytest
from dispatch_world import World, ended, until
from hypothesis import given
from hypothesis import strategies as st

from gha_dispatch import (
    Gh,
    GitHub,
    GitHubUnavailableError,
    RunFinishedError,
    RunNotFoundError,
    UnclearDispatchError,
    WaitTimeoutError,
    WorkflowNotFoundError,
    WorkflowRun,
)
from gha_dispatch._dispatch import ROUNDING, is_younger
from gha_dispatch.testing import Fault, FaultKind, GitHubStandIn

INPUTS = {"title": "t-1", "vms": "[0]"}


def start(github: GitHub, title: str = "t-1", script: str = "true") -> WorkflowRun:
    inputs = {**INPUTS, "title": title, "script": script}
    return github.workflow("fleet.yml").dispatch(inputs, marker=title)


class Time:
    """A clock that moves when someone sleeps, and calls someone then."""

    def __init__(self) -> None:
        self.now = 0.0
        self.naps: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


def test_a_run_tells_its_status_and_jobs_and_is_cancelled(
    github: GitHub, world: World, stand_in: GitHubStandIn
) -> None:
    run = start(github, script=f"touch {world.out}/up; exec sleep 60")
    until((world.out / "up").exists)
    assert (run.status().status, run.status().title) == ("in_progress", "fleet t-1")
    assert [job.status for job in run.jobs()] == ["in_progress"]
    stand_in.inject(Fault(FaultKind.LOSE, "POST", "/cancel$"))
    patient = GitHub(github.gh, github.repository, sleep=lambda _seconds: None)
    with contextlib.suppress(RunFinishedError):  # the first one may have done it by then
        patient.cancel(run.id)
    assert ended(github, run.id).conclusion == "cancelled"


def test_a_wait_ends_with_the_run(github: GitHub, world: World) -> None:
    run = start(github, script="exit 3")
    status = run.wait(timeout=30)
    assert (status.status, status.conclusion) == ("completed", "failure")
    assert run.wait(timeout=0) == status


def test_a_wait_looks_less_and_less_often_and_gives_up_in_time(
    github: GitHub, world: World
) -> None:
    turned = Time()
    slow = GitHub(github.gh, github.repository, clock=turned.clock, sleep=turned.sleep)
    run = start(slow, script=f"until [ -e {world.out}/go ]; do sleep 0.05; done")
    with pytest.raises(WaitTimeoutError):
        run.wait(timeout=60)
    (world.out / "go").touch()
    assert sum(turned.naps) == pytest.approx(60)
    assert turned.naps[0] == 2.0
    assert max(turned.naps) <= 15.0
    assert turned.naps[:-1] == sorted(turned.naps[:-1])
    ended(github, run.id)


def test_a_wait_sits_out_an_outage_and_a_rate_limit(
    github: GitHub, stand_in: GitHubStandIn
) -> None:
    turned = Time()
    patient = GitHub(github.gh, github.repository, clock=turned.clock, sleep=turned.sleep)
    run = start(patient)
    ended(github, run.id)
    path = f"/runs/{run.id}$"
    stand_in.inject(Fault(FaultKind.REFUSE, "GET", path, 502, times=8))
    limit = Fault(FaultKind.REFUSE, "GET", path, 429, headers=(("Retry-After", "900"),))
    stand_in.inject(limit)
    assert run.wait().conclusion == "success"
    assert 900.0 in turned.naps


def test_a_rate_limit_does_not_outlast_the_time_of_a_wait(
    github: GitHub, stand_in: GitHubStandIn
) -> None:
    turned = Time()
    patient = GitHub(github.gh, github.repository, clock=turned.clock, sleep=turned.sleep)
    stand_in.inject(Fault.busy("GET", "/runs/7$", retry_after=50, times=9))
    with pytest.raises(WaitTimeoutError):
        patient.find(7).wait(timeout=5)
    assert turned.naps == [5.0]


def test_a_wait_gives_an_outage_up_after_ten_minutes(
    github: GitHub, stand_in: GitHubStandIn
) -> None:
    turned = Time()
    patient = GitHub(github.gh, github.repository, clock=turned.clock, sleep=turned.sleep)
    stand_in.inject(Fault(FaultKind.REFUSE, "GET", "/runs/7$", 503, times=1000))
    with pytest.raises(GitHubUnavailableError):
        patient.find(7).wait()
    assert 600 < turned.now < 640


def test_a_run_that_is_not_there_is_not_waited_for(github: GitHub) -> None:
    with pytest.raises(RunNotFoundError):
        github.find(7).wait()
    with pytest.raises(RunNotFoundError):
        github.find(7).jobs()


def test_the_newest_runs_come_first_with_what_the_list_says(github: GitHub) -> None:
    started = [start(github, title) for title in ("t-1", "t-2", "t-3")]
    for run in started:
        ended(github, run.id)
    workflow = github.workflow("fleet.yml")
    assert workflow.runs() == started[::-1]
    assert [run.seen.title for run in workflow.runs(limit=2) if run.seen] == [
        "fleet t-3",
        "fleet t-2",
    ]
    assert workflow.runs(limit=0) == []
    with pytest.raises(WorkflowNotFoundError):
        github.workflow("nosuch.yml").runs()


@pytest.mark.parametrize("kind", [FaultKind.LOSE, FaultKind.BURY])
def test_a_lost_answer_without_a_marker_is_unclear_and_sent_once(
    github: GitHub, stand_in: GitHubStandIn, kind: FaultKind
) -> None:
    stand_in.inject(Fault(kind, "POST", "/dispatches$"))
    with pytest.raises(UnclearDispatchError, match="no marker to look for") as caught:
        github.workflow("fleet.yml").dispatch(INPUTS)
    assert caught.value.marker is None
    assert len(stand_in.runs()) == 1


def test_the_run_of_an_earlier_dispatch_is_not_taken_for_this_one(
    github: GitHub, stand_in: GitHubStandIn
) -> None:
    earlier = start(github)
    ended(github, earlier.id)
    made = time.monotonic()
    until(lambda: time.monotonic() - made > ROUNDING + 1)
    stand_in.inject(Fault(FaultKind.REFUSE, "POST", "/dispatches$"))
    with pytest.raises(UnclearDispatchError):
        start(GitHub(github.gh, github.repository, lookup=0.0))
    stand_in.inject(Fault(FaultKind.LOSE, "POST", "/dispatches$"))
    later = start(github)
    assert [run.id for run in stand_in.runs()] == [later.id, earlier.id]


@given(age=st.integers(-5, 10_000), elapsed=st.floats(0, 100))
def test_a_run_is_younger_than_its_dispatch_give_or_take_a_rounding(
    age: int, elapsed: float
) -> None:
    now = datetime(2026, 11, 22, 17, 0, tzinfo=timezone.utc)
    created = (now - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert is_younger({"created_at": created}, now, elapsed) is (age <= elapsed + ROUNDING)
    assert is_younger({"created_at": created}, None, elapsed)
    assert is_younger({}, now, elapsed)


def test_a_server_that_names_no_runs_is_asked_in_its_own_words(
    github: GitHub, stand_in: GitHubStandIn
) -> None:
    words = 'Invalid request.\n\n"return_run_details" is not a permitted key.'
    stand_in.inject(Fault(FaultKind.REFUSE, "POST", "/dispatches$", 422, message=words))
    run = start(github)
    assert [record.id for record in stand_in.runs()] == [run.id]


def test_an_empty_marker_is_refused_before_anything_is_sent(
    github: GitHub, stand_in: GitHubStandIn
) -> None:
    with pytest.raises(ValueError, match="marker"):
        github.workflow("fleet.yml").dispatch(INPUTS, marker="")
    assert stand_in.runs() == []


def test_a_dispatch_that_a_rate_limit_refused_is_sent_when_it_may_be(
    github: GitHub, stand_in: GitHubStandIn
) -> None:
    turned = Time()
    patient = GitHub(github.gh, github.repository, clock=turned.clock, sleep=turned.sleep)
    headers = (("Retry-After", "17"),)
    stand_in.inject(Fault(FaultKind.REFUSE, "POST", "/dispatches$", 403, headers=headers))
    run = start(patient)
    assert [record.id for record in stand_in.runs()] == [run.id]
    assert turned.naps == [17.0]


def test_a_look_up_does_not_outlast_its_time_for_a_rate_limit(
    github: GitHub, stand_in: GitHubStandIn
) -> None:
    turned = Time()
    hasty = GitHub(
        Gh(github.gh.path), github.repository, lookup=10.0, clock=turned.clock, sleep=turned.sleep
    )
    stand_in.inject(Fault(FaultKind.LOSE, "POST", "/dispatches$"))
    headers = (("Retry-After", "11"),)
    stand_in.inject(Fault(FaultKind.REFUSE, "GET", "/runs$", 403, headers=headers))
    with pytest.raises(UnclearDispatchError):
        start(hasty)
    assert turned.naps == []
    assert len(stand_in.runs()) == 1

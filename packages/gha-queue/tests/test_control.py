from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gha_queue import (
    InvalidQueueError,
    InvalidWorkerError,
    OutcomeKind,
    Queue,
    QueueClosedError,
    Status,
)
from gha_queue.testing import ShiftDate

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_queue import S3Client
    from gha_queue.testing import FaultProxy, ProxiedRequest
    from gha_queue.testing._proxy import Fault


def test_a_new_queue_is_open(queue: Queue) -> None:
    state = queue.state()
    assert (state.status, state.cancel, state.keepalive) == (Status.OPEN, False, None)
    assert not state.stopping


def test_a_closed_queue_refuses_puts(queue: Queue) -> None:
    queue.close()
    with pytest.raises(QueueClosedError, match="use a new queue"):
        queue.put("x", id="late")
    outcome = queue.outcome("late")
    assert outcome is not None
    assert outcome.kind is OutcomeKind.CANCELLED
    assert queue.drained()


def test_a_put_that_races_a_close_is_cancelled(
    queue: Queue, remote: Queue, proxy: FaultProxy
) -> None:
    def plan(request: ProxiedRequest) -> Fault | None:
        if request.method == "PUT" and "/ready/" in request.key:
            queue.close()
        return None

    proxy.plan = plan
    with pytest.raises(QueueClosedError):
        remote.put("x", id="a")
    assert queue.wait("a", timeout=20).kind is OutcomeKind.CANCELLED
    assert queue.drained()


def test_a_close_outlives_an_earlier_write_that_lands_late(queue: Queue, client: S3Client) -> None:
    key = f"{queue.url.removeprefix('s3://jobs/')}/control"
    queue.pause()
    late = client.get_object(Bucket="jobs", Key=key)["Body"].read()
    queue.close(cancel=True)
    client.put_object(Bucket="jobs", Key=key, Body=late)
    queue.renew()
    assert (queue.state().status, queue.state().cancel) == (Status.CLOSED, True)


def test_a_put_before_the_close_still_runs(queue: Queue) -> None:
    queue.put("x", id="a")
    queue.close()
    assert not queue.drained()
    with pytest.raises(QueueClosedError):
        queue.put("x", id="a")
    claim = queue.claim("w")
    assert claim is not None
    claim.complete()
    assert queue.drained()


def test_close_with_cancel_stops_what_runs_and_is_not_undone(queue: Queue) -> None:
    queue.close(cancel=True)
    queue.close()
    queue.resume()
    queue.pause()
    state = queue.state()
    assert (state.status, state.cancel, state.stopping) == (Status.CLOSED, True, True)


def test_who_is_drained_stays_so_and_others_join(queue: Queue) -> None:
    assert queue.state().drain == frozenset()
    queue.drain(["wave.1", "wave.2"])
    queue.drain(name for name in ("wave.2", "wave.3"))
    queue.resume()
    queue.close()
    assert queue.state().drain == {"wave.1", "wave.2", "wave.3"}


def test_who_is_drained_outlives_an_earlier_write_that_lands_late(
    queue: Queue, client: S3Client
) -> None:
    key = f"{queue.url.removeprefix('s3://jobs/')}/control"
    late = client.get_object(Bucket="jobs", Key=key)["Body"].read()
    queue.drain(["w"])
    client.put_object(Bucket="jobs", Key=key, Body=late)
    queue.renew()
    assert queue.state().drain == {"w"}


def test_slots_are_limited_and_freed(queue: Queue) -> None:
    assert queue.state().slots is None
    queue.limit_slots(2)
    queue.pause()
    assert (queue.state().slots, queue.state().status) == (2, Status.PAUSED)
    queue.limit_slots(None)
    assert queue.state().slots is None


@pytest.mark.parametrize("slots", [0, -1, True, 1.5, "2"])
def test_a_limit_that_is_no_number_of_slots_is_refused(queue: Queue, slots: int) -> None:
    with pytest.raises(InvalidQueueError, match="give a number from 1, or None"):
        queue.limit_slots(slots)


@pytest.mark.parametrize("names", ["wave", ["a/b"], [""], ["~left"]])
def test_only_names_of_workers_are_drained(queue: Queue, names: list[str]) -> None:
    with pytest.raises(InvalidWorkerError):
        queue.drain(names)
    assert not queue.state().drain


def test_a_paused_queue_accepts_jobs(queue: Queue) -> None:
    queue.pause()
    assert queue.state().status is Status.PAUSED
    queue.put("x")
    queue.resume()
    assert queue.state().status is Status.OPEN


def test_an_owner_who_stops_renewing_has_abandoned_the_queue(
    queue: Queue, remote: Queue, proxy: FaultProxy
) -> None:
    queue.create(keepalive=120)
    assert queue.state().keepalive == 120
    assert not queue.state().stopping
    proxy.plan = lambda _: ShiftDate(130)
    assert remote.state().abandoned
    assert remote.state().stopping


def test_renewing_restarts_the_age_and_keeps_the_rest(
    queue: Queue, eventually: Callable[..., None]
) -> None:
    queue.create(keepalive=120)
    queue.pause()
    eventually(lambda: queue.state().age >= 2)
    queue.renew()
    state = queue.state()
    assert state.age < 2
    assert (state.status, state.keepalive) == (Status.PAUSED, 120)


def test_creating_again_keeps_the_state(queue: Queue) -> None:
    queue.close()
    queue.create()
    queue.create(keepalive=60)
    state = queue.state()
    assert (state.status, state.keepalive) == (Status.CLOSED, 60)


def test_a_keepalive_must_be_a_time(queue: Queue) -> None:
    for keepalive in (0.0, -1.0, float("nan")):
        with pytest.raises(InvalidQueueError):
            queue.create(keepalive=keepalive)


def test_a_delayed_or_running_job_keeps_the_queue_from_being_drained(queue: Queue) -> None:
    assert queue.drained()
    queue.put("x", delay=60)
    assert not queue.drained()


def test_an_attempt_that_follows_between_two_looks_is_seen(
    queue: Queue, remote: Queue, proxy: FaultProxy
) -> None:
    queue.put("x", max_attempts=2, backoff=0)
    claim = queue.claim("w")
    assert claim is not None

    def plan(request: ProxiedRequest) -> Fault | None:
        if "claims" in request.query:  # the first look found ready/ empty
            claim.fail("again")
        return None

    proxy.plan = plan
    assert not remote.drained()


def test_stats_count_by_listing(queue: Queue) -> None:
    for delay in (0.0, 0.0, 60.0):
        queue.put("x", delay=delay)
    claim = queue.claim("w")
    assert claim is not None
    stats = queue.stats()
    assert (stats.ready, stats.delayed, stats.running, stats.dead) == (1, 1, 1, 0)
    assert stats.oldest_heartbeat_age is not None
    claim.fail("no")
    stats = queue.stats()
    assert (stats.running, stats.dead, stats.oldest_heartbeat_age) == (0, 1, None)


def test_a_worker_name_is_given_once(queue: Queue, remote: Queue) -> None:
    assert queue.enroll("wave.1", {"cpus": 4})
    assert not remote.enroll("wave.1", {"cpus": 2})
    seen = queue.worker("wave.1")
    assert seen is not None
    assert (seen.info, seen.left) == ({"cpus": 4}, False)
    assert queue.worker("wave.2") is None


def test_a_worker_that_left_keeps_its_name(queue: Queue) -> None:
    queue.enroll("b", None)
    queue.enroll("a", None)
    queue.leave("a")
    assert [(seen.name, seen.left) for seen in queue.workers()] == [("a", True), ("b", False)]
    assert not queue.enroll("a", None)


def test_a_report_shows_that_a_worker_lives(queue: Queue, remote: Queue, proxy: FaultProxy) -> None:
    queue.enroll("a", {"jobs": 0})
    proxy.plan = lambda _: ShiftDate(100)
    assert remote.workers()[0].age >= 99
    proxy.plan = lambda _: None
    remote.report("a", {"jobs": 1})
    seen = remote.worker("a")
    assert seen is not None
    assert seen.age < 50
    assert seen.info == {"jobs": 1}


def test_a_bad_worker_is_refused(queue: Queue) -> None:
    with pytest.raises(InvalidWorkerError):
        queue.enroll("a/b", None)
    with pytest.raises(InvalidWorkerError):
        queue.report("a", object())

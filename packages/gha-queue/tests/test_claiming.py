from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from gha_queue import (
    InvalidJobError,
    InvalidQueueError,
    InvalidResultError,
    InvalidWorkerError,
    Job,
    JobNotFoundError,
    OutcomeKind,
    Queue,
    WaitTimeoutError,
)
from gha_queue.testing import ShiftDate

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_queue import Claim, S3Client
    from gha_queue.testing import FaultProxy


def test_a_job_is_put_claimed_completed_and_waited_for(
    queue: Queue, keys: Callable[[Queue, str], list[str]]
) -> None:
    job = queue.put({"n": 1}, need="linux")
    claim = queue.claim("w")
    assert claim is not None
    assert (claim.job, claim.attempt, claim.payload, claim.worker) == (job, 1, {"n": 1}, "w")
    assert queue.outcome(job.id) is None
    outcome = claim.complete([1, 2])
    assert (outcome.kind, outcome.result, outcome.worker) == (OutcomeKind.SUCCEEDED, [1, 2], "w")
    assert queue.wait(job.id, timeout=20) == queue.outcome(job.id) == outcome
    assert queue.claim("w") is None
    assert keys(queue, "ready/") == keys(queue, "claims/") == keys(queue, "dead/") == []


def test_a_claim_tells_when_it_was_made_and_how_long_the_job_had_waited(
    queue: Queue, remote: Queue, proxy: FaultProxy
) -> None:
    for name in ("a", "b"):
        queue.put("x", id=name)
    proxy.plan = lambda _: ShiftDate(100)
    before = remote.now
    claim = remote.claim("w")
    assert claim is not None
    assert before <= claim.since <= remote.now
    assert claim.since - claim.job.due == claim.waited
    assert 99 <= claim.waited <= 130
    assert claim.complete().started == claim.since


def test_an_attempt_has_waited_since_it_was_due_itself(queue: Queue) -> None:
    queue.put("x", max_attempts=2, delay=1)
    while (claim := queue.claim("w")) is None:
        pass
    assert 0 <= claim.waited <= 2
    assert claim.since >= claim.job.due
    claim.fail("again", delay=0)
    again = queue.claim("w")
    assert again is not None
    assert (again.attempt, 0 <= again.waited <= 2) == (2, True)


def test_the_servers_time_goes_on_between_its_answers(
    queue: Queue, remote: Queue, proxy: FaultProxy
) -> None:
    proxy.plan = lambda _: ShiftDate(-7200)
    assert abs(remote.now - (time.time() - 7200)) < 30
    sent, first = remote.requests, remote.now
    assert first < remote.now < first + 10
    assert remote.requests == sent


def test_one_of_many_racing_workers_gets_the_job(queue: Queue, client: S3Client) -> None:
    workers = 12
    for _ in range(5):
        queue.put(None)
        barrier = threading.Barrier(workers)

        def race(number: int, barrier: threading.Barrier = barrier) -> Claim | None:
            mine = Queue.attach(queue.url, client)
            assert mine.settings.lease == 3.0
            barrier.wait()
            return mine.claim(f"w{number}")

        with ThreadPoolExecutor(workers) as pool:
            won = [claim for claim in pool.map(race, range(workers)) if claim]
        assert len(won) == 1
        won[0].complete()


def test_one_of_many_racing_putters_makes_the_job(queue: Queue) -> None:
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda number: queue.put(number, id="same"), range(8)))
    assert sum(not job.duplicate for job in jobs) == 1
    assert len({job.payload for job in jobs}) == 1


def test_a_put_of_a_taken_id_returns_the_first_job(queue: Queue) -> None:
    first = queue.put("first", id="a", priority=2)
    second = queue.put("second", id="a", priority=7)
    assert (first.duplicate, second.duplicate) == (False, True)
    assert second == first
    assert queue.stats().ready == 1


def test_a_put_again_does_not_revive_a_finished_job(queue: Queue) -> None:
    queue.put(1, id="a")
    claim = queue.claim("w")
    assert claim is not None
    claim.complete()
    assert queue.put(1, id="a").duplicate
    assert queue.claim("w") is None


def test_a_put_again_heals_a_job_without_its_marker(
    queue: Queue, client: S3Client, keys: Callable[[Queue, str], list[str]]
) -> None:
    queue.put(1, id="a")
    (marker,) = keys(queue, "ready/")
    client.delete_object(Bucket="jobs", Key=f"{queue.url.removeprefix('s3://jobs/')}/{marker}")
    assert queue.claim("w") is None
    assert queue.put(1, id="a").duplicate
    assert keys(queue, "ready/") == [marker]


def test_an_id_is_not_another_id_with_an_attempt(queue: Queue) -> None:
    queue.put("plain", id="a")
    queue.put("dotted", id="a.1")
    claims = {claim.job.id: claim for claim in (queue.claim("w"), queue.claim("w")) if claim}
    assert set(claims) == {"a", "a.1"}
    claims["a.1"].fail("no")
    assert queue.outcome("a") is None
    claims["a"].complete()
    outcome = queue.outcome("a.1")
    assert outcome is not None
    assert outcome.kind is OutcomeKind.FAILED


def test_priority_goes_before_age(queue: Queue) -> None:
    for priority in (9, 5, 0, 7):
        queue.put(priority, priority=priority)
    order = [claim.payload for claim in (queue.claim("w") for _ in range(4)) if claim]
    assert order == [0, 5, 7, 9]


def test_a_delayed_job_is_not_claimed_early_nor_stands_in_the_way(
    queue: Queue, eventually: Callable[[Callable[[], object]], None]
) -> None:
    started = time.monotonic()
    queue.put("urgent but later", priority=0, delay=1.5)
    queue.put("now", priority=9)
    claim = queue.claim("w")
    assert claim is not None
    assert claim.payload == "now"
    stats = queue.stats()
    assert (stats.ready, stats.delayed, stats.running) == (0, 1, 1)
    eventually(lambda: queue.claim("w"))
    assert time.monotonic() - started >= 1.5


def test_a_worker_passes_over_what_it_does_not_accept(queue: Queue) -> None:
    queue.put("big", need="mem64", priority=0)
    queue.put("small", priority=9)
    claim = queue.claim("w", accept=lambda need: not need)
    assert claim is not None
    assert claim.payload == "small"
    assert queue.claim("w", accept=lambda need: not need) is None
    assert queue.claim("w", accept=lambda need: need == "mem64") is not None


def test_a_worker_learns_what_its_claim_has_left_waiting(queue: Queue) -> None:
    assert queue.needs() == frozenset()
    for need in ("small", "large", "larger"):
        queue.put(None, need=need, priority=1)
    queue.put(None, need="later", priority=2)
    queue.put(None, need="delayed", priority=0, delay=3600)
    assert queue.claim("w", accept=lambda need: need == "small") is not None
    assert queue.needs() == {"large", "larger"}
    assert queue.claim("w", accept=lambda need: need.startswith("large")) is not None
    assert len(queue.needs()) == 1


def test_every_job_is_claimed_once_by_workers_side_by_side(queue: Queue, client: S3Client) -> None:
    ids = {queue.put(number).id for number in range(40)}

    def work(number: int) -> list[str]:
        mine, done = Queue.attach(queue.url, client), []
        while (claim := mine.claim(f"w{number}")) is not None:
            claim.complete()
            done.append(claim.job.id)
        return done

    with ThreadPoolExecutor(6) as pool:
        done = [job for jobs in pool.map(work, range(6)) for job in jobs]
    assert sorted(done) == sorted(ids)
    assert queue.drained()


def test_a_stale_marker_is_a_miss_and_goes_away(
    queue: Queue, client: S3Client, keys: Callable[[Queue, str], list[str]]
) -> None:
    job = queue.put(1)
    (marker,) = keys(queue, "ready/")
    claim = queue.claim("w")
    assert claim is not None
    claim.complete()
    client.put_object(Bucket="jobs", Key=f"{queue.url.removeprefix('s3://jobs/')}/{marker}")
    assert queue.claim("w") is None
    assert keys(queue, "ready/") == keys(queue, "claims/") == []
    assert queue.wait(job.id, timeout=20).attempt == 1


def test_a_marker_without_its_job_is_removed(
    queue: Queue, client: S3Client, keys: Callable[[Queue, str], list[str]]
) -> None:
    root = queue.url.removeprefix("s3://jobs/")
    client.put_object(Bucket="jobs", Key=f"{root}/ready/5.0000000001..ghost.1")
    assert queue.claim("w") is None
    assert keys(queue, "ready/") == keys(queue, "claims/") == []


def test_a_job_that_cannot_be_read_ends_as_dead_and_stops_nobody(
    queue: Queue, client: S3Client, keys: Callable[[Queue, str], list[str]]
) -> None:
    queue.put(1, id="bad", priority=0)
    queue.put(2, id="good")
    root = queue.url.removeprefix("s3://jobs/")
    client.put_object(Bucket="jobs", Key=f"{root}/jobs/bad", Body=b'{"v":99}')
    claim = queue.claim("w")
    assert claim is not None
    assert claim.job.id == "good"
    outcome = queue.outcome("bad")
    assert outcome is not None
    assert outcome.error["reason"] == "bad-record"
    assert keys(queue, "dead/") == ["dead/bad"]


@pytest.mark.parametrize(
    ("payload", "message"),
    [(object(), "must be JSON"), ({1: 2}, "must be JSON"), ("x" * 262_143, "the limit is 262144")],
    ids=["an object", "a number as key", "too large"],
)
def test_a_payload_that_does_not_fit_is_refused(
    queue: Queue, payload: object, message: str
) -> None:
    with pytest.raises(InvalidJobError, match=message):
        queue.put(payload)
    assert queue.stats().ready == 0


def test_the_largest_payload_fits(queue: Queue) -> None:
    payload = "x" * 262_142
    queue.put(payload)
    claim = queue.claim("w")
    assert claim is not None
    assert claim.payload == payload


def test_a_bad_delay_or_id_is_refused(queue: Queue) -> None:
    for options in ({"delay": -1.0}, {"delay": float("nan")}, {"id": "a/b"}):
        with pytest.raises(InvalidJobError):
            queue.put(None, **options)


def test_a_result_that_is_no_json_is_refused_and_the_claim_goes_on(queue: Queue) -> None:
    queue.put(None)
    claim = queue.claim("w")
    assert claim is not None
    with pytest.raises(InvalidResultError):
        claim.complete(object())
    assert claim.complete("text").result == "text"


def test_waiting_ends_at_its_timeout(queue: Queue) -> None:
    job = queue.put(None)
    with pytest.raises(WaitTimeoutError) as caught:
        queue.wait(job.id, timeout=0.3)
    assert caught.value.timeout == 0.3
    assert isinstance(caught.value, TimeoutError)


def test_an_unknown_job_is_named(queue: Queue) -> None:
    assert queue.job("ghost") is None
    for ask in (queue.wait, queue.outcome, queue.cancel):
        with pytest.raises(JobNotFoundError, match="ghost"):
            ask("ghost")


def test_the_price_of_a_job_is_as_stated(queue: Queue, client: S3Client) -> None:
    putter, worker = Queue.attach(queue.url, client), Queue.attach(queue.url, client)
    job: Job = putter.put(None)
    put = putter.requests
    assert (put.put_object, put.get_object - 1, put.list_objects_v2) == (2, 1, 0)
    claim = worker.claim("w")
    assert claim is not None
    claimed = worker.requests
    assert (claimed.put_object, claimed.get_object - 1, claimed.list_objects_v2) == (1, 2, 1)
    claim.complete()
    settled = worker.requests
    assert (settled.put_object, settled.get_object) == (2, claimed.get_object)
    assert worker.wait(job.id, timeout=20).final


@pytest.mark.parametrize("worker", [None, "", 5, {}, b"w", "a/b", "x" * 201])
def test_a_bad_worker_name_is_refused(queue: Queue, worker: str) -> None:
    with pytest.raises(InvalidWorkerError, match="is no worker name"):
        queue.claim(worker)


@pytest.mark.parametrize("bad", [5, b"a", None])
def test_what_is_no_text_is_no_id_and_no_need(queue: Queue, bad: str) -> None:
    with pytest.raises(InvalidJobError, match="is no job id"):
        queue.outcome(bad)
    with pytest.raises(InvalidJobError, match="is no need"):
        queue.put("x", need=bad)


@pytest.mark.parametrize("budget", [0, -1, True, 10**9, pytest.param(10**5000, id="huge"), "2"])
def test_a_budget_that_no_job_can_have_is_refused(queue: Queue, budget: int) -> None:
    with pytest.raises(InvalidJobError, match="max_attempts="):
        queue.put("x", max_attempts=budget)


@pytest.mark.parametrize("seconds", [None, "60", 10**400, True, 0, -1, float("nan")])
def test_a_lease_that_is_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidQueueError, match="lease="):
        Queue("memory://settings", lease=seconds)


def test_a_lease_of_three_heartbeats_is_enough() -> None:
    assert Queue("memory://settings", lease=0.3, heartbeat=0.1).settings.lease == 0.3


def test_a_payload_is_not_nested_without_end(queue: Queue) -> None:
    payload: list[object] = []
    for _ in range(200):
        payload = [payload]
    with pytest.raises(InvalidJobError, match="nested more than 100 levels"):
        queue.put(payload)


@pytest.mark.parametrize("timeout", [float("nan"), -1])
def test_a_timeout_that_is_no_time_is_refused(queue: Queue, timeout: float) -> None:
    with pytest.raises(InvalidQueueError, match="timeout="):
        queue.wait("a", timeout=timeout)

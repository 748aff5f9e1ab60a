from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gha_queue import (
    InvalidJobError,
    InvalidQueueError,
    InvalidResultError,
    JobNotFoundError,
    OutcomeKind,
    Prices,
    Queue,
    RecordError,
    Requests,
    State,
)
from gha_queue.testing import ShiftDate

if TYPE_CHECKING:
    from gha_queue import Claim, S3Client
    from gha_queue.testing import FaultProxy


def claimed(queue: Queue) -> Claim:
    claim = queue.claim("w")
    assert claim is not None
    return claim


@pytest.fixture
def one_of_each(queue: Queue) -> Queue:
    """A queue with a job in every state, named after it."""
    queue.put("x", id="succeeded")
    claimed(queue).complete()
    for name in ("dead", "retried"):
        queue.put("x", id=name)
        claimed(queue).fail("boom", retry=False)
    queue.put("x", id="running")
    queue.retry("retried")
    queue.put("x", id="delayed", delay=60)
    claim = queue.claim("w")
    while claim is not None and claim.job.id != "running":
        claim.release()
        claim = queue.claim("w")
    return queue


def test_every_state_is_seen_from_listings_alone(one_of_each: Queue) -> None:
    before = one_of_each.requests
    seen = {job.id: job.state for job in one_of_each.jobs()}
    assert {name: state.value for name, state in seen.items()} == {
        "succeeded": "succeeded",
        "dead": "dead",
        "retried": "retried",
        "retried~1": "ready",
        "running": "running",
        "delayed": "delayed",
    }
    assert one_of_each.requests.get_object == before.get_object
    for state in State:
        expected = {name for name, found in seen.items() if found is state}
        assert {job.id for job in one_of_each.jobs(state)} == expected


def test_stats_count_every_job_once(one_of_each: Queue) -> None:
    stats = one_of_each.stats()
    counts = (stats.ready, stats.delayed, stats.running, stats.dead, stats.succeeded)
    assert counts == (1, 1, 1, 1, 1)


def test_stats_tell_how_long_the_oldest_waits_and_was_silent(
    queue: Queue, remote: Queue, proxy: FaultProxy
) -> None:
    assert queue.stats().oldest_waiting_age is None
    queue.put("x")
    queue.put("x")
    claimed(queue)
    assert remote.settings
    proxy.plan = lambda _: ShiftDate(100)
    stats = remote.stats()
    assert stats.oldest_waiting_age is not None
    assert 100 <= stats.oldest_waiting_age < 120
    assert stats.oldest_heartbeat_age is not None
    assert 99 <= stats.oldest_heartbeat_age < 120


def test_a_history_shows_every_attempt_with_worker_times_and_outcome(queue: Queue) -> None:
    queue.put("x", id="a", max_attempts=3, backoff=0)
    claimed(queue).fail("boom")
    claimed(queue).release()
    claim = claimed(queue)
    first, second, third = queue.history("a").attempts
    assert (first.worker, second.worker, third.worker) == ("w", "w", "w")
    assert first.outcome is not None
    assert second.outcome is not None
    assert (first.outcome.kind, second.outcome.kind) == (OutcomeKind.FAILED, OutcomeKind.RELEASED)
    for attempt in (first, second):
        assert attempt.started is not None
        assert attempt.ended is not None
        assert -2 < attempt.ended - attempt.started < 20
    assert (third.ended, third.outcome) == (None, None)
    assert queue.history("a").state is State.RUNNING
    claim.complete()
    assert queue.history("a").state is State.SUCCEEDED


def test_a_history_of_what_waits(queue: Queue) -> None:
    queue.put("x", id="a")
    queue.put("x", id="b", delay=60)
    assert queue.history("a").state is State.READY
    assert queue.history("b").state is State.DELAYED
    (attempt,) = queue.history("a").attempts
    assert (attempt.number, attempt.worker, attempt.started) == (1, None, None)
    with pytest.raises(JobNotFoundError):
        queue.history("c")


def test_a_lost_attempt_keeps_its_worker_and_start(
    queue: Queue, remote: Queue, proxy: FaultProxy
) -> None:
    queue.put("x", id="a", max_attempts=2)
    claimed(queue)
    assert remote.settings
    proxy.plan = lambda _: ShiftDate(60)
    assert remote.reap() == 1
    lost = queue.history("a").attempts[0]
    assert (lost.worker, lost.outcome and lost.outcome.kind) == ("w", OutcomeKind.LOST)
    assert lost.started is not None


def test_requests_cost_what_the_price_list_says() -> None:
    sent = Requests(put_object=4_000_000, get_object=3_000_000, list_objects_v2=0, delete_object=10)
    assert sent.dollars() == pytest.approx(21.2)
    assert sent.dollars(Prices(put_object=0.0, get_object=1.0)) == pytest.approx(3000)


def damage(queue: Queue, client: S3Client, key: str, body: bytes = b"not JSON") -> None:
    root = queue.url.removeprefix("s3://jobs/")
    client.put_object(Bucket="jobs", Key=f"{root}/{key}", Body=body)


@pytest.mark.parametrize("body", [b"not JSON", json.dumps({"v": 99, "id": "bad"}).encode()])
def test_a_bad_job_record_becomes_a_dead_letter_and_the_loop_goes_on(
    queue: Queue, client: S3Client, body: bytes
) -> None:
    queue.put("x", id="bad", priority=0)
    queue.put("x", id="good")
    damage(queue, client, "jobs/bad", body)
    assert claimed(queue).job.id == "good"
    (letter,) = queue.dead()
    assert (letter.job_id, letter.reason) == ("bad", "bad-record")
    assert queue.purge(state=State.DEAD) == 1


def test_a_bad_outcome_record_becomes_a_dead_letter_and_the_loop_goes_on(
    queue: Queue, client: S3Client
) -> None:
    queue.put("x", id="bad", priority=0)
    queue.put("x", id="good")
    damage(queue, client, "outcomes/bad.1")
    assert claimed(queue).job.id == "good"
    (letter,) = queue.dead()
    assert (letter.job_id, letter.reason) == ("bad", "bad-record")
    with pytest.raises(RecordError, match=r"outcomes/bad\.1 cannot be read"):
        queue.wait("bad", timeout=20)


def test_reaping_goes_on_past_a_bad_outcome_record(
    queue: Queue, remote: Queue, proxy: FaultProxy, client: S3Client
) -> None:
    for name in ("bad", "good"):
        queue.put("x", id=name)
        claimed(queue)
    damage(queue, client, "outcomes/bad.1")
    assert remote.settings
    proxy.plan = lambda _: ShiftDate(60)
    assert remote.reap() == 1
    assert queue.stats().running == 0
    assert {letter.job_id for letter in queue.dead()} == {"bad", "good"}


def test_an_unreadable_past_does_not_keep_an_attempt_from_ending(
    queue: Queue, client: S3Client
) -> None:
    queue.put("x", id="a", max_attempts=3, backoff=0)
    claimed(queue).fail("boom")
    claim = claimed(queue)
    damage(queue, client, "outcomes/a.1")
    assert claim.complete("done").used == 2
    assert queue.drained()


def test_a_record_nested_too_deep_to_read_becomes_a_dead_letter(
    queue: Queue, client: S3Client
) -> None:
    queue.put("x", id="bad", priority=0)
    queue.put("x", id="good")
    damage(queue, client, "jobs/bad", b'{"v":1,"payload":' + b"[" * 100_000)
    assert claimed(queue).job.id == "good"
    assert [letter.reason for letter in queue.dead()] == ["bad-record"]


@pytest.mark.parametrize("state", ["dead", 5])
def test_a_state_that_is_none_is_refused(queue: Queue, state: State) -> None:
    with pytest.raises(InvalidQueueError, match="is no state"):
        queue.jobs(state)


@pytest.mark.parametrize("delay", [-1.0, float("nan"), float("inf"), 1e12])
def test_a_delay_that_nobody_can_wait_is_refused(queue: Queue, delay: float) -> None:
    with pytest.raises(InvalidJobError, match="delay="):
        queue.put("x", delay=delay)
    queue.put("x")
    claim = claimed(queue)
    with pytest.raises(InvalidResultError, match="delay="):
        claim.fail("x", delay=delay)
    with pytest.raises(InvalidResultError, match="delay="):
        claim.snooze(delay)


@pytest.mark.parametrize("backoff", [-1.0, float("inf"), 10**400, True, "1"])
def test_a_backoff_that_is_no_time_is_refused(queue: Queue, backoff: float) -> None:
    with pytest.raises(InvalidJobError, match="backoff="):
        queue.put("x", backoff=backoff)


def test_a_snoozed_job_sleeps_and_uses_nothing_up(queue: Queue) -> None:
    queue.put("x", id="a")
    outcome = claimed(queue).snooze(30)
    assert (outcome.kind, outcome.used, outcome.releases) == (OutcomeKind.RELEASED, 0, 0)
    assert queue.stats().delayed == 1

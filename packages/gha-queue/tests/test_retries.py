from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gha_queue import (
    Job,
    JobNotDeadError,
    JobNotFoundError,
    OutcomeKind,
    Queue,
    QueueClosedError,
    State,
    StoreUnavailableError,
)
from gha_queue.testing import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_queue import Claim, S3Client
    from gha_queue.testing import FaultProxy


def claimed(queue: Queue) -> Claim:
    claim = queue.claim("w")
    assert claim is not None
    return claim


def dead(queue: Queue, name: str) -> Job:
    job = queue.put({"of": name}, id=name, priority=2, max_attempts=2)
    claimed(queue).fail({"reason": "boom"}, retry=False)
    return job


def test_a_retry_is_the_same_work_as_a_new_job_that_points_back(queue: Queue) -> None:
    job = dead(queue, "a")
    again = queue.retry("a")
    assert (again.id, again.retry_of, again.duplicate) == ("a~1", "a", False)
    assert (again.payload, again.priority, again.max_attempts) == (job.payload, 2, 2)
    claim = claimed(queue)
    assert (claim.job, claim.attempt) == (again, 1)


def test_who_waits_for_a_job_follows_its_newest_retry(queue: Queue) -> None:
    dead(queue, "a")
    queue.retry("a")
    assert queue.outcome("a") is None
    claimed(queue).fail("again", retry=False)
    second = queue.retry("a")
    assert (second.id, second.retry_of) == ("a~2", "a~1")
    claimed(queue).complete("at last")
    assert queue.wait("a", timeout=20).result == "at last"
    assert queue.wait("a~1", timeout=20).result == "at last"
    history = queue.history("a")
    assert (history.state, history.retries) == (State.RETRIED, ("a~1", "a~2"))


def test_two_retries_at_the_same_time_make_one_job(queue: Queue, remote: Queue) -> None:
    dead(queue, "a")
    first = queue.retry("a")
    with pytest.raises(JobNotDeadError, match="'a~1' has not ended yet"):
        remote.retry("a")
    assert [job.id for job in queue.jobs(State.READY)] == [first.id]


@pytest.mark.parametrize("heal", [Queue.retry, lambda queue, _: queue.redrive()])
def test_a_retry_whose_putter_died_half_way_is_finished_by_the_next(
    queue: Queue, remote: Queue, proxy: FaultProxy, heal: Callable[[Queue, str], object]
) -> None:
    dead(queue, "a")
    assert remote.settings
    proxy.plan = lambda request: Answer(503, "SlowDown") if "/ready/" in request.key else None
    with pytest.raises(StoreUnavailableError):
        remote.retry("a")
    heal(queue, "a")
    assert claimed(queue).job.id == "a~1"
    assert list(queue.dead()) == []


def test_one_unreadable_dead_job_does_not_keep_the_others_from_a_redrive(
    queue: Queue, client: S3Client
) -> None:
    dead(queue, "a")
    dead(queue, "b")
    root = queue.url.removeprefix("s3://jobs/")
    client.put_object(Bucket="jobs", Key=f"{root}/jobs/a", Body=b"not JSON")
    assert [job.id for job in queue.redrive()] == ["b~1"]


def test_a_retried_job_is_not_dead_whatever_lands_late(
    queue: Queue, client: S3Client, keys: Callable[[Queue, str], list[str]]
) -> None:
    dead(queue, "a")
    queue.retry("a")
    root = queue.url.removeprefix("s3://jobs/")
    client.put_object(Bucket="jobs", Key=f"{root}/dead/a", Body=b'{"v":1}')
    assert queue.stats().dead == 0
    assert {job.id: job.state for job in queue.jobs()}["a"] is State.RETRIED


def test_only_a_dead_job_can_be_retried(queue: Queue) -> None:
    queue.put("x", id="a")
    with pytest.raises(JobNotDeadError, match="has not ended yet"):
        queue.retry("a")
    claimed(queue).complete()
    with pytest.raises(JobNotDeadError, match="has succeeded"):
        queue.retry("a")
    with pytest.raises(JobNotFoundError):
        queue.retry("nobody")


def test_cancelling_a_retried_job_cancels_its_retry(queue: Queue) -> None:
    dead(queue, "a")
    queue.retry("a")
    assert queue.cancel("a").job_id == "a~1"
    assert queue.drained()


def test_a_closed_queue_takes_no_retries(queue: Queue) -> None:
    dead(queue, "a")
    queue.close()
    with pytest.raises(QueueClosedError, match="no job is accepted"):
        queue.retry("a")
    assert queue.wait("a", timeout=20).error == {"reason": "boom"}
    assert [letter.job_id for letter in queue.dead()] == ["a"]
    assert queue.drained()


def test_redrive_retries_the_dead_but_not_the_cancelled(queue: Queue) -> None:
    dead(queue, "a")
    dead(queue, "b")
    queue.put("x", id="c")
    queue.cancel("c")
    assert [job.id for job in queue.redrive()] == ["a~1", "b~1"]
    assert [letter.job_id for letter in queue.dead()] == ["c"]
    assert queue.redrive() == []


def test_a_dead_letter_says_why_with_its_last_error(queue: Queue) -> None:
    queue.put("x", id="a", max_attempts=2, backoff=0)
    claimed(queue).fail("first")
    claimed(queue).fail({"reason": "exit", "code": 2})
    queue.put("x", id="b")
    claimed(queue).fail("plain", retry=False)
    queue.put("x", id="c")
    queue.cancel("c")
    letters = {letter.job_id: letter for letter in queue.dead()}
    assert (letters["a"].attempts, letters["a"].reason, letters["a"].worker) == (2, "exit", "w")
    assert letters["a"].error == {"reason": "exit", "code": 2}
    assert (letters["b"].reason, letters["b"].error) == ("failed", "plain")
    assert (letters["c"].reason, letters["c"].kind) == ("cancelled", OutcomeKind.CANCELLED)
    assert all(letter.age < 20 for letter in letters.values())


def test_a_late_marker_of_death_is_no_dead_letter_for_long(
    queue: Queue, client: S3Client, keys: Callable[[Queue, str], list[str]]
) -> None:
    dead(queue, "a")
    root = queue.url.removeprefix("s3://jobs/")
    marker = client.get_object(Bucket="jobs", Key=f"{root}/dead/a")["Body"].read()
    queue.retry("a")
    client.put_object(Bucket="jobs", Key=f"{root}/dead/a", Body=marker)
    assert queue.redrive() == []
    assert keys(queue, "dead/") == []
    assert [job.id for job in queue.jobs(State.READY)] == ["a~1"]

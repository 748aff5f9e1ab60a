from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gha_queue import (
    InvalidJobError,
    NewJob,
    OutcomeKind,
    PutManyError,
    Queue,
    QueueClosedError,
    State,
)
from gha_queue.testing import Answer

if TYPE_CHECKING:
    from gha_queue.testing import FaultProxy


def test_many_jobs_come_back_in_their_order_for_two_writes_each(queue: Queue) -> None:
    before = queue.requests
    jobs = queue.put_many(NewJob(number, id=f"j-{number}", priority=3) for number in range(100))
    assert [job.payload for job in jobs] == list(range(100))
    assert {job.id for job in queue.jobs(State.READY)} == {f"j-{number}" for number in range(100)}
    assert queue.requests.put_object - before.put_object == 200
    assert queue.requests.get_object - before.get_object == 1


def test_nothing_is_sent_for_nothing(queue: Queue) -> None:
    before = queue.requests
    assert queue.put_many([]) == []
    assert queue.requests == before


def test_one_bad_item_keeps_all_from_being_sent(queue: Queue) -> None:
    with pytest.raises(InvalidJobError, match="priority=10"):
        queue.put_many([NewJob(1), NewJob(2, priority=10)])
    assert not list(queue.jobs())


def test_an_item_that_is_no_new_job_is_refused(queue: Queue) -> None:
    with pytest.raises(InvalidJobError, match="dict is no job to put"):
        queue.put_many([{"payload": 1}])  # type: ignore[list-item]


def test_ids_that_are_taken_are_told_one_by_one(queue: Queue) -> None:
    queue.put("old", id="a")
    first, second, third = queue.put_many(
        [NewJob("new", id="a"), NewJob("x", id="b"), NewJob("x", id="b")]
    )
    assert (first.duplicate, first.payload) == (True, "old")
    assert sorted([second.duplicate, third.duplicate]) == [False, True]
    assert queue.stats().ready == 2


def test_what_could_not_be_put_is_listed_and_can_be_put_again(
    queue: Queue, remote: Queue, proxy: FaultProxy
) -> None:
    assert remote.settings
    proxy.plan = lambda request: Answer(403, "AccessDenied") if "jobs/b" in request.key else None
    items = [NewJob(number, id=name) for number, name in enumerate("abc")]
    with pytest.raises(PutManyError, match="1 of 3 jobs were not put") as caught:
        remote.put_many(items)
    assert [job.id for job in caught.value.jobs] == ["a", "c"]
    assert [item for item, _ in caught.value.failed] == [items[1]]
    assert [job.duplicate for job in queue.put_many(items)] == [True, False, True]


def test_a_closed_queue_takes_none_of_many(queue: Queue) -> None:
    queue.close()
    with pytest.raises(QueueClosedError, match="3 jobs were not accepted") as caught:
        queue.put_many([NewJob(number, id=f"j-{number}") for number in range(3)])
    assert caught.value.job_ids == ("j-0", "j-1", "j-2")
    assert queue.wait("j-1", timeout=20).kind is OutcomeKind.CANCELLED
    assert queue.drained()

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gha_queue import (
    InvalidQueueError,
    JobNotFoundError,
    JobPurgedError,
    LeaseLostError,
    OutcomeKind,
    Queue,
    State,
    StoreUnavailableError,
)
from gha_queue.testing import DropRequest, ShiftDate

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_queue import Claim, S3Client
    from gha_queue.testing import FaultProxy, ProxiedRequest

DAY = 86400


def claimed(queue: Queue) -> Claim:
    claim = queue.claim("w")
    assert claim is not None
    return claim


def succeeded(queue: Queue, name: str) -> None:
    queue.put("x", id=name)
    claimed(queue).complete()


def dead(queue: Queue, name: str) -> None:
    queue.put("x", id=name, max_attempts=2, backoff=0)
    claimed(queue).fail("first")
    claimed(queue).fail("second")


def test_what_has_ended_goes_and_what_has_not_stays(
    queue: Queue, keys: Callable[[Queue, str], list[str]]
) -> None:
    succeeded(queue, "good")
    dead(queue, "bad")
    queue.put("x", id="later", delay=60)
    queue.put("x", id="busy")
    claim = claimed(queue)
    assert queue.purge() == 2
    assert keys(queue, "dead/") == []
    assert {job.id for job in queue.jobs()} == {"busy", "later"}
    stats = queue.stats()
    assert (stats.running, stats.delayed, stats.dead, stats.succeeded) == (1, 1, 0, 0)
    claim.complete()
    assert queue.purge() == 1


def test_files_go_with_their_job_and_those_of_others_stay(
    queue: Queue, remote: Queue, proxy: FaultProxy, keys: Callable[[Queue, str], list[str]]
) -> None:
    succeeded(queue, "a")
    queue.put("x", id="ab")
    for name in ("a", "ab", "a~1", "later"):
        queue.job_files(name).put("log.1.0", b"said")
    queue.worker_files("a").put("timeline.0.jsonl", b"{}")
    assert queue.purge() == 1
    rest = ["files/jobs/ab/log.1.0", "files/jobs/a~1/log.1.0", "files/jobs/later/log.1.0"]
    assert keys(queue, "files/jobs/") == rest
    queue.job_files("a").put("log.1.1", b"too late")
    queue.purge()
    assert queue.job_files("a").names() == ("log.1.1",)
    proxy.plan = lambda _: ShiftDate(DAY + 5)
    remote.purge()
    assert keys(queue, "files/jobs/") == rest
    assert queue.worker_files("a").names() == ("timeline.0.jsonl",)


def test_age_and_state_choose_what_goes(queue: Queue, remote: Queue, proxy: FaultProxy) -> None:
    succeeded(queue, "good")
    dead(queue, "bad")
    assert queue.purge(older_than=3600) == 0
    proxy.plan = lambda _: ShiftDate(4000)
    assert remote.purge(older_than=3600, state=State.DEAD) == 1
    assert [job.id for job in queue.jobs()] == ["good"]
    assert remote.purge(older_than=3600, state=State.SUCCEEDED) == 1
    assert not list(queue.jobs())


@pytest.mark.parametrize("state", [State.READY, State.RUNNING, State.RETRIED])
def test_only_what_has_ended_can_be_purged(queue: Queue, state: State) -> None:
    with pytest.raises(InvalidQueueError, match="have not ended"):
        queue.purge(state=state)


def test_a_purged_id_stays_taken_for_a_day(
    queue: Queue, remote: Queue, proxy: FaultProxy, keys: Callable[[Queue, str], list[str]]
) -> None:
    succeeded(queue, "a")
    queue.purge()
    again = queue.put("new", id="a")
    assert (again.duplicate, again.purged, again.payload) == (True, True, None)
    assert queue.claim("w") is None
    assert queue.wait("a", timeout=20).kind is OutcomeKind.SUCCEEDED
    assert queue.history("a").job.purged
    for change in (queue.cancel, queue.retry):
        with pytest.raises(JobPurgedError, match="was purged"):
            change("a")
    queue.purge()
    assert keys(queue, "purged/") == ["purged/a"]
    proxy.plan = lambda _: ShiftDate(DAY + 5)
    assert remote.purge() == 0
    for prefix in ("jobs/", "purged/", "outcomes/"):
        assert keys(queue, prefix) == []
    with pytest.raises(JobNotFoundError):
        queue.outcome("a")
    assert not queue.put("new", id="a").duplicate


def test_what_a_broken_off_removal_left_does_not_touch_the_next_job_of_its_id(
    queue: Queue, remote: Queue, proxy: FaultProxy, keys: Callable[[Queue, str], list[str]]
) -> None:
    succeeded(queue, "a")
    queue.purge()
    assert remote.settings

    def plan(request: ProxiedRequest) -> DropRequest | ShiftDate:
        removal = request.method == "DELETE" and "/purged/" in request.key
        return DropRequest() if removal else ShiftDate(DAY + 5)

    proxy.plan = plan
    with pytest.raises(StoreUnavailableError):
        remote.purge()
    assert keys(queue, "jobs/") == []
    succeeded(queue, "a")
    proxy.plan = lambda _: ShiftDate(DAY + 5)
    remote.purge(older_than=10 * DAY)
    outcome = queue.outcome("a")
    assert outcome is not None
    assert keys(queue, "purged/") == []
    assert queue.put("again", id="a").duplicate
    assert queue.claim("w") is None


def test_a_claim_that_came_back_does_not_end_the_next_job_of_its_id(
    queue: Queue, remote: Queue, proxy: FaultProxy, client: S3Client
) -> None:
    succeeded(queue, "a")
    root = queue.url.removeprefix("s3://jobs/")
    client.put_object(Bucket="jobs", Key=f"{root}/claims/a.1", Body=b'{"v":1}')
    queue.purge()
    assert remote.settings
    proxy.plan = lambda _: ShiftDate(DAY + 5)
    remote.purge()
    queue.put("new", id="a")
    assert claimed(queue).payload == "new"


def test_a_late_marker_does_not_bring_a_purged_job_back(
    queue: Queue, client: S3Client, keys: Callable[[Queue, str], list[str]]
) -> None:
    queue.put("x", id="a")
    (marker,) = keys(queue, "ready/")
    claimed(queue).complete()
    queue.purge()
    root = queue.url.removeprefix("s3://jobs/")
    client.put_object(Bucket="jobs", Key=f"{root}/{marker}", Body=b"")
    assert queue.claim("w") is None
    assert queue.drained()


def test_who_stood_still_during_a_purge_finds_how_it_ended(queue: Queue, remote: Queue) -> None:
    queue.put("x", id="a")
    claim = claimed(remote)
    queue.cancel("a")
    queue.purge()
    with pytest.raises(LeaseLostError, match="ended as cancelled"):
        claim.complete()
    assert queue.drained()


def test_a_late_marker_of_death_goes_with_the_next_purge(
    queue: Queue, client: S3Client, keys: Callable[[Queue, str], list[str]]
) -> None:
    dead(queue, "a")
    root = queue.url.removeprefix("s3://jobs/")
    marker = client.get_object(Bucket="jobs", Key=f"{root}/dead/a")["Body"].read()
    queue.purge()
    client.put_object(Bucket="jobs", Key=f"{root}/dead/a", Body=marker)
    assert queue.purge() == 0
    assert keys(queue, "dead/") == []


def test_a_job_goes_together_with_its_retries(
    queue: Queue, keys: Callable[[Queue, str], list[str]]
) -> None:
    dead(queue, "a")
    queue.retry("a")
    assert queue.purge() == 0
    claimed(queue).complete()
    assert queue.purge(state=State.DEAD) == 0
    assert queue.purge(state=State.SUCCEEDED) == 2
    assert keys(queue, "purged/") == ["purged/a", "purged/a~1"]


@pytest.mark.parametrize("survives", range(3))
def test_a_purge_that_broke_off_is_finished_by_the_next(
    queue: Queue,
    remote: Queue,
    proxy: FaultProxy,
    keys: Callable[[Queue, str], list[str]],
    survives: int,
) -> None:
    dead(queue, "a")
    assert remote.settings
    changes = iter(range(survives))

    def plan(request: object) -> DropRequest | None:
        reads = getattr(request, "method", "") == "GET"
        return None if reads or next(changes, None) is not None else DropRequest()

    proxy.plan = plan
    with pytest.raises(StoreUnavailableError, match=r"does not answer|no usable answer"):
        remote.purge()
    queue.purge()
    assert keys(queue, "dead/") == []
    assert keys(queue, "purged/") == ["purged/a"]
    assert queue.stats().succeeded == 0

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from gha_queue import (
    AccessDeniedError,
    LeaseLostError,
    OutcomeKind,
    Queue,
    Runtime,
    StoreUnavailableError,
)
from gha_queue.testing import Answer, Delay, DropRequest, DropResponse, ShiftDate

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_queue import Claim, S3Client
    from gha_queue.testing import FaultProxy, ProxiedRequest
    from gha_queue.testing._proxy import Fault


def claimed(queue: Queue, worker: str = "w") -> Claim:
    claim = queue.claim(worker)
    assert claim is not None
    return claim


@pytest.fixture
def later(remote: Queue, proxy: FaultProxy) -> Queue:
    """The queue as seen when the server's clock has gone on by a lease and the grace."""
    proxy.plan = lambda _: ShiftDate(3 + 5 + 2)
    return remote


def test_a_silent_claim_is_reaped_as_lost_and_its_worker_named(queue: Queue, later: Queue) -> None:
    job = queue.put("x", max_attempts=2, backoff=0)
    claimed(queue, "vm-7")
    assert queue.reap() == 0
    assert later.reap() == 1
    assert later.reap() == 0
    again = claimed(later, "vm-8")
    assert again.attempt == 2
    again.fail("no")
    outcome = queue.wait(job.id, timeout=20)
    assert (outcome.attempt, outcome.used, outcome.worker) == (2, 2, "vm-8")


def test_the_last_attempt_lost_ends_the_job(
    queue: Queue, later: Queue, keys: Callable[[Queue, str], list[str]]
) -> None:
    job = queue.put("x", id="a")
    claimed(queue, "vm-7")
    assert later.reap() == 1
    outcome = queue.wait(job.id, timeout=20)
    assert (outcome.kind, outcome.worker) == (OutcomeKind.LOST, "vm-7")
    assert outcome.error["worker"] == "vm-7"
    assert keys(queue, "dead/") == ["dead/a"]
    assert queue.drained()


def test_a_late_holder_is_refused_its_completion(queue: Queue, later: Queue) -> None:
    job = queue.put("x", max_attempts=2, backoff=0)
    claim = claimed(queue, "late")
    later.reap()
    with pytest.raises(LeaseLostError, match="ended as lost") as caught:
        claim.complete("mine")
    assert claim.lost.is_set()
    assert caught.value.outcome is not None
    assert caught.value.outcome.worker == "late"
    assert claimed(later, "second").complete("theirs").result == "theirs"
    assert queue.wait(job.id, timeout=20).result == "theirs"


def test_a_late_holder_learns_it_by_its_heartbeat(
    queue: Queue, later: Queue, keys: Callable[[Queue, str], list[str]]
) -> None:
    queue.put("x", max_attempts=2, backoff=0)
    claim = claimed(queue)
    later.reap()
    with pytest.raises(LeaseLostError):
        claim.heartbeat()
    assert claim.lost.is_set()
    assert claim.cancelled is None
    assert claim.taken is not None
    assert claim.taken.kind is OutcomeKind.LOST
    assert keys(queue, "claims/") == []


def test_a_heartbeat_keeps_the_reaper_away(
    queue: Queue, remote: Queue, proxy: FaultProxy, eventually: Callable[..., None]
) -> None:
    queue.put("x")
    claim = claimed(queue)
    taken = time.monotonic()
    with claim.keep_alive():
        eventually(lambda: time.monotonic() - taken > 2.5)
        proxy.plan = lambda _: ShiftDate(6.5)  # a silence of 2.5 s would now be beyond the limit
        assert remote.reap() == 0
    assert claim.complete().kind is OutcomeKind.SUCCEEDED


def test_a_sign_of_life_after_the_reapers_listing_counts(
    queue: Queue, remote: Queue, proxy: FaultProxy
) -> None:
    queue.put("x")
    claim = claimed(queue)
    # Only the listing is old: the claim itself, read afterwards, is fresh.
    proxy.plan = lambda request: ShiftDate(60) if "list-type" in request.query else None
    assert remote.reap() == 0
    assert claim.complete().kind is OutcomeKind.SUCCEEDED


def test_the_deadline_counts_from_the_sending_of_the_last_confirmed_sign(
    queue: Queue, client: S3Client
) -> None:
    now = [1000.0]
    worker = Queue.attach(queue.url, client, runtime=Runtime(monotonic=lambda: now[0]))
    queue.put("x")
    claim = claimed(worker)
    assert claim.deadline == 1000.0 + 2.25
    now[0] = 1002.0
    claim.heartbeat()
    assert claim.deadline == 1002.0 + 2.25
    now[0] = 1004.25
    with pytest.raises(LeaseLostError, match="its deadline passed"):
        claim.heartbeat()
    assert claim.lost.is_set()


def test_a_heartbeat_without_an_answer_extends_nothing(
    queue: Queue, remote: Queue, proxy: FaultProxy
) -> None:
    queue.put("x")
    claim = claimed(remote)
    before = claim.deadline
    proxy.plan = lambda request: DropResponse() if "/claims/" in request.key else None
    with pytest.raises(StoreUnavailableError):
        claim.heartbeat()
    assert claim.deadline == before
    assert not claim.lost.is_set()


def test_keep_alive_survives_a_passing_fault(
    queue: Queue, remote: Queue, proxy: FaultProxy, eventually: Callable[..., None]
) -> None:
    queue.put("x")
    claim = claimed(remote)
    left, deadlines = [2], [claim.deadline]

    def plan(request: ProxiedRequest) -> Fault | None:
        if "/claims/" in request.key and left[0]:
            left[0] -= 1
            return DropRequest()
        return None

    proxy.plan = plan
    with claim.keep_alive(on_extended=deadlines.append):
        eventually(lambda: len(deadlines) >= 3 or claim.lost.is_set())
        assert not claim.lost.is_set()
    assert left == [0]
    assert deadlines == sorted(deadlines)
    assert deadlines[-1] > deadlines[0] + 1
    assert claim.complete().kind is OutcomeKind.SUCCEEDED


def test_keep_alive_gives_up_at_the_deadline_when_nothing_gets_through(
    queue: Queue, remote: Queue, proxy: FaultProxy
) -> None:
    queue.put("x")
    claim = claimed(remote)
    proxy.plan = lambda _: DropRequest()
    block = claim.keep_alive()
    block.__enter__()
    assert claim.lost.wait(10)
    lost_at = time.monotonic()
    assert claim.deadline <= lost_at < claim.deadline + 1
    with pytest.raises(LeaseLostError):
        claim.check()
    with pytest.raises(LeaseLostError, match="its deadline passed"):
        block.__exit__(None, None, None)


def test_the_deadline_is_told_although_a_heartbeat_hangs(
    queue: Queue, remote: Queue, proxy: FaultProxy
) -> None:
    queue.put("x")
    claim = claimed(remote)
    proxy.plan = lambda request: Delay(3.0) if "/claims/" in request.key else None
    block = claim.keep_alive()
    block.__enter__()
    assert claim.lost.wait(10)
    assert time.monotonic() < claim.deadline + 0.5
    with pytest.raises(LeaseLostError):
        block.__exit__(None, None, None)


def test_keep_alive_outlasts_a_refusal_that_passes(
    queue: Queue, remote: Queue, proxy: FaultProxy, eventually: Callable[..., None]
) -> None:
    queue.put("x")
    claim = claimed(remote)
    proxy.plan = lambda _: Answer(403, "AccessDenied")
    refused = len(proxy.seen)
    with claim.keep_alive():
        eventually(lambda: len(proxy.seen) > refused)
        proxy.plan = lambda _: None
        before = claim.deadline
        eventually(lambda: claim.deadline > before)
    assert claim.complete().kind is OutcomeKind.SUCCEEDED


def test_keep_alive_says_which_refusal_cost_the_lease(
    queue: Queue, remote: Queue, proxy: FaultProxy
) -> None:
    queue.put("x")
    claim = claimed(remote)
    proxy.plan = lambda _: Answer(403, "AccessDenied")
    block = claim.keep_alive()
    block.__enter__()
    assert claim.lost.wait(10)
    with pytest.raises(LeaseLostError) as caught:
        block.__exit__(None, None, None)
    assert isinstance(caught.value.__cause__, AccessDeniedError)


def test_keep_alive_tells_of_a_cancel_by_others(
    queue: Queue, keys: Callable[[Queue, str], list[str]]
) -> None:
    job = queue.put("x")
    claim = claimed(queue)
    block = claim.keep_alive()
    block.__enter__()
    claim.check()
    outcome = queue.cancel(job.id)
    assert claim.lost.wait(10)
    with pytest.raises(LeaseLostError, match="cancelled"):
        block.__exit__(None, None, None)
    assert claim.cancelled == outcome
    assert keys(queue, "claims/") == []
    with pytest.raises(LeaseLostError, match="ended as cancelled"):
        claim.complete()


def test_keep_alive_takes_its_own_ending_for_no_loss(
    queue: Queue, eventually: Callable[..., None], keys: Callable[[Queue, str], list[str]]
) -> None:
    queue.put("x")
    claim = claimed(queue)
    settled = time.monotonic()
    with claim.keep_alive():
        claim.complete()
        eventually(lambda: time.monotonic() - settled > 1.3)
    assert not claim.lost.is_set()
    assert keys(queue, "claims/") == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_listener_that_fails_counts_as_a_lost_lease(queue: Queue) -> None:
    queue.put("x")
    claim = claimed(queue)

    def fail(_: float) -> None:
        raise RuntimeError("the listener is broken")

    with pytest.raises(LeaseLostError), claim.keep_alive(on_extended=fail):
        assert claim.lost.wait(10)


def test_a_worker_that_slept_through_its_own_claim_gives_it_back(
    queue: Queue, proxy: FaultProxy, make_client: Callable[..., S3Client]
) -> None:
    job = queue.put("x")
    now = [0.0]

    def plan(request: ProxiedRequest) -> Fault | None:
        if "/claims/" in request.key and not now[0]:
            now[0] = 100.0
        return None

    proxy.plan = plan
    sleepy = Queue.attach(
        queue.url, make_client(proxy.endpoint), runtime=Runtime(monotonic=lambda: now[0])
    )
    claim = claimed(sleepy)
    assert (claim.job.id, claim.attempt, now) == (job.id, 2, [100.0])
    assert claim.complete().used == 1

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gha_queue import LeaseLostError, OutcomeKind, Queue
from gha_queue.testing import ShiftDate

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_queue import Claim, S3Client
    from gha_queue.testing import FaultProxy


class ProcessDiedError(BaseException):
    """The end of the process, as the code that runs in it would see it: not at all."""


class DyingClient:
    """A client whose process dies right after a number of requests from an outcome's PUT on."""

    def __init__(self, client: S3Client, survives: int) -> None:
        self._client = client
        self._left = survives
        self._armed = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever boto3 gives
        operation = getattr(self._client, name)

        def call(**kwargs: Any) -> Any:  # noqa: ANN401 - likewise
            if self._left < 0:
                raise ProcessDiedError
            ending = name == "put_object" and "/outcomes/" in str(kwargs.get("Key"))
            self._armed = self._armed or ending
            self._left -= self._armed
            try:
                return operation(**kwargs)
            finally:
                if self._left < 0:
                    raise ProcessDiedError

        return call


def claimed(queue: Queue, worker: str = "w") -> Claim:
    claim = queue.claim(worker)
    assert claim is not None
    return claim


# After the PUT of the outcome: GET of the next claim, GET of the next outcome, PUT of the marker.
@pytest.mark.parametrize("survives", [0, 1, 2, 3])
def test_a_crash_in_the_middle_of_a_failure_loses_no_attempt(
    queue: Queue, remote: Queue, proxy: FaultProxy, client: S3Client, survives: int
) -> None:
    job = queue.put("x", max_attempts=2, backoff=0)
    mortal = Queue.attach(queue.url, DyingClient(client, survives))
    claim = claimed(mortal)
    with pytest.raises(ProcessDiedError):
        claim.fail("boom")
    proxy.plan = lambda _: ShiftDate(60)
    assert remote.reap() == 0
    assert queue.stats().running == 0
    second = claimed(queue)
    assert second.attempt == 2
    assert queue.claim("w") is None
    assert second.complete().used == 2
    assert queue.wait(job.id, timeout=20).attempt == 2
    assert queue.drained()


@pytest.mark.parametrize("survives", [0, 1])
def test_a_crash_in_the_middle_of_a_death_still_leaves_a_dead_job(
    queue: Queue, remote: Queue, proxy: FaultProxy, client: S3Client, survives: int
) -> None:
    queue.put("x")
    claim = claimed(Queue.attach(queue.url, DyingClient(client, survives)))
    with pytest.raises(ProcessDiedError):
        claim.fail("boom")
    proxy.plan = lambda _: ShiftDate(60)
    remote.reap()
    assert queue.stats().dead == 1
    assert queue.drained()


def test_a_failure_is_tried_again_while_the_budget_lasts(
    queue: Queue, keys: Callable[[Queue, str], list[str]]
) -> None:
    job = queue.put("x", id="a", max_attempts=3, backoff=0)
    for number in (1, 2):
        outcome = claimed(queue).fail({"try": number})
        assert (outcome.used, outcome.next, outcome.final) == (number, number + 1, False)
    assert queue.outcome(job.id) is None
    last = claimed(queue).fail({"try": 3})
    assert last.final
    assert queue.wait(job.id, timeout=20).error == {"try": 3}
    assert keys(queue, "dead/") == ["dead/a"]


def test_a_failure_may_ask_for_no_other_try(queue: Queue) -> None:
    queue.put("x", max_attempts=3, backoff=0)
    assert claimed(queue).fail("hopeless", retry=False).final
    assert queue.claim("w") is None


def test_a_failure_may_ask_for_a_later_try(queue: Queue, remote: Queue, proxy: FaultProxy) -> None:
    queue.put("x", max_attempts=2, backoff=0)
    claimed(queue).fail("later", delay=60)
    assert queue.claim("w") is None
    assert queue.stats().delayed == 1
    proxy.plan = lambda _: ShiftDate(62)
    assert claimed(remote).attempt == 2


def test_a_release_uses_no_attempt(queue: Queue) -> None:
    queue.put("x", max_attempts=1, backoff=0)
    for number in range(1, 4):
        outcome = claimed(queue).release()
        assert (outcome.attempt, outcome.used, outcome.final) == (number, 0, False)
    claim = claimed(queue)
    assert claim.attempt == 4
    assert claim.complete().used == 1


def test_a_waiting_job_is_cancelled(queue: Queue, keys: Callable[[Queue, str], list[str]]) -> None:
    job = queue.put("x", max_attempts=3, backoff=0)
    outcome = queue.cancel(job.id)
    assert (outcome.kind, outcome.final, outcome.worker) == (OutcomeKind.CANCELLED, True, None)
    assert queue.claim("w") is None
    assert keys(queue, "ready/") == keys(queue, "claims/") == []


def test_a_job_that_waits_for_another_try_is_cancelled(queue: Queue) -> None:
    job = queue.put("x", max_attempts=3, backoff=0)
    claimed(queue).fail("no", delay=60)
    outcome = queue.cancel(job.id)
    assert (outcome.kind, outcome.attempt) == (OutcomeKind.CANCELLED, 2)
    assert queue.drained()


def test_a_running_job_is_cancelled_under_its_holder(queue: Queue) -> None:
    job = queue.put("x", max_attempts=3, backoff=0)
    claim = claimed(queue, "vm-1")
    outcome = queue.cancel(job.id)
    assert (outcome.kind, outcome.worker) == (OutcomeKind.CANCELLED, "vm-1")
    with pytest.raises(LeaseLostError):
        claim.heartbeat()
    assert claim.cancelled == outcome
    assert queue.drained()
    assert queue.wait(job.id, timeout=20) == outcome


def test_a_cancel_of_a_finished_job_changes_nothing(queue: Queue) -> None:
    job = queue.put("x")
    done = claimed(queue).complete()
    assert queue.cancel(job.id) == done


def test_a_claim_ends_once(queue: Queue) -> None:
    queue.put("x")
    claim = claimed(queue)
    done = claim.complete("first")
    assert claim.complete("second") == done
    with pytest.raises(LeaseLostError, match="ended as succeeded"):
        claim.fail("third")

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from gha_queue import EndpointUnreachableError, OutcomeKind, Queue, Runtime, StoreUnavailableError
from gha_queue.testing import Answer, DropRequest, DropResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gha_queue import Claim, S3Client
    from gha_queue.testing import FaultProxy, ProxiedRequest
    from gha_queue.testing._proxy import Fault, Plan


def first(fault: Fault, method: str, part: str, times: int = 1) -> Plan:
    """A plan that breaks the first requests of a method to keys that contain a part."""
    left = [times]

    def plan(request: ProxiedRequest) -> Fault | None:
        if request.method == method and part in request.key and left[0]:
            left[0] -= 1
            return fault
        return None

    return plan


@pytest.fixture(params=[1, 4], ids=["plain-client", "client-that-sends-again"])
def either(
    request: pytest.FixtureRequest,
    queue: Queue,
    proxy: FaultProxy,
    make_client: Callable[..., S3Client],
) -> Iterator[Queue]:
    with ExitStack() as stack:
        client = make_client(proxy.endpoint, request.param)
        stack.callback(client.close)  # type: ignore[attr-defined]
        worker = Queue.attach(queue.url, client)
        assert worker.settings.lease == 3.0
        yield worker


def creations(proxy: FaultProxy, part: str) -> int:
    return sum(request.conditional and part in request.key for request in proxy.seen)


def test_a_lost_answer_still_owns_the_claim(queue: Queue, either: Queue, proxy: FaultProxy) -> None:
    queue.put("x")
    proxy.plan = first(DropResponse(), "PUT", "/claims/")
    claim = either.claim("w")
    assert claim is not None
    assert claim.attempt == 1
    assert claim.complete().used == 1


def test_a_lost_answer_to_a_put_makes_no_duplicate(
    queue: Queue, either: Queue, proxy: FaultProxy
) -> None:
    proxy.plan = first(DropResponse(), "PUT", "/jobs/")
    assert not either.put("x", id="a").duplicate
    assert queue.stats().ready == 1


def test_a_lost_answer_to_an_ending_stands_once(
    queue: Queue, either: Queue, proxy: FaultProxy
) -> None:
    job = queue.put("x")
    proxy.plan = first(DropResponse(), "PUT", "/outcomes/")
    claim = either.claim("w")
    assert claim is not None
    assert claim.complete("done").result == "done"
    assert queue.wait(job.id, timeout=20).result == "done"
    assert queue.drained()


def test_a_claim_lost_to_another_behind_a_lost_answer_is_lost(
    queue: Queue, either: Queue, proxy: FaultProxy
) -> None:
    queue.put("x")
    others: list[Claim | None] = []

    def plan(request: ProxiedRequest) -> Fault | None:
        if request.conditional and "/claims/" in request.key and not others:
            others.append(queue.claim("other"))
            return DropResponse()
        return None

    proxy.plan = plan
    assert either.claim("w") is None
    assert others[0] is not None
    assert others[0].complete().worker == "other"


@pytest.mark.parametrize("status", [409, 429, 500, 503])
@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_a_passing_refusal_is_tried_again(
    queue: Queue, remote: Queue, proxy: FaultProxy, status: int, method: str
) -> None:
    left = {"/claims/", "/outcomes/", "/jobs/", "/ready/", "/control"}

    def plan(request: ProxiedRequest) -> Fault | None:
        for part in left:
            if request.method == method and part in f"/{request.key}":
                left.remove(part)
                return Answer(status, "SlowDown" if status == 503 else "Refused")
        return None

    proxy.plan = plan
    job = remote.put("x")
    claim = remote.claim("w")
    assert claim is not None
    assert claim.complete().kind is OutcomeKind.SUCCEEDED
    assert remote.wait(job.id, timeout=20).used == 1
    assert len(left) < 5
    assert queue.drained()


def test_a_conflict_is_not_taken_for_a_lost_claim(
    queue: Queue, remote: Queue, proxy: FaultProxy
) -> None:
    queue.put("x")
    proxy.plan = first(Answer(409, "ConditionalRequestConflict"), "PUT", "/claims/")
    assert remote.claim("w") is not None
    assert creations(proxy, "/claims/") == 2


def test_the_same_call_may_be_repeated_after_an_ending_in_doubt(
    queue: Queue, proxy: FaultProxy, make_client: Callable[..., S3Client]
) -> None:
    job = queue.put("x")
    hasty = Runtime(sleep=lambda _: None)
    remote = Queue.attach(queue.url, make_client(proxy.endpoint), runtime=hasty)
    claim = remote.claim("w")
    assert claim is not None
    landed: list[str] = []

    def plan(request: ProxiedRequest) -> Fault | None:
        if "/outcomes/" not in request.key:
            return None
        if request.method == "PUT" and not landed:
            landed.append(request.key)
            return DropResponse()
        return DropRequest()

    proxy.plan = plan
    with pytest.raises(StoreUnavailableError):
        claim.complete("done")
    proxy.plan = lambda _: None
    assert claim.complete("done").result == "done"
    assert claim.complete("done") == queue.wait(job.id, timeout=20)


def test_a_store_that_never_answers_is_named(
    queue: Queue, proxy: FaultProxy, make_client: Callable[..., S3Client]
) -> None:
    proxy.plan = lambda _: DropRequest()
    hasty = Runtime(sleep=lambda _: None)
    remote = Queue.attach(queue.url, make_client(proxy.endpoint), runtime=hasty)
    with pytest.raises(EndpointUnreachableError, match="AWS_ENDPOINT_URL_S3"):
        remote.put("x")
    assert len(proxy.seen) == remote.requests.get_object == 8


def test_a_store_that_stays_busy_is_named(
    queue: Queue, proxy: FaultProxy, make_client: Callable[..., S3Client]
) -> None:
    proxy.plan = lambda _: Answer(503, "SlowDown")
    hasty = Runtime(sleep=lambda _: None)
    remote = Queue.attach(queue.url, make_client(proxy.endpoint), runtime=hasty)
    with pytest.raises(StoreUnavailableError, match="503 SlowDown") as caught:
        remote.put("x")
    assert not isinstance(caught.value, EndpointUnreachableError)

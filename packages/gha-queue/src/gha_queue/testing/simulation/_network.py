"""The way between a process and the bucket: an S3 client like boto3's, with latency and faults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from greenlet import GreenletExit, getcurrent

from gha_queue.testing.simulation._bucket import Answer, Operation, Request
from gha_queue.testing.simulation._faults import FAILURES, REFUSALS, Fate

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from gha_queue._records import Fields, Json
    from gha_queue.testing.simulation._bucket import Bucket
    from gha_queue.testing.simulation._faults import Faults
    from gha_queue.testing.simulation._world import Process

ENDPOINT = "https://simulated.invalid"
_ERROR = 300


class Watcher(Protocol):
    """Sees what requests do to the bucket."""

    def sent(self, process: Process, request: Request) -> object:
        """Return what is to be known about a request when it lands."""

    def landed(self, request: Request, sent: object, status: int) -> None:
        """See that a request has taken effect."""


class Network:
    """Carries requests to the bucket and answers back, and counts them by operation.

    `latency` gives the seconds of one way; `timeout` is how long clients wait for an answer.
    """

    def __init__(
        self,
        bucket: Bucket,
        random: random.Random,
        latency: Callable[[], float],
        *,
        timeout: float,
        faults: Faults | None,
        watcher: Watcher | None,
    ) -> None:
        self.counts = dict.fromkeys(Operation, 0)
        self.bucket = bucket
        self.random = random
        self.latency = latency
        self.timeout = timeout
        self.watcher = watcher
        self._faults = faults

    def send(self, process: Process, request: Request) -> Fields:
        """Send a request and wait for its answer; raises what botocore would."""
        if process.world.over:
            raise GreenletExit  # a crashed process unwinds: it asks in vain
        faults = self._faults
        fate, silence = faults.draw(process) if faults else (Fate.ANSWERED, 0.0)
        if fate is Fate.PAUSE_BEFORE:
            process.pause(silence)
            process.sleep(0.0)
        elif fate is Fate.CRASH_BEFORE:
            process.crash()
            process.world.suspend()
        self.counts[request.operation] += 1
        _DISPATCH[fate](_Flight(self, process, request, silence))
        if fate is Fate.PAUSE_AFTER:
            process.pause(silence)
        elif fate is Fate.CRASH_AFTER:
            process.crash()
        answer = process.world.suspend()
        if isinstance(answer, Exception):
            raise answer
        if answer.status >= _ERROR:
            raise ClientError(answer.fields, request.operation.value)
        fields: Fields = answer.fields
        return fields


class _Flight:
    """One request on its way, and the greenlet that waits for it."""

    def __init__(
        self, network: Network, process: Process, request: Request, silence: float
    ) -> None:
        self._network = network
        self._process = process
        self._world = process.world
        self._request = request
        self._silence = silence
        self._sent = network.watcher.sent(process, request) if network.watcher else None
        self._resume = getcurrent().switch

    def answered(self) -> None:
        self._later(lambda: self._reply(self._land()))

    def unanswered(self) -> None:
        self._later(lambda: self._land(" (its sender has crashed)"))

    def dropped(self) -> None:
        self._later(lambda: self._fail("never arrives"))

    def answer_lost(self) -> None:
        def arrive() -> None:
            self._land(" (its answer is lost)")
            self._reply(ConnectionClosedError(endpoint_url=ENDPOINT))

        self._later(arrive)

    def twice(self) -> None:
        """As a client does that sends again by itself, and tells only of the second time."""

        def arrive() -> None:
            self._land(" (its answer is lost, it is sent again)")
            self.answered()

        self._later(arrive)

    def again_later(self) -> None:
        self.answered()
        self._later(lambda: self._land(" (delivered again)"), self._silence)

    def late(self) -> None:
        self._say("times out")
        self._later(lambda: self._land(" (late)"), self._silence)
        error = ReadTimeoutError(endpoint_url=ENDPOINT)
        self._world.after(self._network.timeout, self._resume, error, self._process)

    def refused(self) -> None:
        def arrive() -> None:
            status, code = self._network.random.choice(REFUSALS)
            self._say(f"-> {status}")
            self._reply(self._network.bucket.refusal(status, code))

        self._later(arrive)

    def failed(self) -> None:
        def arrive() -> None:
            status, code = self._network.random.choice(FAILURES)
            self._land(f" (but answered with {status})")
            self._reply(self._network.bucket.refusal(status, code))

        self._later(arrive)

    def _later(self, action: Callable[[], object], seconds: float = 0.0) -> None:
        self._world.after(seconds + self._network.latency(), lambda _: action())

    def _land(self, note: str = "") -> Answer:
        network = self._network
        answer = network.bucket.apply(self._request)
        self._say("-> %s%s", answer.status, note)
        if network.watcher:
            network.watcher.landed(self._request, self._sent, answer.status)
        return answer

    def _reply(self, answer: Answer | Exception) -> None:
        self._world.after(self._network.latency(), self._resume, answer, self._process)

    def _fail(self, how: str) -> None:
        self._say(how)
        self._reply(ConnectionClosedError(endpoint_url=ENDPOINT))

    def _say(self, what: str, *details: object) -> None:
        self._world.story.say(self._process.name, f"%s {what}", self._request, *details)


_DISPATCH: dict[Fate, Callable[[_Flight], None]] = {
    Fate.ANSWERED: _Flight.answered,
    Fate.CRASH_AFTER: _Flight.unanswered,
    Fate.PAUSE_BEFORE: _Flight.answered,
    Fate.PAUSE_AFTER: _Flight.answered,
    Fate.DROPPED: _Flight.dropped,
    Fate.ANSWER_LOST: _Flight.answer_lost,
    Fate.TWICE: _Flight.twice,
    Fate.AGAIN_LATER: _Flight.again_later,
    Fate.LATE: _Flight.late,
    Fate.REFUSED: _Flight.refused,
    Fate.FAILED: _Flight.failed,
}


class Client:
    """The calls of boto3's S3 client that a queue makes, for one process."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network = network
        self._process = process

    def put_object(self, **kwargs: Json) -> Fields:
        condition = kwargs.get("IfNoneMatch") == "*"
        return self._send(Request(Operation.PUT, kwargs["Key"], kwargs["Body"], condition))

    def get_object(self, **kwargs: Json) -> Fields:
        return self._send(Request(Operation.GET, kwargs["Key"]))

    def list_objects_v2(self, **kwargs: Json) -> Fields:
        after, limit = kwargs.get("StartAfter", ""), kwargs.get("MaxKeys", 1000)
        return self._send(Request(Operation.LIST, kwargs["Prefix"], after=after, limit=limit))

    def delete_object(self, **kwargs: Json) -> Fields:
        return self._send(Request(Operation.DELETE, kwargs["Key"]))

    def _send(self, request: Request) -> Fields:
        return self._network.send(self._process, request)

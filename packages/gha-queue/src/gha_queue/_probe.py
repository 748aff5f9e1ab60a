"""Finds out whether a store keeps its word, above all on create-if-absent, by a race.

A check in sequence is not enough: some stores test the condition and write without a lock.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gha_queue import _keys
from gha_queue._calls import Calls, Meter
from gha_queue._errors import QueueError, StoreUnavailableError, UnsafeStoreError
from gha_queue._places import parse_place
from gha_queue._records import FORMAT, token_of
from gha_queue._runtime import Runtime

if TYPE_CHECKING:
    from gha_queue._calls import Creation
    from gha_queue._s3 import S3Client

WRITERS = 16
ROUNDS = 4
SAFE = "safe"
_LOOKS = 5


@dataclass(frozen=True)
class ProbeReport:
    """What a probe found out about a store that can hold a queue.

    `seconds` and `requests` are what the probe took, `round_trip` is the median time of a GET in
    seconds. `clock_skew` says by how many seconds this machine is ahead of the server, to within
    one, as S3's Date has whole seconds; a queue does not mind it.
    """

    place: str
    verdict: str
    rounds: int
    writers: int
    seconds: float
    requests: int
    clock_skew: float
    round_trip: float


def probe(
    url: str, client: S3Client | None = None, *, runtime: Runtime | None = None
) -> ProbeReport:
    """Find out whether a place can hold a queue; leaves nothing there.

    Sends 110 to 170 requests in a second or less nearby. Raises UnsafeStoreError,
    UnsupportedStoreError or another BucketError, InvalidQueueError, StoreUnavailableError. A pass
    is no proof: it says that a number of races had one winner each.
    """
    from statistics import median

    runtime = runtime or Runtime()
    meter = Meter(runtime)
    calls = Calls(parse_place(url, client).open(), runtime, meter)
    started = runtime.monotonic()
    calls.impatient().page(_keys.PROBE, limit=1)
    verdict = examine(calls)
    trips, skews = [], []
    for _ in range(_LOOKS):
        sent, local = runtime.monotonic(), time.time()
        date = calls.read(_keys.QUEUE).date
        trip = runtime.monotonic() - sent
        trips.append(trip)
        # A whole second stands for any moment of it.
        skews.append(local + trip / 2 - date - (0.5 if date.is_integer() else 0.0))
    return ProbeReport(
        place=calls.place,
        verdict=verdict,
        rounds=ROUNDS,
        writers=WRITERS,
        seconds=runtime.monotonic() - started,
        requests=sum(vars(meter.requests).values()),
        clock_skew=median(skews),
        round_trip=median(trips),
    )


def examine(calls: Calls) -> str:
    """Return the verdict for the queue's record; raises UnsafeStoreError, UnsupportedStoreError.

    Costs about 4 x (16 PUT + 16 GET), 1 LIST and 4 DELETE.
    """
    name = f"{_keys.PROBE}{calls.runtime.token()}."
    keys = [f"{name}{number}" for number in range(ROUNDS)]
    try:
        _sequence(calls, keys[0])
        for key in keys[1:]:
            _race(calls, key)
        listed = [entry.key for entry in calls.page(name, after=keys[0]).entries]
        if listed != keys[1:]:
            raise UnsafeStoreError(
                calls.place, "its listings lack what was just written, or have another order"
            )
    finally:
        for key in keys:
            # What cannot be removed does no harm, and must not hide what was found.
            with contextlib.suppress(QueueError):
                calls.impatient().delete(key)
    return SAFE


def _sequence(calls: Calls, key: str) -> None:
    first = calls.create(key, {"v": FORMAT})
    second = calls.create(key, {"v": FORMAT})
    if not first.won or second.won:
        raise _ignored(calls, "the second of two creations succeeded")
    if token_of(calls.read(key).body or b"") != token_of(first.standing):
        raise _ignored(calls, "a refused creation changed the object")


def _race(calls: Calls, key: str) -> None:
    def run() -> Creation | None:
        try:
            return calls.create(key, {"v": FORMAT})
        except StoreUnavailableError:  # a store may throttle so many writers of one key
            return None

    creations = [
        creation for creation in calls.runtime.together([run] * WRITERS, WRITERS) if creation
    ]
    winners = [creation for creation in creations if creation.won]
    if len(winners) > 1:
        raise _ignored(calls, f"{len(winners)} of {WRITERS} racing creations won")
    standing = calls.read(key).body
    if standing is None:
        raise StoreUnavailableError(calls.place, "none of the racing creations of a probe landed")
    # A winner may be missing where its answer was lost, but nobody may replace a winner's object.
    if any(token_of(creation.standing) != token_of(standing) for creation in creations):
        raise _ignored(calls, "a racing creation replaced the winner's object")


def _ignored(calls: Calls, finding: str) -> UnsafeStoreError:
    return UnsafeStoreError(
        calls.place,
        f"it ignores If-None-Match, the condition of a write ({finding}), so two workers could "
        f"own one job",
    )

"""Finds out whether a store keeps its word on create-if-absent, by a race.

A check in sequence is not enough: some stores test the condition and write without a lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gha_queue import _keys
from gha_queue._errors import StoreUnavailableError, UnsafeStoreError
from gha_queue._records import FORMAT, token_of

if TYPE_CHECKING:
    from gha_queue._calls import Calls, Creation

WRITERS = 16
ROUNDS = 4
SAFE = "safe"


def probe(calls: Calls) -> str:
    """Return the verdict for the queue's record; raises UnsafeStoreError.

    Costs about 4 x (16 PUT + 16 GET) + 4 DELETE and takes well under a second nearby.
    """
    name = calls.runtime.token()
    keys = [f"{_keys.PROBE}{name}.{number}" for number in range(ROUNDS)]
    try:
        _sequence(calls, keys[0])
        for key in keys[1:]:
            _race(calls, key)
    finally:
        for key in keys:
            calls.delete(key)
    return SAFE


def _sequence(calls: Calls, key: str) -> None:
    first = calls.create(key, {"v": FORMAT})
    second = calls.create(key, {"v": FORMAT})
    if not first.won or second.won:
        raise UnsafeStoreError(calls.place, "the second of two creations succeeded")
    if token_of(calls.read(key).body or b"") != token_of(first.standing):
        raise UnsafeStoreError(calls.place, "a refused creation changed the object")


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
        raise UnsafeStoreError(calls.place, f"{len(winners)} of {WRITERS} racing creations won")
    standing = calls.read(key).body
    if standing is None:
        raise StoreUnavailableError(calls.place, "none of the racing creations of a probe landed")
    # A winner may be missing where its answer was lost, but nobody may replace a winner's object.
    if any(token_of(creation.standing) != token_of(standing) for creation in creations):
        raise UnsafeStoreError(calls.place, "a racing creation replaced the winner's object")

"""Brings a claim to its end in the queue, for as long as that makes sense."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gha_queue import LeaseLostError, RecordError, StoreUnavailableError
from gha_worker._worker.rules import Settlement

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_queue import Claim, Outcome
    from gha_worker._jobs.result import CommandResult

_PAUSE = 0.5
_WHEN_STOPPED = 2.0


def settle(
    claim: Claim, settlement: Settlement, result: CommandResult, *, stopped: Callable[[], bool]
) -> str:
    """Settle `claim`, trying again while the store is away and the lease lasts; its state then.

    A worker that is `stopped` has no such time: it tries for 2 seconds. What is left unsettled
    counts as lost as soon as its lease has run out.
    """
    began = time.monotonic()
    while True:
        try:
            outcome = _settle_once(claim, settlement, result)
        except (LeaseLostError, RecordError):  # of others, or one that nobody can read
            outcome = claim.taken
        except StoreUnavailableError:
            now = time.monotonic()
            if now >= claim.deadline or (stopped() and now > began + _WHEN_STOPPED):
                return "unsettled"
            time.sleep(_PAUSE)
            continue
        return "lost" if outcome is None else outcome.kind.value


def _settle_once(claim: Claim, settlement: Settlement, result: CommandResult) -> Outcome | None:
    if settlement is Settlement.COMPLETE:
        return claim.complete(result.to_json())
    if settlement is Settlement.FAIL:
        return claim.fail(result.to_json())
    if settlement is Settlement.FAIL_FOR_GOOD:
        return claim.fail(result.to_json(), retry=False)
    if settlement is Settlement.RELEASE:
        return claim.release()
    return claim.taken

"""Brings a claim to its end in the queue, for as long as that makes sense."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gha_queue import LeaseLostError, StoreUnavailableError
from gha_worker._rules import Settlement

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_queue import Claim
    from gha_worker._result import CommandResult

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
            _settle_once(claim, settlement, result)
        except LeaseLostError:  # noqa: PERF203  # trying again is what the loop is for
            return "lost" if claim.cancelled is None else "cancelled"
        except StoreUnavailableError:
            now = time.monotonic()
            if now >= claim.deadline or (stopped() and now > began + _WHEN_STOPPED):
                return "unsettled"
            time.sleep(_PAUSE)
        else:
            return _STATES[settlement] if claim.cancelled is None else "cancelled"


_STATES = {
    Settlement.COMPLETE: "succeeded",
    Settlement.FAIL: "failed",
    Settlement.FAIL_FOR_GOOD: "failed",
    Settlement.RELEASE: "released",
    Settlement.NONE: "lost",
}


def _settle_once(claim: Claim, settlement: Settlement, result: CommandResult) -> None:
    if settlement is Settlement.COMPLETE:
        claim.complete(result.to_json())
    elif settlement is Settlement.FAIL:
        claim.fail(result.to_json())
    elif settlement is Settlement.FAIL_FOR_GOOD:
        claim.fail(result.to_json(), retry=False)
    elif settlement is Settlement.RELEASE:
        claim.release()

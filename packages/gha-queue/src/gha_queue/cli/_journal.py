"""What a worker says: one line per event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gha_queue.cli._output import print_json, say

if TYPE_CHECKING:
    from gha_queue._claim import Claim


class Journal:
    """Sentences on stderr, or JSON lines on stdout."""

    def __init__(self, worker: str, *, as_json: bool) -> None:
        self._worker = worker
        self._as_json = as_json

    def job(self, claim: Claim, event: str, seconds: float | None = None, why: str = "") -> None:
        """Tell what became of an attempt, and after how many seconds."""
        if self._as_json:
            self._line(event, claim.job.id, claim.attempt, seconds, why)
            return
        took = "" if seconds is None else f" after {seconds:.1f} s"
        say(f"job {claim.job.id}, attempt {claim.attempt}: {event}{took}{why and f' ({why})'}")

    def worker(self, event: str, why: str) -> None:
        """Tell something about the worker itself."""
        if self._as_json:
            self._line(event, None, None, None, why)
        else:
            say(f"{self._worker}: {event}: {why}")

    def _line(
        self, event: str, job: str | None, attempt: int | None, seconds: float | None, why: str
    ) -> None:
        print_json(
            {
                "event": event,
                "worker": self._worker,
                "job": job,
                "attempt": attempt,
                "seconds": seconds,
                "why": why,
            }
        )

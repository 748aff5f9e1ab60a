"""What a worker remembers of one job: a line of its timeline, a row of its summary."""

from __future__ import annotations

from dataclasses import dataclass

_AS_ASKED = frozenset({"succeeded", "released", "cancelled"})


@dataclass(frozen=True)
class JobRecord:
    """One attempt of one job on this worker. Times are server time in seconds since 1970.

    `waited` is how long it had been due when it was claimed. A stage that did not happen has None
    for its beginning. `state` is how the attempt ended for the queue (succeeded, failed, released,
    cancelled, lost, unsettled), `reason` why the job ended, as in :class:`Reason`, None when it
    never started. `memory_mb` is its share, `peak_memory_mb` what it was seen with.
    """

    worker: str
    job: str
    name: str
    attempt: int
    slot: int
    cores: float
    memory_mb: int
    waited: float
    claimed: float
    prepare_began: float | None
    run_began: float | None
    ended: float
    settled: float
    state: str
    reason: str | None
    exit_code: int | None
    signal: str | None
    peak_memory_mb: int | None
    message: str

    @property
    def title(self) -> str:
        """What people call the job."""
        return self.name or self.job

    @property
    def wrong(self) -> bool:
        """Whether somebody should look at it: it failed, or nobody knows how it ended."""
        return self.state not in _AS_ASKED

    @property
    def began(self) -> float:
        """When it began to use its slot."""
        begins = (self.prepare_began, self.run_began)
        return next((begin for begin in begins if begin is not None), self.claimed)

    @property
    def seconds(self) -> float:
        """How long it used its slot, preparation included."""
        return max(0.0, self.ended - self.began)

    @property
    def prepared(self) -> float | None:
        """How many seconds its preparation took, waiting for that of another job included."""
        if self.prepare_began is None:
            return None
        end = self.ended if self.run_began is None else self.run_began
        return max(0.0, end - self.prepare_began)

    @property
    def ran(self) -> float | None:
        """How many seconds its script ran."""
        return None if self.run_began is None else max(0.0, self.ended - self.run_began)

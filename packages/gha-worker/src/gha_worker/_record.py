"""What a worker remembers of one job: a line of its timeline, a row of its summary."""

from __future__ import annotations

from dataclasses import dataclass


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

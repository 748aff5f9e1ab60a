"""How well jobs of different sizes fill a machine, by what its worker wrote of them.

The gate runs a few jobs, whose beginning and end weigh much; GHA_WORKER_CHAOS=1 asks for more.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from gha_worker import CommandJob, JobRecord, Resources, read_timeline
from gha_worker._jobs.submission import new_job

if TYPE_CHECKING:
    from conftest import Workers

    from gha_queue import Queue

CORES = 4
SIZES = (1, 2, 0.5, 4)
FULL = os.environ.get("GHA_WORKER_CHAOS") == "1"
EACH, LEAST = (16, 0.9) if FULL else (4, 0.7)
SECONDS = (1, 2, 3)


def core_seconds(records: list[JobRecord], until: float) -> float:
    """What scripts used of the cores before `until`."""
    return sum(
        record.cores * max(0.0, min(record.ended, until) - record.run_began)
        for record in records
        if record.run_began is not None
    )


@pytest.mark.timeout(180)
def test_a_machine_is_full_while_work_is_waiting(queue: Queue, workers: Workers) -> None:
    queue.put_many(
        [
            new_job(
                CommandJob(f"sleep {SECONDS[number % 3]}", resources=Resources(cpu)),
                id=f"{cpu}-cores-{number}",
            )
            for number in range(EACH)
            for cpu in SIZES
        ]
    )
    queue.close()
    worker = workers.start("--cores", str(CORES), "--memory", "4000")
    assert worker.wait(120.0) == 0, worker.log()
    records = read_timeline(queue)
    assert len(records) == EACH * len(SIZES)
    began = min(record.claimed for record in records)
    # Nothing waits any more from the last claim on.
    waiting = max(record.claimed for record in records) - began
    used = core_seconds(records, began + waiting)
    share = used / (CORES * waiting)
    print(  # noqa: T201 - the figure is for whoever asks for it
        f"\n{len(records)} jobs of {', '.join(map(str, SIZES))} cores on {CORES} cores:"
        f" {used:.1f} of {CORES * waiting:.1f} core-seconds used while work was waiting, {share:.1%}"
    )
    assert share >= LEAST

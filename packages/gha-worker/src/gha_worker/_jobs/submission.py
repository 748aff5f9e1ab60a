"""How a command job enters a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gha_worker._jobs.need import Need

if TYPE_CHECKING:
    from gha_queue import Job, NewJob, Queue
    from gha_worker._jobs.command_job import CommandJob


def submit(
    queue: Queue,
    job: CommandJob,
    *,
    id: str | None = None,  # noqa: A002  # as the queue calls it
    max_attempts: int = 1,
    priority: int = 5,
    delay: float = 0.0,
) -> Job:
    """Put `job` into `queue`, with what it needs of a machine beside it.

    Workers claim a job by this need, without having read it; one that was put without is taken
    for a job of one core. An id that is taken returns the first job of that id, marked
    `duplicate`. Raises what :meth:`gha_queue.Queue.put` raises. Costs 2 PUT, 1 GET.
    """
    new = new_job(job, id=id, max_attempts=max_attempts, priority=priority, delay=delay)
    return queue.put(**vars(new))  # its fields are the options of put


def new_job(
    job: CommandJob,
    *,
    id: str | None = None,  # noqa: A002  # likewise
    max_attempts: int = 1,
    priority: int = 5,
    delay: float = 0.0,
) -> NewJob:
    """The same for :meth:`gha_queue.Queue.put_many`."""
    from gha_queue import NewJob

    need = Need.of(job).to_text()
    return NewJob(job.to_payload(), id, max_attempts, priority, delay, need)

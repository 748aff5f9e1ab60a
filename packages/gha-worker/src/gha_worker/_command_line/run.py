"""``gha-worker run``: one worker on this machine."""

from __future__ import annotations

import gc
import os
import sys
import time
from pathlib import Path

import click

from gha_worker._command_line.numbers import Number
from gha_worker._errors import WorkerError
from gha_worker._signals import StopSignals

_STARTED = time.monotonic()
_MOST_CORES = 10_000


@click.command(short_help="Run the jobs of a queue on this machine.")
@click.argument("queue_url")
@click.option("--name", help="Unique among the queue's workers.  [default: host and process id]")
@click.option(
    "--idle-timeout",
    type=Number(min=0),
    metavar="SECONDS",
    default=120.0,
    show_default=True,
    help="Leave after so long without work.",
)
@click.option(
    "--lifetime",
    type=Number(min=0, min_open=True),
    metavar="SECONDS",
    default=21000.0,
    show_default=True,
    help="How long this machine lives from now on; no job runs longer.",
)
@click.option(
    "--cores",
    type=Number(min=0.001, max=_MOST_CORES),
    metavar="N",
    help="What jobs may use together.  [default: what this machine or its container has]",
)
@click.option(
    "--memory",
    type=click.IntRange(min=1),
    metavar="MB",
    help="What jobs may use together.  [default: what this machine or its container has]",
)
@click.option(
    "--slots",
    type=click.IntRange(min=1),
    metavar="N",
    help="Run so many jobs at a time, whatever they need.  [default: as many as fit]",
)
@click.option(
    "--max-jobs", type=click.IntRange(min=1), metavar="N", help="Leave after so many jobs."
)
@click.option(
    "--cache",
    type=click.IntRange(min=0),
    metavar="MB",
    default=4096,
    show_default=True,
    help="Disk space for preparations that no job uses just now.",
)
@click.option("--echo", is_flag=True, help="Print the output of jobs. Public in a public log.")
@click.option(
    "--work-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where jobs get their directories.  [default: the system's temporary directory]",
)
def run(
    queue_url: str,
    *,
    name: str | None,
    idle_timeout: float,
    lifetime: float,
    cores: float | None,
    memory: int | None,
    slots: int | None,
    max_jobs: int | None,
    cache: int,
    echo: bool,
    work_dir: Path | None,
) -> None:
    """Claim and run the jobs of QUEUE_URL until there is nothing left to do.

    QUEUE_URL is s3://bucket/prefix, or file:///directory for workers of one machine.

    As many at a time as fit the machine's cores and memory. Leaves when the queue is closed and
    empty, when its owner wants it to, after the idle time, before the machine's end, or on SIGINT,
    SIGTERM or SIGHUP. The exit code tells of the worker, not of its jobs: 0 also when
    jobs failed, 1 when the queue cannot be used, 2 for wrong usage.
    """
    with StopSignals() as signals:
        # Importing and loading an S3 client takes most of the start, a quarter of that looking for
        # garbage in what stays until the end. Nothing above this line waits for it.
        gc.disable()
        from gha_queue import Queue, QueueError
        from gha_worker._guard.guarded_script import adopt_orphans
        from gha_worker._guard.process_tree import resist_oom_kill
        from gha_worker._machine.capacity import Capacity, read_capacity
        from gha_worker._machine.environment import drop_empty_aws
        from gha_worker._machine.heap import share_one_heap
        from gha_worker._machine.info import default_name
        from gha_worker._telling.journal import Journal
        from gha_worker._worker.identity import assumed_role
        from gha_worker._worker.worker import Worker, WorkerSettings

        share_one_heap()
        drop_empty_aws(os.environ)
        adopt_orphans()
        resist_oom_kill()
        found = read_capacity()
        settings = WorkerSettings(
            name=name or default_name(),
            capacity=Capacity(
                millicores=found.millicores if cores is None else round(cores * 1000),
                memory_mb=memory or found.memory_mb,
            ),
            idle_timeout=idle_timeout,
            lifetime=lifetime,
            started=_STARTED,
            slots=slots,
            max_jobs=max_jobs,
            cache_mb=cache,
            work_dir=work_dir,
        )
        journal = Journal(environment=os.environ, echo=echo)
        try:
            with assumed_role(os.environ, settings.name, journal.worker) as identity:
                queue = Queue.attach(queue_url)
                _ = queue.settings  # opens it
                gc.freeze()
                gc.enable()
                environment = dict(os.environ)
                Worker(queue, settings, environment, journal, signals, identity=identity).run()
        except (QueueError, WorkerError) as error:
            click.echo(f"gha-worker: {error}", err=True)
            sys.exit(2 if isinstance(error, ValueError) else 1)

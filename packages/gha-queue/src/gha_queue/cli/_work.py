"""`work`: the command that makes a worker of any other command."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
from pathlib import Path

import click

from gha_queue._errors import QueueError
from gha_queue._keys import check_need, check_worker
from gha_queue._queue import Queue
from gha_queue.cli._exits import Exit
from gha_queue.cli._options import queue_and_json
from gha_queue.cli._output import duration

_UNUSABLE = re.compile(r"[^A-Za-z0-9._-]+")


@click.command(
    short_help="Run a command once per job: the smallest useful worker.",
    context_settings={"allow_interspersed_args": False},
)
@queue_and_json
@click.argument("command", metavar="-- CMD [ARG]...", nargs=-1, required=True)
@click.option("--name", help="What outcomes call this worker.  [default: host and process id]")
@click.option(
    "--need",
    "needs",
    multiple=True,
    metavar="WORD",
    help="Take the jobs put with this need, and no others; may be repeated, '' is none.",
)
@click.option("--max-jobs", type=click.IntRange(min=1), help="Leave after so many jobs.")
@click.option("--idle-timeout", type=duration, help="Leave after so long without a job.")
@click.option("--drain", is_flag=True, help="Leave when nothing waits or runs.")
@click.option("--timeout", type=duration, help="A job that takes longer has failed.")
@click.option(
    "--snooze", type=duration, default=60.0, help="Pause after exit code 75.  [default: 60s]"
)
@click.option("--no-retry", is_flag=True, help="A job that fails is dead at once.")
def work(
    *,
    url: str,
    command: tuple[str, ...],
    name: str | None,
    needs: tuple[str, ...],
    max_jobs: int | None,
    idle_timeout: float | None,
    timeout: float | None,
    snooze: float,
    drain: bool,
    no_retry: bool,
    as_json: bool,
) -> Exit:
    """Run CMD once per job, with the payload as a line of JSON on its stdin.

    \b
    exit code 0   the job succeeded; its result is stdout, as JSON or else text
    exit code 75  too early: the job sleeps for --snooze, at no cost
    any other     the attempt failed; its error has the code and the end of stderr

    A JSON stdout may have 256 KiB, text is cut to 40 KiB. CMD finds GHA_QUEUE_URL,
    GHA_QUEUE_JOB_ID, GHA_QUEUE_ATTEMPT and GHA_QUEUE_WORKER in its environment. When it ends, what
    it left in its process group is killed; when its lease is lost, its job is cancelled, its time
    is over or the worker dies, the whole group is: SIGTERM, SIGKILL 5 s later.

    Without --need it takes the jobs that were put without one. Jobs that wait for other workers
    keep a queue from being drained.

    On SIGINT or SIGTERM the worker gives its job back, which uses no attempt, and leaves; at a
    second signal, or where the store hangs after 10 s, it kills what runs and leaves the job to be
    reaped. It also leaves when the queue is closed and drained, or when `drain` names it. Its exit code tells
    of itself, not of its jobs.
    With --json each event is a JSON line on stdout, else a sentence on stderr.
    """  # noqa: D301 - click keeps the lines of a paragraph that begins with a backspace
    if shutil.which(command[0]) is None:
        if os.sep in command[0] and Path(command[0]).exists():
            raise click.UsageError(
                f"{command[0]!r} is not an executable file: chmod +x makes it one"
            )
        raise click.UsageError(f"there is no command {command[0]!r}: give its path, or install it")

    from gha_queue.cli._guard import Guard
    from gha_queue.cli._journal import Journal
    from gha_queue.cli._pulse import Pulse
    from gha_queue.cli._signals import Signals
    from gha_queue.cli._worker import Assignment, Worker

    assignment = Assignment(
        command=command,
        name=check_worker(name or _default_name()),
        max_jobs=max_jobs,
        idle_timeout=idle_timeout,
        drain=drain,
        timeout=timeout,
        snooze=snooze,
        retry=not no_retry,
        needs=frozenset(map(check_need, needs or ("",))),
    )
    queue = Queue.attach(url)
    journal = Journal(assignment.name, as_json=as_json)
    with Signals() as signals:
        try:
            with Pulse(queue) as pulse, Guard() as guard:
                Worker(
                    queue, assignment, journal=journal, signals=signals, guard=guard, pulse=pulse
                ).run()
        except QueueError:
            if signals.received is None:
                raise
        except KeyboardInterrupt:
            # What hangs may be the reader of our output, which Python would flush once more.
            os._exit(128 + (signals.received or signal.SIGINT))
    return Exit.OK if signals.received is None else Exit(128 + signals.received)


def _default_name() -> str:
    host = _UNUSABLE.sub("-", socket.gethostname()).strip("-.") or "worker"
    return f"{host}-{os.getpid()}"

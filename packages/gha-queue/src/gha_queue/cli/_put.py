"""`put`: the command by which jobs enter, and by which a queue comes to be."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from gha_queue._errors import InvalidJobError, PutManyError, QueueNotFoundError
from gha_queue._intake import NewJob
from gha_queue._queue import Queue
from gha_queue._records import Settings
from gha_queue.cli._exits import Exit, exit_for
from gha_queue.cli._options import queue_and_json
from gha_queue.cli._output import (
    duration,
    print_json,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gha_queue._records import Job, Json


@click.command(short_help="Put a job, or one per line of stdin; make the queue if it is new.")
@queue_and_json
@click.argument("payload", required=False)
@click.option("--many", is_flag=True, help="Each line of stdin is the payload of a job.")
@click.option(
    "--id",
    "job_id",
    help="An id to know the job by; putting it twice is safe. With --many ID-1, ID-2 and so on.",
)
@click.option("--priority", type=int, default=5, show_default=True, help="0 first, 9 last.")
@click.option("--delay", type=duration, default=0.0, help="Not to be claimed before that.")
@click.option("--max-attempts", type=int, default=1, show_default=True, help="Failed or lost.")
@click.option("--need", default="", help="A word by which workers can choose.")
@click.option(
    "--backoff", type=duration, default=1.0, help="Pause after the first failure.  [default: 1s]"
)
@click.option("--lease", type=duration, help="Of a new queue.  [default: 60s]")
@click.option("--heartbeat", type=duration, help="Of a new queue.  [default: 15s]")
def put(
    *,
    url: str,
    payload: str | None,
    job_id: str | None,
    priority: int,
    delay: float,
    max_attempts: int,
    need: str,
    backoff: float,
    lease: float | None,
    heartbeat: float | None,
    many: bool,
    as_json: bool,
) -> Exit:
    """Put a job and print its id.

    PAYLOAD is JSON, `-` reads it from stdin; a negative number goes behind --: `put -- -5`.
    With --many every line of stdin is the JSON of one payload, and the options hold for all. A
    queue that is not there is created, after a probe of the store.
    """
    if many == (payload is not None):
        raise click.UsageError("give a PAYLOAD (- for stdin), or --many and one per line on stdin")

    def new(text: str, number: int | None = None, where: str = "PAYLOAD") -> NewJob:
        name = job_id if job_id is None or number is None else f"{job_id}-{number}"
        value = _parse(text, where)
        return NewJob(value, name, max_attempts, priority, delay, need, backoff)

    if many:
        items = [new(line, number, f"line {number}") for number, line in _lines()]
    else:
        items = [new(_read_stdin() if payload == "-" else str(payload))]
    try:
        jobs = _find_or_create(url, lease, heartbeat).put_many(items)
    except PutManyError as error:
        _print(error.jobs, as_json=as_json)
        if len(items) == 1:
            raise error.failed[0][1] from None
        for item, why in error.failed:
            name = item.id or json.dumps(item.payload)
            say(f"not put: {name:.200}: {why}")
        return exit_for(error)
    _print(jobs, as_json=as_json)
    return Exit.OK


def _find_or_create(url: str, lease: float | None, heartbeat: float | None) -> Queue:
    if lease is None and heartbeat is None:
        queue = Queue.attach(url)
        try:
            queue.state()
        except QueueNotFoundError:
            return Queue(url)
        return queue
    usual = Settings()
    return Queue(
        url,
        lease=usual.lease if lease is None else lease,
        heartbeat=usual.heartbeat if heartbeat is None else heartbeat,
    )


def _print(jobs: Iterable[Job], *, as_json: bool) -> None:
    for job in jobs:
        if as_json:
            print_json(job)
            continue
        click.echo(job.id)
        if job.duplicate:
            say(f"job {job.id!r} was put before: that one stands, its payload and options too")


def _parse(text: str, where: str) -> Json:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidJobError(
            f"{where} is not JSON ({error}): quote text like '\"this\"', or pipe it through jq -R ."
        ) from None


def _read_stdin() -> str:
    if sys.stdin is None:
        raise click.UsageError("stdin is closed: give it the payload")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise InvalidJobError(f"stdin is not UTF-8 ({error}): send JSON in UTF-8") from None


def _lines() -> Iterator[tuple[int, str]]:
    """Yield every line that is not empty, numbered as an editor numbers it."""
    for number, line in enumerate(_read_stdin().split("\n"), start=1):
        if line.strip():
            yield number, line

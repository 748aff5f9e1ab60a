"""Commands that change what is in a queue, or what may happen in it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeVar

import click

from gha_queue._errors import JobNotFoundError, QueueError, RecordError
from gha_queue._queue import Queue
from gha_queue._records import Control, Job, Outcome, OutcomeKind
from gha_queue._views import State
from gha_queue.cli._exits import Exit, exit_for
from gha_queue.cli._options import queue_and_json, state_option
from gha_queue.cli._output import (
    Column,
    duration,
    print_list,
    print_word,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_T = TypeVar("_T")

_ENDED = (
    Column[Outcome]("id", lambda outcome: outcome.job_id),
    Column[Outcome]("outcome", lambda outcome: outcome.kind.value),
)
_RETRIES = (
    Column[Job]("id", lambda job: job.id),
    Column[Job]("retry of", lambda job: job.retry_of),
)
_NO_LIMIT = "none"
_ids = click.argument("job_ids", metavar="ID...", nargs=-1, required=True)


def _slots(_context: click.Context, _argument: click.Parameter, text: str) -> int | None:
    if text == _NO_LIMIT:
        return None
    if not text.isdecimal() or int(text) == 0:
        raise click.BadParameter(f"{text!r} is no limit: give a number from 1, or {_NO_LIMIT}")
    return int(text)


@click.command(short_help="Cancel jobs that wait or run.")
@queue_and_json
@_ids
def cancel(url: str, job_ids: tuple[str, ...], *, as_json: bool) -> Exit:
    """Cancel jobs that wait or run; prints each id and how the job ended.

    Who runs one learns so with the next heartbeat. Exits 1 if a job had ended otherwise before.
    """
    queue = Queue.attach(url)

    def action(job_id: str) -> Outcome:
        outcome = queue.cancel(job_id)
        if outcome.kind is not OutcomeKind.CANCELLED:
            say(f"job {outcome.job_id!r} had {outcome.kind.value} before: nothing to cancel")
            refused.append(job_id)
        return outcome

    refused: list[str] = []
    code = _each(job_ids, action, _ENDED, as_json=as_json)
    return Exit.REFUSED if refused else code


@click.command(short_help="Put dead jobs again.")
@queue_and_json
@_ids
def retry(url: str, job_ids: tuple[str, ...], *, as_json: bool) -> Exit:
    """Put dead jobs again, each as a new job: prints its id, and the dead one's.

    `wait` and `cancel` follow a job to its newest retry.
    """
    return _each(job_ids, Queue.attach(url).retry, _RETRIES, as_json=as_json)


@click.command(short_help="Put all dead jobs again.")
@queue_and_json
def redrive(url: str, *, as_json: bool) -> None:
    """Put every dead job again, those that were cancelled excepted; prints as `retry` does."""
    print_list(Queue.attach(url).redrive(), _RETRIES, as_json=as_json)


@click.command(short_help="End the attempts that nobody keeps alive.")
@queue_and_json
def reap(url: str, *, as_json: bool) -> None:
    """End as lost the attempts that nobody keeps alive, so that others follow; prints how many.

    Workers that idle and everybody who waits do so, too.
    """
    lost = Queue.attach(url).reap()
    print_word(str(lost), {"lost": lost}, as_json=as_json)


@click.command(short_help="Remove jobs that have ended.")
@queue_and_json
@click.option(
    "--older-than",
    type=duration,
    required=True,
    help="Only those that ended so long ago: 7d, 12h, 90s; 0 for all.",
)
@state_option((State.DEAD, State.SUCCEEDED), "Only these.  [default: both]")
def purge(url: str, older_than: float, state: State | None, *, as_json: bool) -> None:
    """Remove jobs that have ended; prints how many.

    Payloads go at once, ids and outcomes with a later purge, when they are a day old.
    """
    purged = Queue.attach(url).purge(older_than, state)
    print_word(str(purged), {"purged": purged}, as_json=as_json)


@click.command(short_help="Let workers claim nothing for now.")
@queue_and_json
def pause(url: str, *, as_json: bool) -> None:
    """Let workers claim nothing until `resume`; what runs goes on, jobs can be put."""
    _steer(url, Queue.pause, as_json=as_json)


@click.command(short_help="End a pause.")
@queue_and_json
def resume(url: str, *, as_json: bool) -> None:
    """End a pause. A closed queue stays closed."""
    _steer(url, Queue.resume, as_json=as_json)


@click.command(short_help="Take no more jobs; workers leave when the rest is done.")
@queue_and_json
@click.option(
    "--cancel", "at_once", is_flag=True, help="Cancel what waits and runs; workers leave at once."
)
def close(url: str, *, at_once: bool, as_json: bool) -> None:
    """Take no more jobs; workers leave when the rest is done. This cannot be undone.

    With --cancel it also cancels every job that waits, and says how many these were; workers
    cancel what they run within seconds. It may be repeated, for what was lost meanwhile.
    """
    _steer(url, lambda queue: queue.close(cancel=at_once), as_json=as_json)
    if at_once:
        say(f"cancelled {_cancel_waiting(Queue.attach(url))} jobs that waited")


@click.command(short_help="Let workers leave when what they run has ended.")
@queue_and_json
@click.argument("workers", metavar="WORKER...", nargs=-1, required=True)
def drain(url: str, workers: tuple[str, ...], *, as_json: bool) -> None:
    """Let workers claim no more, and leave when what they run has ended. This cannot be undone.

    Prints the names of all that were drained so far, a line each.
    """
    _steer(
        url,
        lambda queue: queue.drain(workers),
        lambda control: "\n".join(sorted(control.drain)),
        as_json=as_json,
    )


@click.command(short_help="Limit how many jobs a worker runs at a time.")
@queue_and_json
@click.argument("limit", metavar="N", callback=_slots)
def slots(url: str, limit: int | None, *, as_json: bool) -> None:
    """Let each worker run at most N jobs at a time, with `none` as many as it can; prints N.

    What runs beyond that goes on. A `gha-queue work` runs one in any case.
    """
    _steer(
        url,
        lambda queue: queue.limit_slots(limit),
        lambda control: str(control.slots or _NO_LIMIT),
        as_json=as_json,
    )


def _cancel_waiting(queue: Queue) -> int:
    waiting = [*queue.jobs(State.READY), *queue.jobs(State.DELAYED)]
    cancelled = 0
    for job in waiting:
        # What cannot be read is buried by whoever claims it, and what was purged has ended.
        with contextlib.suppress(JobNotFoundError, RecordError):
            cancelled += queue.cancel(job.id).kind is OutcomeKind.CANCELLED
    return cancelled


def _steer(
    url: str,
    change: Callable[[Queue], None],
    answer: Callable[[Control], str] = lambda control: control.status.value,
    *,
    as_json: bool,
) -> None:
    queue = Queue.attach(url)
    change(queue)
    control = queue.state()
    print_word(answer(control), control, as_json=as_json)


def _each(
    job_ids: Sequence[str],
    action: Callable[[str], _T],
    columns: Sequence[Column[_T]],
    *,
    as_json: bool,
) -> Exit:
    """Do one thing for each id and print what came of it; a refusal is told and goes by."""
    done: list[_T] = []
    code = Exit.OK
    try:
        for job_id in job_ids:
            try:
                done.append(action(job_id))
            except QueueError as error:  # noqa: PERF203 - others may still go
                code = exit_for(error)
                if code not in {Exit.REFUSED, Exit.USAGE}:
                    raise
                say(str(error))
    finally:
        print_list(done, columns, as_json=as_json)
    return code

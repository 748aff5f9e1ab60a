"""Commands that look and change nothing: `ls`, `get`, `stats`, `dead`, `wait`, `probe`."""

from __future__ import annotations

import dataclasses
import json
from itertools import islice
from typing import TYPE_CHECKING

import click

from gha_queue._keys import Attempt, dead_key, job_key
from gha_queue._probe import ProbeReport
from gha_queue._probe import probe as probe_store
from gha_queue._queue import Queue
from gha_queue._records import OutcomeKind
from gha_queue._views import DeadLetter, History, JobSeen, State, Stats
from gha_queue.cli._exits import Exit
from gha_queue.cli._options import queue_and_json, state_option
from gha_queue.cli._output import (
    Column,
    Kind,
    console,
    duration,
    error_line,
    is_terminal,
    local_time,
    one_line,
    print_fields,
    print_json,
    print_list,
    print_one,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gha_queue._records import Json, Outcome
    from gha_queue._views import AttemptSeen

_JOBS = (
    Column[JobSeen]("id", lambda job: job.id),
    Column[JobSeen]("state", lambda job: job.state.value),
    Column[JobSeen]("attempt", lambda job: job.attempt, Kind.COUNT),
    Column[JobSeen]("age", lambda job: job.age, Kind.SECONDS),
)
_DEAD = (
    Column[DeadLetter]("id", lambda letter: letter.job_id),
    Column[DeadLetter]("reason", lambda letter: letter.reason),
    Column[DeadLetter]("error", lambda letter: error_line(letter.error), Kind.PROSE),
    Column[DeadLetter]("attempts", lambda letter: letter.attempts, Kind.COUNT, spare=True),
    Column[DeadLetter]("worker", lambda letter: letter.worker, spare=True),
    Column[DeadLetter]("age", lambda letter: letter.age, Kind.SECONDS),
)
_ATTEMPTS = (
    Column["AttemptSeen"]("attempt", lambda seen: seen.number, Kind.COUNT),
    Column["AttemptSeen"]("outcome", lambda seen: seen.outcome and seen.outcome.kind.value),
    Column["AttemptSeen"]("worker", lambda seen: seen.worker),
    Column["AttemptSeen"]("started", lambda seen: _second(seen.started)),
    Column["AttemptSeen"]("ended", lambda seen: _second(seen.ended)),
    Column["AttemptSeen"]("error", lambda seen: seen.outcome and error_line(seen.outcome.error)),
)
# What moves comes first, so that a limit cuts off what has long been over.
_ORDER = (
    State.RUNNING,
    State.READY,
    State.DELAYED,
    State.DEAD,
    State.RETRIED,
    State.SUCCEEDED,
)


@click.command(short_help="List jobs: id, state, attempt, age.")
@queue_and_json
@state_option(State, "Only the jobs in this state.")
@click.option("--limit", type=click.IntRange(min=0), help="At most so many.")
def ls(url: str, state: State | None, limit: int | None, *, as_json: bool) -> None:
    """List jobs: id, state, attempt, age; what runs and waits first, the oldest on top.

    The age counts from when the job was due (ready), put or put back (delayed), last heard of
    (running), dead (dead) or first put (retried, succeeded).
    """
    jobs = sorted(
        Queue.attach(url).jobs(state),
        key=lambda job: (_ORDER.index(job.state), -job.age, job.id),
    )
    print_list(islice(jobs, limit), _JOBS, as_json=as_json)


@click.command(short_help="Show the life of one job, with payload and result.")
@queue_and_json
@click.argument("job_id", metavar="ID")
def get(url: str, job_id: str, *, as_json: bool) -> None:
    """Show the life of one job: its attempts, their workers and outcomes, and its retries.

    On a terminal a tree with the keys of the bucket it stands on, the payload and the result;
    elsewhere one line per attempt: number, outcome, worker, started, ended, error. With --json
    everything, in one document. Times are the server's, in seconds since 1970.
    """
    history = Queue.attach(url).history(job_id)
    if as_json:
        print_json(history)
    elif is_terminal():
        console().print(_tree(history))
    else:
        print_list(history.attempts, _ATTEMPTS, as_json=False)


@click.command(short_help="Count the jobs by state, and tell what the owner said.")
@queue_and_json
def stats(url: str, *, as_json: bool) -> None:
    """Count the jobs by state, and tell the oldest ages.

    Of the ready job that has been due the longest, and of the heartbeat that is the oldest. Then
    what the owner said: whether the queue is open, the slots of each worker, who is drained.
    """
    queue = Queue.attach(url)
    seen, control = queue.stats(), queue.state()
    facts = [
        *stats_facts(seen),
        ("status", control.status.value, Kind.TEXT),
        ("slots", control.slots, Kind.COUNT),
        ("drain", " ".join(sorted(control.drain)) or None, Kind.TEXT),
    ]
    print_one({**vars(seen), "control": control}, facts, as_json=as_json)


def stats_facts(seen: Stats) -> list[tuple[str, object, Kind]]:
    return [
        (
            field.name.replace("_", " "),
            getattr(seen, field.name),
            Kind.SECONDS if field.name.endswith("_age") else Kind.COUNT,
        )
        for field in dataclasses.fields(seen)
    ]


@click.command(short_help="List the jobs that ended without success, and why.")
@queue_and_json
def dead(url: str, *, as_json: bool) -> None:
    """List the jobs that ended without success: id, reason, error, attempts, worker, age.

    `retry` and `redrive` try them again, `purge` removes them.
    """
    print_list(Queue.attach(url).dead(), _DEAD, as_json=as_json)


@click.command(short_help="Wait until a job has ended, and tell how.")
@queue_and_json
@click.argument("job_id", metavar="ID")
@click.option("--timeout", type=duration, help="Give up after that; the job goes on.")
def wait(url: str, job_id: str, timeout: float | None, *, as_json: bool) -> Exit:
    """Wait until a job, or its newest retry, has ended: prints how, --json with the result.

    Exits 0 if it succeeded, 1 if not and 124 after --timeout.
    """
    outcome = Queue.attach(url).wait(job_id, timeout)
    if as_json:
        print_json(outcome)
    else:
        print_fields((outcome.job_id, outcome.kind.value, error_line(outcome.error)))
    return Exit.OK if outcome.kind is OutcomeKind.SUCCEEDED else Exit.REFUSED


@click.command(short_help="Find out whether a place can hold a queue.")
@queue_and_json
def probe(url: str, *, as_json: bool) -> None:
    """Find out whether a place can hold a queue, by a race of writers.

    Sends about 160 requests. Leaves no object there; of file:///directory the directory
    stays. Exits 4 if the place must not be used.
    """
    report = probe_store(url)
    print_one(report, _probe_facts(report), as_json=as_json)


def _probe_facts(report: ProbeReport) -> list[tuple[str, object, Kind]]:
    return [
        ("place", report.place, Kind.TEXT),
        ("verdict", report.verdict, Kind.TEXT),
        ("rounds", report.rounds, Kind.COUNT),
        ("writers", report.writers, Kind.COUNT),
        ("requests", report.requests, Kind.COUNT),
        ("seconds", f"{report.seconds:.3f}", Kind.TEXT),
        ("clock skew", f"{report.clock_skew:.3f}", Kind.TEXT),
        ("round trip", f"{report.round_trip:.6f}", Kind.TEXT),
    ]


def _tree(history: History) -> RenderableType:
    from rich.text import Text
    from rich.tree import Tree

    job = history.job

    def line(text: str, key: str = "") -> Text:
        return Text.assemble(one_line(text), ("  " + key if key else "", "dim"))

    tree = Tree(line(f"{job.id}  {history.state.value}"))
    put = tree.add(line(f"put, due {local_time(job.due)}", job_key(job.id)))
    put.add(line(f"priority {job.priority}, attempts up to {job.max_attempts}"))
    if job.retry_of is not None:
        put.add(line(f"retry of {job.retry_of}", job_key(job.retry_of)))
    put.add(line("purged" if job.purged else f"payload {_json(job.payload)}"))
    for seen in history.attempts:
        attempt = Attempt(job.id, seen.number)
        if seen.outcome is None and seen.started is None:
            tree.add(line(f"#{seen.number} {history.state.value}"))
            continue
        key = "" if seen.outcome else attempt.claim_key  # the claim goes when the outcome stands
        claimed = tree.add(line(_claimed(seen), key))
        if seen.outcome is not None:
            ended = claimed.add(line(_ended(seen.outcome), attempt.outcome_key))
            for what, value in (("result", seen.outcome.result), ("error", seen.outcome.error)):
                if value is not None:
                    ended.add(line(f"{what} {_json(value)}"))
    if history.state is State.DEAD:
        tree.add(line("dead", dead_key(job.id)))
    for retry in history.retries:
        tree.add(line(f"retried as {retry}", job_key(retry)))
    return tree


def _claimed(seen: AttemptSeen) -> str:
    if seen.started is None:
        return f"#{seen.number} never ran"
    return f"#{seen.number} claimed by {seen.worker} at {local_time(seen.started)}"


def _ended(outcome: Outcome) -> str:
    follows = "" if outcome.next_due is None else f", next from {local_time(outcome.next_due)}"
    return f"{outcome.kind.value} at {local_time(outcome.ended)}{follows}"


def _second(moment: float | None) -> str:
    return "" if moment is None else f"{moment:.0f}"


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)

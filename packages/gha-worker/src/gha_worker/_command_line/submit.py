"""``gha-worker submit``: any command as a job, or one job for each line of stdin."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import secrets
import shlex
import shutil
import sys
import tempfile
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gha_worker._command_line.numbers import Number
from gha_worker._command_line.stopping import Stop, StoppedError
from gha_worker._command_line.verdict import MEANINGS, Exit, Verdict, verdict
from gha_worker._errors import InvalidJobError, WorkerError
from gha_worker._jobs.command_job import DEFAULT_TIMEOUT, CommandJob, OnStop, Prepare, Resources
from gha_worker._jobs.need import Need

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Executor, Future
    from typing import IO, NoReturn

    from gha_queue import Job, NewJob, Queue

_AWAY = 600.0
_AT_ONCE = 16
_IN_MEMORY = 2**20
_UNCLAIMED = 10.0
_ALIVE = 90.0
_EXIT_CODES = "Exit codes:\n\n\b\n" + "\n".join(
    f"{code:>5}  {meaning}" for code, meaning in MEANINGS.items()
)


class _CommandOfACommand(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            why = error.format_message()
            raise click.UsageError(f"{why} An option of CMD goes after --.", ctx) from None


@click.command(
    cls=_CommandOfACommand,
    short_help="Run a command as a job: follow its log, exit with its code.",
    epilog=_EXIT_CODES,
)
@click.argument("queue_url")
@click.argument("command", metavar="-- CMD [ARG]...", nargs=-1, required=True)
@click.option(
    "--lines", is_flag=True, help="One job for each line of stdin; {} in CMD stands for the line."
)
@click.option("--detach", is_flag=True, help="Print the id and leave; --id follows it later.")
@click.option(
    "--env",
    "env",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="A variable, with the value that it has here if none is given; may be repeated.",
)
@click.option(
    "--secret",
    "secret_names",
    multiple=True,
    metavar="NAME",
    help="A variable that the worker has and gives to jobs that name it; may be repeated.",
)
@click.option(
    "--cpu",
    type=Number(min=0, min_open=True),
    metavar="CORES",
    default=1.0,
    show_default=True,
    help="Cores that it needs, like 0.5.",
)
@click.option(
    "--memory",
    type=click.IntRange(min=1),
    metavar="MB",
    help="Memory that it needs.  [default: as much of a machine's as of its cores]",
)
@click.option(
    "--timeout",
    type=Number(min=0, min_open=True),
    metavar="SECONDS",
    default=DEFAULT_TIMEOUT,
    show_default=True,
    help="How long it may run, its preparation included.",
)
@click.option(
    "--prepare",
    metavar="SCRIPT",
    help="Bash that runs once per worker before the first such job. What it leaves in "
    "$GHA_WORKER_TEMPLATE is where each job starts.",
)
@click.option(
    "--attempts",
    type=click.IntRange(min=1),
    metavar="N",
    default=1,
    show_default=True,
    help="How often it may run until it succeeds: after failures, or lost with its worker.",
)
@click.option(
    "--on-stop",
    type=click.Choice([choice.value for choice in OnStop]),
    default=OnStop.RELEASE.value,
    show_default=True,
    help="What becomes of it when its worker is stopped: run again elsewhere, or fail.",
)
@click.option(
    "--priority",
    type=click.IntRange(0, 9),
    metavar="N",
    default=5,
    show_default=True,
    help="0 first, 9 last.",
)
@click.option(
    "--delay", type=Number(min=0), metavar="SECONDS", default=0.0, help="It starts no earlier."
)
@click.option("--name", default="", help="What public logs call it.  [default: its id]")
@click.option(
    "--id",
    "job_id",
    help="Safe to put twice: the second one follows the first. With --lines ID-1, ID-2 and so on.",
)
def submit(
    *,
    queue_url: str,
    command: tuple[str, ...],
    lines: bool,
    detach: bool,
    env: tuple[str, ...],
    secret_names: tuple[str, ...],
    cpu: float,
    memory: int | None,
    timeout: float,
    prepare: str | None,
    attempts: int,
    on_stop: str,
    priority: int,
    delay: float,
    name: str,
    job_id: str | None,
) -> None:
    """Put CMD as a job into QUEUE_URL, print its log as it grows, and exit with its code.

    CMD is a command with its arguments, as xargs takes it; for anything else use `bash -c`. It
    runs on whatever machine has a worker: gha-worker run QUEUE_URL. A queue that is not there is
    created. Ctrl-C cancels what was put.

    With --lines every line of stdin is a job. {} stands for it anywhere in CMD; without {} it is
    the last argument. Their logs are printed one after another, in the order of the lines.
    """
    if queue_url.startswith("memory:"):
        raise click.BadParameter("a queue in memory ends with this command: use s3:// or file:///")

    if sys.stdout is None:  # closed by who started this, to whom the exit code is enough
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  # until the end

    from gha_queue import QueueError
    from gha_worker._jobs.submission import new_job

    # Known before anything is put, so that it can be cancelled at any time.
    known = secrets.token_hex(8) if job_id is None else job_id

    def new(number: int | None = None, line: str = "") -> NewJob:
        suffix = "" if number is None else f"-{number}"
        job = CommandJob(
            script=_script(command if number is None else _filled(command, line)),
            env=dict(map(_variable, env)),
            secrets=secret_names,
            prepare=None if prepare is None else Prepare(_key(prepare), prepare),
            timeout=timeout,
            resources=Resources(cpu, memory),
            on_stop=OnStop(on_stop),
            name=name and name + suffix,
            log=True,
        )
        return new_job(
            job, id=known + suffix, max_attempts=attempts, priority=priority, delay=delay
        )

    try:
        items = [new(number, line) for number, line in _lines()] if lines else [new()]
        with Stop() as stop:
            code = _run(queue_url, items, known, stop, lines=lines, detach=detach)
    except (QueueError, WorkerError) as error:
        _say(str(error))
        wrong_usage = isinstance(error, (ValueError, InvalidJobError))
        _leave(Exit.USAGE if wrong_usage else Exit.NEVER_RAN)
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    """Exit at once: neither threads that follow a job nor output that nobody reads is waited for."""
    os._exit(code)


def _run(
    url: str, items: Sequence[NewJob], known: str, stop: Stop, *, lines: bool, detach: bool
) -> int:
    from concurrent.futures import ThreadPoolExecutor

    from gha_queue import StoreUnavailableError

    # In threads, so that a signal breaks off the wait for a request, and never a request.
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        queue = stop.wait(pool.submit(_open, url))
    except StoppedError as stopped:
        _leave(stopped.code)
    try:
        jobs = _put(queue, items)
        stop.check()
        if detach:
            for job in jobs:
                click.echo(job.id)
            return Exit.OK if len(jobs) == len(items) else Exit.SOME_FAILED
        with _calling_for_a_worker(queue, jobs):
            if lines:
                return _show_all(queue, jobs, pool, stop, wanted=len(items))
            return _show_one(queue, jobs[0].id, pool, stop)
    except (BrokenPipeError, StoppedError) as why:
        _cancel(queue, items)
        _leave(why.code if isinstance(why, StoppedError) else Exit.PIPE_CLOSED)
    except OSError as error:
        _say(f"the output cannot be written here ({error.strerror}); {_goes_on(known)}")
        _leave(Exit.NEVER_RAN)
    except StoreUnavailableError:
        _say(_goes_on(known))
        raise


def _goes_on(known: str) -> str:
    return f"what was put goes on, and the same command with --id {known} follows it"


def _put(queue: Queue, items: Sequence[NewJob]) -> list[Job]:
    from gha_queue import PutManyError

    try:
        jobs = queue.put_many(items)
    except PutManyError as error:
        if len(items) == 1:
            raise error.failed[0][1] from None
        for item, why in error.failed:
            _say(f"job {item.id} was not put: {why}")
        jobs = list(error.jobs)
    for job in jobs:
        if job.duplicate:
            _say(f"job {job.id} was put before: that one stands, its command and options too")
    return jobs


def _show_one(queue: Queue, job_id: str, pool: Executor, stop: Stop) -> int:
    end = stop.wait(pool.submit(_show, queue, job_id, sys.stdout.buffer))
    if end.message:
        _say(f"job {job_id}: {end.message}")
    return end.code


@dataclass(frozen=True)
class _Followed:
    job: Job
    log: IO[bytes]
    end: Future[Verdict]


def _show_all(queue: Queue, jobs: Sequence[Job], pool: Executor, stop: Stop, *, wanted: int) -> int:
    """Print one log after another, while the logs of the next few jobs are followed already."""
    begun: deque[_Followed] = deque()
    left = iter(jobs)
    succeeded = 0
    try:
        while True:
            for job in itertools.islice(left, _AT_ONCE - len(begun)):
                log = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  # printed later
                begun.append(_Followed(job, log, pool.submit(_show, queue, job.id, log)))
            if not begun:
                break
            succeeded += _print(begun[0], stop)
            begun.popleft().log.close()
    finally:
        for followed in begun:
            followed.log.close()
    if succeeded == wanted:
        return Exit.OK
    _say(f"{wanted - succeeded} of {wanted} jobs did not succeed")
    return Exit.SOME_FAILED


def _print(followed: _Followed, stop: Stop) -> bool:
    """Print the log of a job when it has ended; whether it succeeded."""
    end = stop.wait(followed.end)
    followed.log.seek(0)
    shutil.copyfileobj(followed.log, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    if end.code != 0:
        _say(f"job {followed.job.id}: {end.message or f'exit code {end.code}'}")
    return end.code == 0


def _show(queue: Queue, job_id: str, out: IO[bytes]) -> Verdict:
    """Write the log of a job to `out` while it grows; how the job ended."""
    from gha_worker._telling.job_log import LIMIT, chunks

    attempt = size = 0
    for chunk in chunks(queue, job_id, patience=_AWAY):
        if chunk.attempt != attempt:
            attempt, size = chunk.attempt, 0
        size += len(chunk.data)
        out.write(chunk.data)
        out.flush()
    outcome = queue.wait(job_id)
    end = verdict(outcome)
    # What is in no log, that of a retry or what lies beyond the limit, may stand in the result.
    if (job_id, attempt) != (outcome.job_id, outcome.attempt) or size > LIMIT:
        out.write(end.tail.encode())
        out.flush()
    return end


def _cancel(queue: Queue, items: Sequence[NewJob]) -> None:
    """Cancel what was put, and say what came of that."""
    from concurrent.futures import ThreadPoolExecutor

    from gha_queue import JobNotFoundError, Outcome, OutcomeKind, QueueError

    def cancel(item: NewJob) -> Outcome | QueueError | None:
        try:
            return queue.cancel(item.id or "")
        except JobNotFoundError:
            return None
        except QueueError as error:
            return error

    cancelled = over = 0
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for item, end in zip(items, pool.map(cancel, items), strict=True):
            if isinstance(end, QueueError):
                _say(f"job {item.id} could not be cancelled: {end}")
            elif end is not None and end.kind is OutcomeKind.CANCELLED:
                cancelled += 1
            else:
                over += 1
    if len(items) == 1 and cancelled:
        _say(f"job {items[0].id} is cancelled")
    elif cancelled or over:
        rest = f"; {over} had ended or were not put" if over else ""
        _say(f"cancelled {cancelled} of {len(items)} jobs{rest}")


@contextlib.contextmanager
def _calling_for_a_worker(queue: Queue, jobs: Sequence[Job]) -> Iterator[None]:
    """Say once that nobody has taken the first job, if that is so for long."""

    def look() -> None:
        from gha_queue import QueueError

        with contextlib.suppress(QueueError):
            newest = queue.history(first.id).attempts[-1]
            if newest.started is None and newest.outcome is None:
                _say(f"job {first.id} waits for {_awaited(queue, first)}")

    if not jobs:
        yield
        return
    first = jobs[0]
    timer = threading.Timer(_UNCLAIMED + max(0.0, first.due - queue.now), look)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _awaited(queue: Queue, job: Job) -> str:
    """What an unclaimed job lacks, and how to get it."""
    from gha_queue import Status

    if queue.state().status is Status.PAUSED:
        return f"the end of a pause: gha-queue resume -q {queue.url}"
    workers = sum(not worker.left and worker.age < _ALIVE for worker in queue.workers())
    if not workers:
        return f"a worker; to start one: gha-worker run {queue.url}"
    need = Need.parse(job.need) or Need()
    here = "the worker here has" if workers == 1 else f"the {workers} workers here have"
    return f"{need}: {here} not had that free; to start another: gha-worker run {queue.url}"


def _open(url: str) -> Queue:
    """The queue of this address, created if it is not there."""
    from gha_queue import Queue, QueueNotFoundError
    from gha_worker._machine.environment import drop_empty_aws

    drop_empty_aws(os.environ)
    queue = Queue.attach(url)
    try:
        queue.state()
    except QueueNotFoundError:
        queue = Queue(url)
        queue.create()
    return queue


def _script(command: Sequence[str]) -> str:
    try:
        return "exec -- " + shlex.join(command).encode().decode()
    except UnicodeEncodeError:
        raise click.BadParameter("CMD must be UTF-8 text, since jobs are JSON") from None


def _filled(command: Sequence[str], line: str) -> list[str]:
    if any("{}" in word for word in command):
        return [word.replace("{}", line) for word in command]
    return [*command, line]


def _lines() -> Iterator[tuple[int, str]]:
    """Every line of stdin that is not empty, numbered as an editor numbers it."""
    if sys.stdin is None:
        raise click.UsageError(
            "--lines reads stdin, which is closed; give it one line for each job"
        )
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise click.UsageError(
            f"stdin is not UTF-8 ({error}); pass it through iconv first, since jobs are JSON"
        ) from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


def _variable(given: str) -> tuple[str, str]:
    name, is_given, value = given.partition("=")
    if is_given:
        return name, value
    if name not in os.environ:
        raise click.BadParameter(f"--env {name}: it has no value here; write {name}=VALUE")
    return name, os.environ[name]


def _key(script: str) -> str:
    return hashlib.sha256(script.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _say(text: str) -> None:
    # Nobody may be listening any more, and the job matters more.
    with contextlib.suppress(OSError):
        click.echo(f"gha-worker: {text}", err=True)

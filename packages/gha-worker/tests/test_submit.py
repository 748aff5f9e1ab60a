"""Jobs put from Python and from a shell, and what becomes of those that wait for them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from process_watch import eventually

from gha_queue import OutcomeKind, Queue
from gha_queue.testing import Answer, Delay, FaultProxy
from gha_worker import CommandJob, CommandResult, Reason, Resources, submit
from gha_worker._command_line.submit import _awaited
from gha_worker._command_line.verdict import Exit, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conftest import Workers

    from gha_queue import Job, Outcome
    from gha_queue.testing import S3Server

    Start = Callable[..., subprocess.Popen[bytes]]

PATIENCE = 60.0


@pytest.fixture
def start(workers: Workers) -> Iterator[Start]:
    """Starts the command line in a process of its own, as a shell does."""
    started: list[subprocess.Popen[bytes]] = []

    def start(
        *arguments: str, url: str | None = None, lines: bytes = b"", **variables: str
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "gha_worker", "submit", url or workers.url, *arguments],
            env={**workers.environment, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdin is not None
        process.stdin.write(lines)
        process.stdin.close()
        process.stdin = None
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def end_of(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out.decode(), err.decode()


def only_job(queue: Queue) -> Job:
    """The one job that was put, as soon as it has been."""
    seen = eventually(lambda: list(queue.jobs()))
    assert len(seen) == 1
    job = queue.job(seen[0].id)
    assert job is not None
    return job


def ended(queue: Queue, job: CommandJob, *, error: object) -> Outcome:
    """How a job ends that fails with this error."""
    put = submit(queue, job)
    claim = eventually(lambda: queue.claim("tester"))
    assert claim is not None
    claim.fail(error)
    return queue.wait(put.id)


def test_a_job_is_put_with_what_it_needs(queue: Queue) -> None:
    job = CommandJob("true", resources=Resources(1.5, 4096), timeout=600.0)
    put = submit(queue, job, id="mine", max_attempts=3, priority=2, delay=60.0)
    assert (put.id, put.need, put.max_attempts, put.priority) == ("mine", "c1500m4096t600", 3, 2)
    assert CommandJob.from_payload(put.payload) == job
    assert put.due >= queue.now + 58
    assert submit(queue, CommandJob("false"), id="mine").duplicate


def test_a_command_prints_what_its_job_prints_while_it_runs_and_exits_with_its_code(
    queue: Queue, workers: Workers, start: Start, tmp_path: Path
) -> None:
    workers.start()
    script = (
        f"printf 'one\\n'; until test -e {tmp_path}/go; do sleep 0.1; done; echo two >&2; exit 9"
    )
    command = start("--", "bash", "-c", script)
    assert command.stdout is not None
    assert command.stdout.readline() == b"one\n"
    (tmp_path / "go").touch()
    assert end_of(command) == (9, "two\n", "")


def test_the_log_has_every_attempt_and_no_secret(workers: Workers, start: Start) -> None:
    script = 'echo "$GHA_WORKER_ATTEMPT: $KEY."; test $GHA_WORKER_ATTEMPT = 2'
    workers.start(KEY="k-value-5d1")
    command = start("--attempts", "2", "--secret", "KEY", "--", "bash", "-c", script)
    assert end_of(command) == (0, "1: ***.\n2: ***.\n", "")


def test_every_end_has_its_exit_code(queue: Queue, workers: Workers, start: Start) -> None:
    commands = [
        start("--", "true"),
        start("--", "bash", "-c", "kill -TERM $$"),
        start("--", "no-such-command"),
        start("--timeout", "0.5", "--", "sleep", "60"),
        start("--prepare", "echo half way; exit 4", "--", "echo", "never"),
    ]
    workers.start()
    ends = [end_of(command) for command in commands]
    assert [code for code, _, _ in ends] == [0, 143, 127, Exit.TIMED_OUT, Exit.NEVER_RAN]
    assert ends[0][1:] == ("", "")
    assert "signal SIGTERM" in ends[1][2]
    assert "no-such-command: not found" in ends[2][1]
    assert "time limit of 0.5 s" in ends[3][2]
    assert ends[4][1] == "half way\n"
    assert re.match(r"gha-worker: job \w+: The preparation ended with exit code 4", ends[4][2])


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (CommandResult(Reason.STOPPED, None, None, 0.0, "why", ""), Exit.LOST),
        (CommandResult(Reason.VM_LIFETIME, None, "SIGKILL", 0.0, "why", ""), Exit.LOST),
        (CommandResult(Reason.BAD_JOB, None, None, 0.0, "why", ""), Exit.NEVER_RAN),
        (CommandResult(Reason.OUT_OF_MEMORY, None, "SIGKILL", 0.0, "why", ""), 137),
        (CommandResult(Reason.EXITED, None, "SIG34", 0.0, "why", ""), 128 + 34),
    ],
)
def test_a_job_without_an_exit_code_of_its_own_has_one_and_a_sentence(
    queue: Queue, result: CommandResult, code: int
) -> None:
    said = verdict(ended(queue, CommandJob("true"), error=result.to_json()))
    assert (said.code, said.message) == (code, "why")


def test_a_job_that_no_worker_of_commands_ended_is_told_as_that(queue: Queue) -> None:
    said = verdict(ended(queue, CommandJob("true"), error="some other program's error"))
    assert said.code == Exit.NEVER_RAN
    assert "no result of a command job" in said.message


def test_a_job_whose_worker_vanished_is_lost(queue: Queue, start: Start) -> None:
    command = start("--", "true")
    assert eventually(lambda: queue.claim("vanished")) is not None
    code, _, said = end_of(command)  # the command itself finds out that the lease is over
    assert code == Exit.LOST
    assert "lost with worker vanished" in said


def test_a_job_that_somebody_cancels_says_so(queue: Queue, start: Start) -> None:
    command = start("--", "true")
    assert queue.cancel(only_job(queue).id).kind is OutcomeKind.CANCELLED
    code, _, said = end_of(command)
    assert code == Exit.CANCELLED
    assert "was cancelled" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_the_job_and_says_so(
    queue: Queue, start: Start, number: signal.Signals
) -> None:
    command = start("--", "sleep", "60")
    job = only_job(queue)
    command.send_signal(number)
    code, _, said = end_of(command)
    assert code == 128 + number
    assert said == f"gha-worker: job {job.id} is cancelled\n"
    outcome = queue.outcome(job.id)
    assert outcome is not None
    assert outcome.kind is OutcomeKind.CANCELLED


def test_a_signal_that_comes_twice_at_once_cancels_the_job_as_well(
    queue: Queue, start: Start
) -> None:
    command = start("--", "sleep", "60")
    job = only_job(queue)
    command.send_signal(signal.SIGINT)
    command.send_signal(signal.SIGTERM)
    code, _, said = end_of(command)
    assert code in {130, 143}
    assert said == f"gha-worker: job {job.id} is cancelled\n"


def test_a_second_signal_ends_a_command_whose_store_hangs(
    s3: S3Server, queue: Queue, start: Start
) -> None:
    with FaultProxy(s3.endpoint) as proxy:
        command = start("--", "sleep", "60", AWS_ENDPOINT_URL_S3=proxy.endpoint)
        only_job(queue)
        proxy.plan = lambda _: Delay(PATIENCE)

        def ended() -> bool:
            command.send_signal(signal.SIGINT)
            return command.poll() is not None

        eventually(ended)
        assert command.wait(PATIENCE) == 130


def test_a_reader_that_goes_away_cancels_the_job(
    queue: Queue, workers: Workers, start: Start
) -> None:
    workers.start()
    command = start("--", "bash", "-c", "while echo more; do sleep 0.2; done")
    assert command.stdout is not None
    assert command.stdout.readline() == b"more\n"
    command.stdout.close()
    command.stdout = None
    assert command.wait(PATIENCE) == Exit.PIPE_CLOSED
    outcome = queue.outcome(only_job(queue).id)
    assert outcome is not None
    assert outcome.kind is OutcomeKind.CANCELLED


def test_options_say_what_the_job_is(queue: Queue, start: Start) -> None:
    options = "--detach --env A=1=2 --env MINE --secret KEY --cpu 0.5 --memory 512 --timeout 60"
    more = "--attempts 3 --on-stop fail --priority 1 --name report --id r --prepare make"
    command = start(*options.split(), *more.split(), "--", "echo", "it's", "$HOME", MINE="m")
    assert end_of(command) == (0, "r\n", "")
    put = queue.job("r")
    assert put is not None
    assert (put.max_attempts, put.priority, put.need) == (3, 1, "c500m512t60")
    job = CommandJob.from_payload(put.payload)
    assert job.script == "exec -- echo 'it'\"'\"'s' '$HOME'"
    assert (job.env, job.secrets) == ({"A": "1=2", "MINE": "m"}, ("KEY",))
    assert (job.name, job.on_stop.value, job.log) == ("report", "fail", True)
    assert job.prepare is not None
    assert job.prepare.script == "make"


def test_a_detached_job_is_followed_by_its_id(queue: Queue, workers: Workers, start: Start) -> None:
    assert end_of(start("--detach", "--id", "x", "--", "echo", "hello"))[:2] == (0, "x\n")
    workers.start()
    code, log, said = end_of(start("--id", "x", "--", "echo", "something else"))
    assert (code, log) == (0, "hello\n")
    assert said.startswith("gha-worker: job x was put before: that one stands")


def test_a_queue_that_is_not_there_is_created(tmp_path: Path, start: Start) -> None:
    url = f"file://{tmp_path}/new"
    assert end_of(start("--detach", "--id", "x", "--", "true", url=url)) == (0, "x\n", "")
    assert Queue.attach(url).job("x") is not None


def test_lines_become_jobs_whose_logs_come_in_their_order(
    queue: Queue, workers: Workers, start: Start
) -> None:
    evil = "a 'b' \"c\" $(touch no) ; exit 5 #"
    lines = f"0.9\n\n0.0\n{evil}\n".encode()
    script = 'sleep "$1" 2>/dev/null; echo "<$1>"; echo "again $1"'
    workers.start()
    command = start("--lines", "--id", "l", "--", "bash", "-c", script, "-", lines=lines)
    code, log, said = end_of(command)
    assert (code, said) == (0, "")
    assert log == "".join(f"<{line}>\nagain {line}\n" for line in ("0.9", "0.0", evil))
    assert {seen.id for seen in queue.jobs()} == {"l-1", "l-3", "l-4"}  # as an editor counts


def test_braces_stand_for_the_line_and_one_failure_is_exit_code_123(
    queue: Queue, workers: Workers, start: Start
) -> None:
    workers.start()
    command = start("--lines", "--", "bash", "-c", "echo {}-{}; exit {}", lines=b"0\n3\n0")
    code, log, said = end_of(command)
    assert (code, log) == (Exit.SOME_FAILED, "0-0\n3-3\n0-0\n")
    assert re.fullmatch(
        r"gha-worker: job \w+-2: exit code 3\ngha-worker: 1 of 3 jobs did not succeed\n", said
    )


def test_a_signal_cancels_the_jobs_of_all_lines(queue: Queue, start: Start) -> None:
    lines = b"".join(b"%d\n" % number for number in range(40))
    command = start("--lines", "--", "sleep", lines=lines)
    eventually(lambda: queue.stats().ready == 40)
    claim = queue.claim("tester")
    assert claim is not None
    claim.complete()
    command.send_signal(signal.SIGINT)
    code, _, said = end_of(command)
    assert code == 130
    assert said == "gha-worker: cancelled 39 of 40 jobs; 1 had ended or were not put\n"
    assert queue.stats().dead == 39


def test_no_lines_are_no_jobs(start: Start) -> None:
    assert end_of(start("--lines", "--", "false", lines=b"\n")) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--detach"], "Missing argument"),
        (["ls", "-l"], "goes after --"),
        (["--env", "NOT_SET_HERE", "--", "true"], "NOT_SET_HERE=VALUE"),
        (["--env", "1=2", "--", "true"], "no shell can read"),
        (["--secret", "GITHUB_TOKEN", "--", "true"], "belongs to the workflow run"),
        (["--cpu", "0", "--", "true"], "'--cpu'"),
        (["--cpu", "nan", "--", "true"], "'--cpu'"),
        (["--cpu", "inf", "--", "true"], "resources.cpu"),
        (["--memory", "0", "--", "true"], "'--memory'"),
        (["--timeout", "nan", "--", "true"], "'--timeout'"),
        (["--priority", "10", "--", "true"], "'--priority'"),
        (["--delay", "-1", "--", "true"], "'--delay'"),
        (["--id", "", "--", "true"], "is no job id"),
        (["--id", "no/id", "--", "true"], "no/id"),
        (["--attempts", "0", "--", "true"], "'--attempts'"),
        (["--lines", "--", "true", os.fsdecode(b"\xff")], "UTF-8"),
    ],
)
def test_wrong_usage_exits_with_two(start: Start, arguments: Sequence[str], said: str) -> None:
    code, _, error = end_of(start(*arguments, lines=b"x\n"))
    assert code == Exit.USAGE
    assert said in error
    assert "Traceback" not in error


def test_lines_that_are_no_text_exit_with_two(
    start: Start,
) -> None:
    code, _, said = end_of(start("--lines", "--", "true", lines=b"\xff\n"))
    assert (code, "stdin is not UTF-8" in said) == (Exit.USAGE, True)


@pytest.mark.parametrize(
    ("url", "code"), [("s3://no-such-bucket/q", 125), ("ftp://host/q", 2), ("memory://q", 2)]
)
def test_a_queue_that_cannot_be_used_is_one_sentence(start: Start, url: str, code: int) -> None:
    ended, _, said = end_of(start("--", "true", url=url))
    assert ended == code
    assert "Traceback" not in said


def test_a_closed_queue_takes_no_job(queue: Queue, start: Start) -> None:
    queue.close()
    code, _, said = end_of(start("--", "true"))
    assert code == Exit.NEVER_RAN
    assert "is closed" in said


def test_a_job_that_nobody_takes_says_how_to_start_a_worker(queue: Queue, start: Start) -> None:
    command = start("--", "true")
    assert command.stderr is not None
    job = only_job(queue)
    said = command.stderr.readline().decode()
    assert said == (
        f"gha-worker: job {job.id} waits for a worker; to start one: gha-worker run {queue.url}\n"
    )


def test_a_job_in_a_paused_queue_waits_for_the_end_of_the_pause(queue: Queue) -> None:
    job = submit(queue, CommandJob("true"))
    queue.pause()
    assert _awaited(queue, job) == f"the end of a pause: gha-queue resume -q {queue.url}"


def test_a_job_that_no_worker_has_room_for_waits_for_what_it_needs(queue: Queue) -> None:
    job = submit(queue, CommandJob("true", resources=Resources(cpu=64, memory_mb=9000)))
    queue.enroll("small", {})
    queue.enroll("gone", {})
    queue.leave("gone")
    assert _awaited(queue, job) == (
        "64 cores and 9000 MB: the worker here has not had that free; to start another:"
        f" gha-worker run {queue.url}"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_log_that_cannot_be_written_leaves_its_job_alone(queue: Queue, workers: Workers) -> None:
    workers.start()
    command = ["submit", queue.url, "--id", "x", "--", "echo", "said"]
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "gha_worker", *command],
            env=workers.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ran.returncode == Exit.NEVER_RAN
    assert ran.stderr == (
        "gha-worker: the output cannot be written here (No space left on device); what was put goes"
        " on, and the same command with --id x follows it\n"
    )
    assert queue.wait("x").kind is OutcomeKind.SUCCEEDED


@pytest.mark.parametrize(
    ("closed", "arguments", "code", "said"),
    [
        (">&-", "-- bash -c 'echo said; exit 3'", 3, ""),
        (">&-", "--detach -- true", 0, ""),
        ("<&-", "-- true", 0, ""),
        ("<&-", "--lines -- true", 2, "stdin, which is closed"),
    ],
)
def test_a_stream_that_is_closed_from_the_start_is_no_crash(
    workers: Workers, closed: str, arguments: str, code: int, said: str
) -> None:
    workers.start()
    script = f"{sys.executable} -m gha_worker submit {workers.url} {arguments} {closed}"
    ran = subprocess.run(
        ["bash", "-c", script], env=workers.environment, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (code, "")
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_who_follows_a_retried_job_sees_how_the_retry_ended(queue: Queue, start: Start) -> None:
    submit(queue, CommandJob("true"), id="x")
    for code in (4, 0):
        claim = eventually(lambda: queue.claim("tester"))
        assert claim is not None
        result = CommandResult(Reason.EXITED, code, None, 0.1, "why", f"tail {code}\n").to_json()
        if code:
            claim.fail(result)
            queue.retry("x")
        else:
            claim.complete(result)
    assert end_of(start("--id", "x", "--", "true"))[:2] == (0, "tail 0\n")


def test_a_store_that_stays_away_says_how_to_go_on(
    s3: S3Server, queue: Queue, start: Start
) -> None:
    with FaultProxy(s3.endpoint) as proxy:
        proxy.plan = lambda request: Answer(503, "SlowDown") if "jobs/x" in request.key else None
        command = start("--id", "x", "--", "true", AWS_ENDPOINT_URL_S3=proxy.endpoint)
        code, _, said = end_of(command)
    assert code == Exit.NEVER_RAN
    assert "the same command with --id x follows it" in said
    assert "gives no usable answer" in said

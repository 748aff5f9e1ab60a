from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from gha_queue import NewJob, OutcomeKind, Queue, State
from gha_queue.cli._child import Child
from gha_queue.cli._signals import Signals
from gha_queue.testing import Answer, FaultProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gha_queue import Outcome
    from gha_queue.testing import ProxiedRequest, S3Server

    Eventually = Callable[[Callable[[], object]], None]
    Start = Callable[..., subprocess.Popen[str]]

# Reports its own process id and that of a child, ignores SIGTERM, and stays.
STUBBORN = 'trap "" TERM; sleep 600 & echo $$ $! > "$0.new"; mv "$0.new" "$0"; wait; sleep 600'
PATIENT = 'sleep 600 & echo $$ $! > "$0.new"; mv "$0.new" "$0"; wait'


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    queue = Queue(f"file://{tmp_path}/queue", lease=3, heartbeat=1)
    queue.create()
    return queue


@pytest.fixture
def start(queue: Queue) -> Iterator[Start]:
    """Start `gha-queue work` as a process, with text pipes; it is killed when the test ends."""
    with contextlib.ExitStack() as stack:

        def start_worker(
            *arguments: str, url: str = queue.url, environment: dict[str, str] | None = None
        ) -> subprocess.Popen[str]:
            worker = subprocess.Popen(
                [sys.executable, "-m", "gha_queue", "work", "-q", url, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, **(environment or {})},
            )
            stack.enter_context(worker)
            stack.callback(worker.kill)
            return worker

        yield start_worker


@pytest.fixture
def work(start: Start) -> Callable[..., list[str]]:
    """Run a worker to its end; what it said, line by line."""

    def run(*arguments: str) -> list[str]:
        worker = start(*arguments)
        _, said = worker.communicate(timeout=60)
        assert worker.returncode == 0, said
        return said.splitlines()

    return run


def outcome(queue: Queue, job_id: str) -> Outcome:
    found = queue.outcome(job_id)
    assert found is not None
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has waited for does not."""
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listed.returncode == 0 and not listed.stdout.strip().startswith("Z")


@pytest.fixture
def pids(tmp_path: Path, eventually: Eventually) -> Iterator[Callable[[], list[int]]]:
    """The processes of the running command, once it has told them; none outlives the test."""
    file = tmp_path / "pids"

    def read() -> list[int]:
        eventually(file.exists)
        return [int(pid) for pid in file.read_text().split()]

    yield read
    if file.exists():
        for pid in read():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_a_job_is_its_payload_on_stdin_and_its_stdout_as_result(
    queue: Queue, work: Callable[..., list[str]]
) -> None:
    queue.put({"n": [1, "ü"]}, id="a")
    said = work("--drain", "--name", "w1", "--", "cat")
    done = outcome(queue, "a")
    assert (done.kind, done.result, done.worker) == (OutcomeKind.SUCCEEDED, {"n": [1, "ü"]}, "w1")
    assert said[0] == "gha-queue: job a, attempt 1: started"
    assert said[1].startswith("gha-queue: job a, attempt 1: succeeded after ")
    assert said[2:] == ["gha-queue: w1: leaves: the queue is drained"]


def test_the_command_learns_what_it_runs_for(queue: Queue, work: Callable[..., list[str]]) -> None:
    queue.put(1, id="a")
    work("--drain", "--name", "w1", "--", "sh", "-c", "env | grep ^GHA_QUEUE_ | sort")
    assert outcome(queue, "a").result.splitlines() == [
        "GHA_QUEUE_ATTEMPT=1",
        "GHA_QUEUE_JOB_ID=a",
        f"GHA_QUEUE_URL={queue.url}",
        "GHA_QUEUE_WORKER=w1",
    ]


@pytest.mark.parametrize(
    ("script", "result"),
    [
        ("true", None),
        ("echo 5", 5),
        ("echo five", "five\n"),
        ("echo NaN", "NaN\n"),
        (r"printf '\377x'", "\ufffdx"),
        ("printf '\"%0250000d\"' 7", "0" * 249999 + "7"),
        ("printf '\"%0270000d\"' 7", '"' + "0" * 40959),
        ("yes | head -c 9000000", "y\n" * 20480),
    ],
    ids=["none", "number", "text", "no JSON", "no UTF-8", "fits", "too large", "far too large"],
)
def test_stdout_becomes_json_or_text_that_fits(
    queue: Queue, work: Callable[..., list[str]], script: str, result: object
) -> None:
    queue.put(1, id="a")
    work("--drain", "--", "sh", "-c", script)
    done = outcome(queue, "a")
    assert done.kind is OutcomeKind.SUCCEEDED
    assert done.result == result


def test_a_large_payload_does_not_block_a_command_that_does_not_read(
    queue: Queue, work: Callable[..., list[str]]
) -> None:
    queue.put("x" * 250_000, id="a")
    work("--drain", "--", "true")
    assert outcome(queue, "a").kind is OutcomeKind.SUCCEEDED


def test_a_failure_tells_its_code_and_the_end_of_stderr(
    queue: Queue, work: Callable[..., list[str]]
) -> None:
    queue.put(1, id="a", max_attempts=2, backoff=0)
    script = "yes early | head -n 20000 >&2; echo no such file >&2; exit 3"
    said = work("--drain", "--", "sh", "-c", script)
    done = outcome(queue, "a")
    assert (done.kind, done.attempt) == (OutcomeKind.FAILED, 2)
    assert done.error["reason"] == "exit"
    assert done.error["message"] == "exit code 3: no such file"
    assert done.error["exit_code"] == 3
    assert done.error["stderr"].endswith("early\nno such file\n")
    assert len(done.error["stderr"]) == 4096
    assert "no such file" in said  # passed on as it came


def test_one_bad_job_ends_neither_the_worker_nor_the_others(
    queue: Queue, work: Callable[..., list[str]]
) -> None:
    for job_id in ("bad", "good"):
        queue.put(job_id, id=job_id, priority=0 if job_id == "bad" else 9, max_attempts=9)
    script = 'if grep -q bad; then kill -9 "$$"; fi'
    work("--drain", "--no-retry", "--", "sh", "-c", script)
    assert outcome(queue, "good").kind is OutcomeKind.SUCCEEDED
    bad = outcome(queue, "bad")
    assert (bad.attempt, bad.error["exit_code"]) == (1, 137)


def test_exit_code_75_puts_the_job_to_sleep_at_no_cost(
    queue: Queue, work: Callable[..., list[str]]
) -> None:
    queue.put(1, id="a")
    said = work("--max-jobs", "1", "--snooze", "1h", "--", "sh", "-c", "exit 75")
    assert "released" in said[1]
    assert "again in 1h" in said[1]
    (delayed,) = queue.jobs(State.DELAYED)
    assert (delayed.id, delayed.attempt) == ("a", 2)
    assert outcome_of_attempt(queue, "a", 1).used == 0


def outcome_of_attempt(queue: Queue, job_id: str, number: int) -> Outcome:
    found = queue.history(job_id).attempts[number - 1].outcome
    assert found is not None
    return found


def test_a_job_over_its_time_is_ended_with_all_it_started(
    queue: Queue,
    work: Callable[..., list[str]],
    tmp_path: Path,
    pids: Callable[[], list[int]],
) -> None:
    queue.put(1, id="a")
    work("--drain", "--timeout", "1", "--", "sh", "-c", PATIENT, f"{tmp_path}/pids")
    assert outcome(queue, "a").error["reason"] == "timeout"
    assert not any(map(alive, pids()))


def test_what_a_command_leaves_running_ends_with_it(
    queue: Queue,
    work: Callable[..., list[str]],
    tmp_path: Path,
    pids: Callable[[], list[int]],
) -> None:
    queue.put(1, id="a")
    script = 'sleep 600 & echo $! > "$0"; echo 1'
    work("--drain", "--", "sh", "-c", script, f"{tmp_path}/pids")
    assert outcome(queue, "a").result == 1
    assert not any(map(alive, pids()))


@pytest.mark.parametrize(
    "ends", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_gives_the_job_back_and_ends_the_worker(
    queue: Queue,
    start: Start,
    tmp_path: Path,
    pids: Callable[[], list[int]],
    ends: tuple[signal.Signals, int],
) -> None:
    number, code = ends
    queue.put(1, id="a")
    worker = start("--", "sh", "-c", PATIENT, f"{tmp_path}/pids")
    started = pids()
    worker.send_signal(number)
    _, said = worker.communicate(timeout=30)
    assert worker.returncode == code
    assert said.endswith(f"leaves: {number.name}\n")
    assert not any(map(alive, started))
    released = outcome_of_attempt(queue, "a", 1)
    assert (released.kind, released.used) == (OutcomeKind.RELEASED, 0)


def test_ctrl_c_reaches_the_worker_and_not_the_command(
    queue: Queue, tmp_path: Path, pids: Callable[[], list[int]]
) -> None:
    queue.put(1, id="a")
    spawn = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"
    script = "trap 'touch \"$0.interrupted\"' INT; " + PATIENT
    worker = [sys.executable, "-m", "gha_queue", "work", "-q", queue.url]
    with subprocess.Popen(
        [sys.executable, "-c", spawn, *worker, "--", "sh", "-c", script, f"{tmp_path}/pids"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as terminal:
        started = pids()
        said, _ = terminal.communicate(b"\x03", timeout=30)
    assert terminal.returncode == 130
    assert said.endswith(b"leaves: SIGINT\r\n")
    assert not any(map(alive, started))
    assert not (tmp_path / "pids.interrupted").exists()


def test_a_worker_under_nohup_outlives_its_terminal(queue: Queue, start: Start) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # processes inherit it
    try:
        worker = start("--max-jobs", "2", "--json", "--", "cat")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert worker.stdout is not None
    queue.put(1, id="a")
    worker.stdout.readline()
    worker.send_signal(signal.SIGHUP)
    queue.put(1, id="b")
    assert worker.wait(timeout=30) == 0


def test_an_idle_worker_leaves_at_once_on_a_signal(queue: Queue, start: Start) -> None:
    worker = start("--json", "--", "cat")
    queue.put(1, id="a")
    assert worker.stdout is not None
    events = [json.loads(worker.stdout.readline()) for _ in range(2)]
    worker.terminate()
    rest, _ = worker.communicate(timeout=10)
    assert [event["event"] for event in events] == ["started", "succeeded"]
    assert json.loads(rest)["why"] == "SIGTERM"
    assert worker.returncode == 143


def test_a_cancelled_job_is_ended_even_if_it_ignores_sigterm(
    queue: Queue, start: Start, tmp_path: Path, pids: Callable[[], list[int]]
) -> None:
    queue.put(1, id="a")
    worker = start("--max-jobs", "1", "--json", "--", "sh", "-c", STUBBORN, f"{tmp_path}/pids")
    started = pids()
    assert all(map(alive, started))
    queue.cancel("a")
    said, _ = worker.communicate(timeout=30)
    assert [json.loads(line)["event"] for line in said.splitlines()] == [
        "started",
        "cancelled",
        "leaves",
    ]
    assert not any(map(alive, started))


def test_a_queue_that_is_cancelled_ends_what_runs_and_its_workers(
    queue: Queue, start: Start, tmp_path: Path, pids: Callable[[], list[int]]
) -> None:
    queue.put(1, id="a")
    worker = start("--", "sh", "-c", PATIENT, f"{tmp_path}/pids")
    started = pids()
    queue.close(cancel=True)
    _, said = worker.communicate(timeout=30)
    assert worker.returncode == 0
    assert said.endswith("leaves: the queue is cancelled\n")
    assert outcome(queue, "a").kind is OutcomeKind.CANCELLED
    assert not any(map(alive, started))


def test_a_killed_worker_leaves_no_command_behind(
    queue: Queue,
    start: Start,
    tmp_path: Path,
    pids: Callable[[], list[int]],
    eventually: Eventually,
) -> None:
    queue.put(1, id="a")
    worker = start("--json", "--", "sh", "-c", STUBBORN, f"{tmp_path}/pids")
    assert worker.stdout is not None
    assert json.loads(worker.stdout.readline())["event"] == "started"
    started = pids()
    worker.kill()
    worker.wait(timeout=10)
    eventually(lambda: not any(map(alive, started)))


def test_a_frozen_worker_does_not_let_its_command_outlive_the_lease(
    queue: Queue,
    start: Start,
    tmp_path: Path,
    pids: Callable[[], list[int]],
    eventually: Eventually,
) -> None:
    queue.put(1, id="a")
    worker = start("--max-jobs", "1", "--json", "--", "sh", "-c", PATIENT, f"{tmp_path}/pids")
    assert worker.stdout is not None
    assert json.loads(worker.stdout.readline())["event"] == "started"
    started = pids()
    worker.send_signal(signal.SIGSTOP)
    try:
        eventually(lambda: not any(map(alive, started)))
        eventually(queue.reap)
    finally:
        worker.send_signal(signal.SIGCONT)
    said, _ = worker.communicate(timeout=30)
    assert json.loads(said.splitlines()[0])["event"] == "lost"


def test_a_paused_queue_is_left_alone_until_it_is_resumed(
    queue: Queue, start: Start, work: Callable[..., list[str]]
) -> None:
    queue.put(1, id="a")
    queue.pause()
    said = work("--idle-timeout", "1", "--", "cat")
    assert len(said) == 1
    assert "leaves: no job for" in said[0]
    worker = start("--max-jobs", "1", "--", "cat")
    queue.resume()
    worker.communicate(timeout=30)
    assert outcome(queue, "a").kind is OutcomeKind.SUCCEEDED


def test_a_worker_leaves_when_its_queue_is_closed_and_drained(
    queue: Queue, work: Callable[..., list[str]]
) -> None:
    queue.put(1, id="a")
    queue.close()
    said = work("--", "cat")
    assert outcome(queue, "a").kind is OutcomeKind.SUCCEEDED
    assert said[-1].endswith("leaves: the queue is closed and drained")


def test_the_lost_attempt_of_another_worker_is_reaped_and_run(
    queue: Queue, work: Callable[..., list[str]]
) -> None:
    queue.put(1, id="a", max_attempts=2)
    assert queue.claim("dead") is not None
    work("--drain", "--", "cat")
    done = outcome(queue, "a")
    assert (done.kind, done.attempt) == (OutcomeKind.SUCCEEDED, 2)


@pytest.mark.parametrize("text", ["#!/no/such/interpreter\n", "echo no shebang\n"])
def test_a_command_that_cannot_be_started_gives_its_job_back(
    queue: Queue, start: Start, tmp_path: Path, text: str
) -> None:
    script = tmp_path / "command"
    script.write_text(text)
    script.chmod(0o755)
    queue.put(1, id="a")
    worker = start("--", str(script))
    _, said = worker.communicate(timeout=30)
    assert worker.returncode == 2
    assert "or a script with a #! line?" in " ".join(said.split())
    assert outcome_of_attempt(queue, "a", 1).kind is OutcomeKind.RELEASED


def test_a_command_that_is_not_executable_is_told_from_one_that_is_not_there(
    start: Start, tmp_path: Path
) -> None:
    script = tmp_path / "command"
    script.write_text("#!/bin/sh\n")
    worker = start("--", str(script))
    _, said = worker.communicate(timeout=30)
    assert worker.returncode == 2
    assert "is not an executable file" in " ".join(said.split())


def test_a_group_that_was_ended_is_not_signalled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    signalled: list[int] = []
    with Child(["true"], None, os.environ) as child:
        os.waitid(os.P_PID, child.group, os.WEXITED | os.WNOWAIT)
        assert child.poll() == 0
        monkeypatch.setattr(os, "killpg", lambda group, _: signalled.append(group))
    assert signalled == []


def test_what_hangs_is_broken_off_some_seconds_after_the_first_signal_or_at_the_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gha_queue.cli._signals.GRACE", 0.05)
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(2):  # what cleans up may hang as well
            with pytest.raises(KeyboardInterrupt):
                threading.Event().wait(60)
        monkeypatch.undo()
        assert signals.received is signal.SIGTERM
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received is signal.SIGINT


def test_a_second_signal_ends_a_worker_whose_store_hangs_from_the_start(
    server: S3Server, start: Start
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = {**server.environment, "AWS_ENDPOINT_URL_S3": endpoint}
        worker = start("--", "cat", url="s3://jobs/silent", environment=environment)
        connection, _ = silent.accept()
        with connection:
            worker.terminate()
            worker.send_signal(signal.SIGINT)
            worker.communicate(timeout=30)
    assert worker.returncode in {130, 143}  # the system may deliver them in any order


def test_a_second_signal_ends_a_worker_and_its_command_while_the_store_hangs(
    server: S3Server,
    proxy: FaultProxy,
    start: Start,
    tmp_path: Path,
    pids: Callable[[], list[int]],
) -> None:
    url = f"s3://jobs/hanging-{os.getpid()}"
    environment = {**server.environment, "AWS_ENDPOINT_URL_S3": proxy.endpoint}
    put("a", url, environment)
    worker = start(
        *("--json", "--", "sh", "-c", PATIENT, f"{tmp_path}/pids"), url=url, environment=environment
    )
    started = pids()
    asked, go_on = threading.Event(), threading.Event()

    def plan(request: ProxiedRequest) -> None:
        if request.method == "PUT":
            asked.set()
            go_on.wait(60)

    proxy.plan = plan
    try:
        worker.terminate()
        assert asked.wait(30)
        worker.terminate()
        said, _ = worker.communicate(timeout=30)
    finally:
        go_on.set()
    assert worker.returncode == 143
    assert not any(map(alive, started))
    assert json.loads(said.splitlines()[-1])["why"].endswith("others will reap it")


def test_a_reader_of_stderr_that_stalls_holds_up_no_worker(queue: Queue, start: Start) -> None:
    queue.put(1, id="a")
    worker = start("--max-jobs", "1", "--timeout", "1", "--json", "--", "sh", "-c", "yes >&2")
    assert worker.stdout is not None
    events = [json.loads(line)["event"] for line in worker.stdout]
    assert events == ["started", "failed", "leaves"]
    assert outcome(queue, "a").error["stderr"].endswith("y\n")


def test_a_worker_takes_the_jobs_of_the_needs_it_names(
    queue: Queue, work: Callable[..., list[str]]
) -> None:
    for need in ("", "gpu", "disk"):
        queue.put(1, id=f"job{need}", need=need)
    work("--idle-timeout", "0", "--", "cat")
    assert {job.id for job in queue.jobs(State.READY)} == {"jobgpu", "jobdisk"}
    work("--drain", "--need", "gpu", "--need", "disk", "--", "cat")
    assert queue.drained()


def test_a_drained_worker_ends_its_job_and_leaves(queue: Queue, start: Start) -> None:
    queue.put_many([NewJob(number) for number in range(30)])
    worker = start("--name", "w1", "--json", "--", "sleep", "1")
    assert worker.stdout is not None
    assert json.loads(worker.stdout.readline())["event"] == "started"
    queue.drain(["w1", "w2"])
    *rest, last = [json.loads(line) for line in worker.stdout]
    assert (last["event"], last["why"]) == ("leaves", "the queue's owner drains it")
    assert len(rest) % 2 == 1
    assert {event["event"] for event in rest[::2]} == {"succeeded"}
    stats = queue.stats()
    assert (stats.ready, stats.running) == (30 - stats.succeeded, 0)
    assert stats.ready > 0


def test_a_worker_that_is_drained_already_claims_nothing(
    queue: Queue, work: Callable[..., list[str]]
) -> None:
    queue.put(1)
    queue.drain(["w1"])
    (said,) = work("--name", "w1", "--", "cat")
    assert said.endswith("leaves: the queue's owner drains it")
    assert queue.stats().ready == 1


def test_control_that_cannot_be_read_is_told_once_and_worked_without(
    queue: Queue, start: Start, tmp_path: Path
) -> None:
    worker = start("--max-jobs", "2", "--json", "--", "cat")
    assert worker.stdout is not None
    queue.put(1, id="a")
    events = [json.loads(worker.stdout.readline())["event"] for _ in range(2)]
    (control,) = (path for path in tmp_path.rglob("control*") if path.is_file())
    whole = control.read_text()
    control.write_text("{")
    events.append(json.loads(worker.stdout.readline())["event"])
    control.write_text(whole)
    queue.put(1, id="b")
    events += [json.loads(line)["event"] for line in worker.stdout]
    assert events == [
        *("started", "succeeded", "cannot read what the owner says"),
        *("started", "succeeded", "leaves"),
    ]


def test_a_worker_whose_journal_nobody_reads_gives_its_job_back(queue: Queue, start: Start) -> None:
    worker = start("--json", "--", "cat")
    assert worker.stdout is not None
    worker.stdout.close()
    queue.put(1, id="a")
    assert worker.wait(timeout=30) == 141
    assert outcome_of_attempt(queue, "a", 1).kind is OutcomeKind.RELEASED


def test_a_result_waits_for_a_store_that_is_away(
    server: S3Server,
    proxy: FaultProxy,
    start: Start,
    tmp_path: Path,
    pids: Callable[[], list[int]],
) -> None:
    url = f"s3://jobs/settling-{os.getpid()}"
    environment = {**server.environment, "AWS_ENDPOINT_URL_S3": proxy.endpoint}
    put("a", url, environment)
    script = (
        'echo $$ > "$0.new"; mv "$0.new" "$0"; until [ -e "$0.go" ]; do sleep 0.1; done; echo 7'
    )
    arguments = ("--max-jobs", "1", "--json", "--", "sh", "-c", script, f"{tmp_path}/pids")
    worker = start(*arguments, url=url, environment=environment)
    pids()
    proxy.plan = lambda _: Answer(503, "SlowDown")
    (tmp_path / "pids.go").touch()
    assert worker.stdout is not None
    events = [json.loads(worker.stdout.readline())["event"] for _ in range(2)]
    proxy.plan = lambda _: None
    rest, _ = worker.communicate(timeout=60)
    events += [json.loads(line)["event"] for line in rest.splitlines()]
    assert events == ["started", "goes on without the store", "goes on", "succeeded", "leaves"]


def put(job_id: str, url: str, environment: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, "-m", "gha_queue", "put", "1", "--id", job_id, "-q", url],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        timeout=60,
    )


def test_a_store_that_is_away_is_told_once_and_outlasted(
    server: S3Server, proxy: FaultProxy, start: Start
) -> None:
    url = f"s3://jobs/outage-{os.getpid()}"
    away, asked = threading.Event(), threading.Event()

    def plan(_: ProxiedRequest) -> Answer | None:
        if not away.is_set():
            return None
        asked.set()
        return Answer(503, "SlowDown")

    proxy.plan = plan
    environment = {**server.environment, "AWS_ENDPOINT_URL_S3": proxy.endpoint}
    put("a", url, environment)
    worker = start("--max-jobs", "2", "--json", "--", "cat", url=url, environment=environment)
    assert worker.stdout is not None
    events = [json.loads(worker.stdout.readline())["event"] for _ in range(2)]
    away.set()
    events.append(json.loads(worker.stdout.readline())["event"])
    assert asked.is_set()
    away.clear()
    events.append(json.loads(worker.stdout.readline())["event"])
    put("b", url, server.environment)
    rest, _ = worker.communicate(timeout=60)
    events += [json.loads(line)["event"] for line in rest.splitlines()]
    assert events == [
        *("started", "succeeded", "goes on without the store", "goes on"),
        *("started", "succeeded", "leaves"),
    ]

"""When and how a worker leaves, by itself or by force."""

from __future__ import annotations

import io
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from process_watch import alive, eventually, read_pid

from gha_queue import OutcomeKind, Queue
from gha_queue.testing import Delay, DropRequest, FaultProxy
from gha_worker import CommandJob, CommandResult, OnStop, Prepare, Reason, submit
from gha_worker._machine.capacity import Capacity
from gha_worker._signals import StopSignals
from gha_worker._telling.journal import Journal
from gha_worker._worker.worker import Worker, WorkerSettings

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import WorkerProcess, Workers

    from gha_queue.testing import ProxiedRequest, S3Server

STUBBORN = """
trap '' TERM INT HUP
(setsid bash -c 'trap "" TERM; echo $$ > {0}/escaped; while :; do sleep 60; done' &)
while [ ! -s {0}/escaped ]; do sleep 0.01; done
echo $$ > {0}/pid
while :; do sleep 60; done
"""


class Stubborn:
    """A job that ignores every request to end, with a process that has left its session."""

    def __init__(
        self,
        queue: Queue,
        directory: Path,
        on_stop: OnStop = OnStop.RELEASE,
        name: str = "stubborn",
    ) -> None:
        self._directory = directory
        directory.mkdir(exist_ok=True)
        job = CommandJob(STUBBORN.format(directory), on_stop=on_stop, name=name)
        queue.put(job.to_payload(), id=name, max_attempts=2)

    def started(self) -> Stubborn:
        eventually(lambda: read_pid(self._directory / "pid"))
        return self

    def alive(self) -> bool:
        return any(alive(read_pid(self._directory / name)) for name in ("pid", "escaped"))


@pytest.fixture
def running(queue: Queue, workers: Workers, tmp_path: Path) -> tuple[WorkerProcess, Stubborn]:
    job = Stubborn(queue, tmp_path)
    return workers.start("--name", "w1"), job.started()


def test_a_closed_queue_is_emptied_and_left(queue: Queue, workers: Workers) -> None:
    worker = workers.start("--name", "w1").ready()
    queue.put(CommandJob("sleep 0.5").to_payload(), id="last", delay=1.0)
    queue.close()
    outcome = queue.wait("last", timeout=20)
    assert outcome.kind is OutcomeKind.SUCCEEDED
    ended = time.monotonic()
    assert worker.wait() == 0
    assert time.monotonic() - ended < 5.0
    assert "leaves: the queue is closed and empty" in worker.log()
    seen = queue.worker("w1")
    assert seen is not None
    assert seen.left


def test_a_cancelled_queue_stops_the_job_and_is_left_at_once(
    queue: Queue, running: tuple[WorkerProcess, Stubborn]
) -> None:
    worker, job = running
    queue.close(cancel=True)
    assert worker.wait(9.0) == 0
    assert not job.alive()
    outcome = queue.outcome("stubborn")
    assert outcome is not None
    assert (outcome.kind, outcome.attempt) == (OutcomeKind.FAILED, 1)
    assert outcome.error["reason"] == "stopped"
    assert "leaves: the queue was cancelled" in worker.log()


def test_a_queue_whose_owner_is_gone_is_left(
    s3: S3Server, queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    owned = Queue(f"{queue.url}-owned", lease=6.0, heartbeat=1.0)
    owned.create(keepalive=3.0)
    job = Stubborn(owned, tmp_path)
    worker = workers.start(url=owned.url)
    job.started()
    assert worker.wait(20.0) == 0
    assert not job.alive()
    assert "leaves: the owner of the queue is gone" in worker.log()


def test_a_paused_queue_is_not_worked_on(queue: Queue, workers: Workers) -> None:
    queue.pause()
    queue.put(CommandJob("true").to_payload(), id="later")
    worker = workers.start("--idle-timeout", "1.5")
    assert worker.wait() == 0
    assert queue.stats().ready == 1
    queue.resume()
    queue.close()
    assert workers.start().wait() == 0
    assert queue.outcome("later") is not None


def test_without_work_a_worker_leaves_after_the_idle_timeout(
    queue: Queue, workers: Workers
) -> None:
    worker = workers.start("--idle-timeout", "1")
    assert worker.wait() == 0
    assert "leaves: no work came" in worker.log()


def test_the_second_worker_of_a_name_leaves(queue: Queue, workers: Workers) -> None:
    first = workers.start("--name", "twin").ready()
    second = workers.start("--name", "twin")
    assert second.wait() == 0
    assert "leaves: another worker has this name" in second.log()
    assert first.process.poll() is None
    queue.close()
    assert first.wait() == 0


def test_a_worker_says_where_it_runs(queue: Queue, workers: Workers) -> None:
    page = {"GITHUB_SERVER_URL": "https://h", "GITHUB_REPOSITORY": "o/r", "GITHUB_RUN_ID": "5"}
    workers.start("--name", "w1", RUNNER_NAME="vm 3", **page).ready()
    seen = queue.worker("w1")
    assert seen is not None
    assert not seen.left
    assert seen.info["run_url"] == "https://h/o/r/actions/runs/5"
    assert seen.info["runner"] == "vm 3"
    assert seen.info["cores"] >= 1


def test_each_stop_signal_releases_the_job_within_five_seconds(
    queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    running = []
    for number in numbers:
        job = Stubborn(queue, tmp_path / number.name, name=number.name)
        worker = workers.start("--name", number.name, "--slots", "1")
        running.append((worker, job.started(), number))
    for worker, _, number in running:
        worker.process.send_signal(number)
    end = time.monotonic() + 5.0
    for worker, job, number in running:
        assert worker.wait(end - time.monotonic()) == 0
        assert not job.alive()
        assert f"{number.name}  released" in worker.log()
        assert list(worker.work_dir.iterdir()) == []
    stats = queue.stats()
    assert (stats.ready, stats.running) == (3, 0)
    assert all(seen.left for seen in queue.workers())


def test_a_signal_fails_a_job_that_must_not_start_again(
    queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    job = Stubborn(queue, tmp_path, OnStop.FAIL)
    worker = workers.start()
    job.started()
    worker.process.send_signal(signal.SIGINT)
    assert worker.wait(5.0) == 0
    # Its budget of two attempts decides whether it runs again, as after any failure.
    stats = queue.stats()
    assert stats.ready + stats.delayed == 1
    queue.cancel("stubborn")
    assert "stubborn  failed (stopped)" in worker.log()


HASTY = "import gha_worker._signals as s; s.PATIENCE = 0.5; from gha_worker.__main__ import main; main()"


@pytest.mark.parametrize("stage", ["claim", "farewell"])
def test_a_signal_is_heeded_while_the_store_hangs(
    s3: S3Server, queue: Queue, workers: Workers, stage: str
) -> None:
    hung: list[str] = []

    def hang(request: ProxiedRequest) -> Delay | None:
        if stage == "farewell" and request.method == "GET":
            return None
        hung.append(request.key)
        return Delay(20.0)

    with FaultProxy(s3.endpoint) as proxy:
        worker = workers.start(code=HASTY, AWS_ENDPOINT_URL_S3=proxy.endpoint).ready()
        proxy.plan = hang
        if stage == "farewell":
            queue.close()
        # A listing is asked of the bucket itself, and by the main thread alone.
        eventually(lambda: any(key == "" or "workers/" in key for key in hung))
        worker.process.send_signal(signal.SIGINT)
        assert worker.wait(8.0) == 0, worker.log()
        assert not list(worker.work_dir.iterdir())


def test_a_second_signal_breaks_nothing_off(
    queue: Queue, running: tuple[WorkerProcess, Stubborn]
) -> None:
    worker, job = running
    for _ in range(20):
        if worker.process.poll() is None:
            worker.process.send_signal(signal.SIGINT)
            worker.process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    assert worker.wait(5.0) == 0
    assert not job.alive()
    assert queue.stats().ready == 1
    assert "Traceback" not in worker.log()


def test_a_signal_during_the_preparation_releases_the_job(
    queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    prepare = Prepare("k", f"echo $$ > {tmp_path}/pid; sleep 60")
    queue.put(CommandJob(f"touch {tmp_path}/ran", prepare=prepare).to_payload(), id="j")
    worker = workers.start()
    eventually(lambda: read_pid(tmp_path / "pid"))
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait(5.0) == 0
    assert "j  released" in worker.log()
    assert not (tmp_path / "ran").exists()


def test_an_idle_worker_leaves_at_once_on_a_signal(queue: Queue, workers: Workers) -> None:
    worker = workers.start().ready()
    worker.process.send_signal(signal.SIGINT)
    assert worker.wait(3.0) == 0
    assert "leaves: it was told to stop" in worker.log()


def test_a_killed_worker_takes_its_job_with_it_at_once(
    queue: Queue, running: tuple[WorkerProcess, Stubborn]
) -> None:
    worker, job = running
    worker.process.kill()
    eventually(lambda: not job.alive(), seconds=2.0)
    eventually(lambda: list(worker.work_dir.iterdir()) == [], seconds=5.0)


def test_a_frozen_workers_job_is_dead_before_others_may_take_it(
    queue: Queue, running: tuple[WorkerProcess, Stubborn]
) -> None:
    worker, job = running
    worker.process.send_signal(signal.SIGSTOP)
    frozen = time.monotonic()
    eventually(lambda: not job.alive())
    assert time.monotonic() - frozen < queue.settings.lease
    worker.process.send_signal(signal.SIGCONT)
    eventually(lambda: "stubborn  lost" in worker.log())
    assert queue.outcome("stubborn") is None
    queue.cancel("stubborn")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_worker_cut_off_from_the_store_ends_its_job_in_time_and_comes_back(
    s3: S3Server, queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    with FaultProxy(s3.endpoint) as proxy:
        worker = workers.start(AWS_ENDPOINT_URL_S3=proxy.endpoint)
        job = Stubborn(queue, tmp_path).started()
        proxy.plan = lambda _: DropRequest()
        cut = time.monotonic()
        eventually(lambda: not job.alive())
        assert time.monotonic() - cut < queue.settings.lease
        eventually(lambda: "stubborn  lost" in worker.log())
        assert queue.outcome("stubborn") is None
        queue.cancel("stubborn")
        proxy.plan = lambda _: None
        queue.put(CommandJob("true").to_payload(), id="next")
        queue.close()
        assert queue.wait("next", timeout=20).kind is OutcomeKind.SUCCEEDED
        assert worker.wait() == 0


def test_a_killed_guard_fails_the_job_and_leaves_no_process(
    running: tuple[WorkerProcess, Stubborn],
) -> None:
    worker, job = running
    (guard,) = (pid for pid in children_of(worker.process.pid) if children_of(pid))
    os.kill(guard, signal.SIGKILL)
    eventually(lambda: not job.alive())
    eventually(lambda: "stubborn  failed (guard-died)" in worker.log())
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait(5.0) == 0


def children_of(pid: int) -> list[int]:
    from gha_worker._guard.process_tree import processes

    return [row.pid for row in processes() if row.parent == pid]


def work_on(queue: Queue, directory: Path, *, lifetime: float, age: float) -> str:
    """The log of a worker in this process, on a machine of this age in seconds."""
    log = io.StringIO()
    settings = WorkerSettings(
        name="aged",
        capacity=Capacity(millicores=1000, memory_mb=1024),
        idle_timeout=60.0,
        lifetime=lifetime,
        started=time.monotonic() - age,
        work_dir=directory / "vm",
    )
    with StopSignals() as signals:
        Worker(queue, settings, {"PATH": os.environ["PATH"]}, Journal(log), signals).run()
    return log.getvalue()


def test_the_end_of_the_machine_fails_the_job_for_good(queue: Queue, tmp_path: Path) -> None:
    queue.put(CommandJob("sleep 60").to_payload(), id="long", max_attempts=3)
    log = work_on(queue, tmp_path, lifetime=2.0, age=0.0)
    outcome = queue.outcome("long")
    assert outcome is not None
    assert (outcome.kind, outcome.attempt) == (OutcomeKind.FAILED, 1)
    assert CommandResult.from_json(outcome.error).reason is Reason.VM_LIFETIME
    assert "leaves: this machine is too old" in log


def test_an_old_machine_gives_back_what_it_has_no_time_for(queue: Queue, tmp_path: Path) -> None:
    queue.put(CommandJob("true", timeout=50).to_payload(), id="short", priority=0)
    queue.put(CommandJob("true", timeout=600).to_payload(), id="long")
    log = work_on(queue, tmp_path, lifetime=21000.0, age=20900.0)
    assert "short  succeeded" in log
    assert "long  released" in log
    assert "leaves: this machine is too old" in log
    assert queue.stats().delayed == 1


def test_an_old_machine_does_all_that_it_has_time_for_before_it_leaves(
    queue: Queue, tmp_path: Path
) -> None:
    submit(queue, CommandJob("true", timeout=600), id="long")
    for number in range(4):
        submit(queue, CommandJob("sleep 0.2", timeout=50), id=f"short-{number}")
    log = work_on(queue, tmp_path, lifetime=21000.0, age=20900.0)
    assert [f"short-{number}  succeeded" in log for number in range(4)] == [True] * 4
    assert queue.history("long").attempts[0].worker is None
    assert "leaves: this machine is too old" in log

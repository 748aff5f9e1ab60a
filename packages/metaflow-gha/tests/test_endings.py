"""What happens when something ends too early: a worker, a VM, the launcher."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gha_queue.testing import DropRequest, FaultProxy, ProxiedRequest

from .conftest import Ended, Lab, Wait

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(500)]


class Waiting:
    """A run of the waiting flow, stopped in the middle of its tasks."""

    def __init__(
        self,
        lab: Lab,
        folder: Path,
        until: Wait,
        *options: str,
        tasks: int = 1,
        **environment: str,
    ) -> None:
        self.folder = folder
        self.until = until
        self.launcher = lab.start(
            "flows/waiting.py",
            "run",
            f"--folder={folder}",
            f"--count={tasks}",
            *options,
            **environment,
        )
        until(lambda: len(self.tasks(0)) == tasks, 120, "the tasks' start")

    def tasks(self, attempt: int) -> dict[str, tuple[int, str]]:
        """Process and VM of every task that runs or ran in this attempt, by its number."""
        found = {}
        for path in self.folder.glob(f"[0-9]*.{attempt}"):
            pid, worker = path.read_text().split()
            found[path.name.partition(".")[0]] = (int(pid), worker)
        return found

    def go(self) -> None:
        (self.folder / "go").touch()

    def end(self, timeout: float = 240) -> Ended:
        output, _ = self.launcher.communicate(timeout=timeout)
        return Ended(self.launcher.returncode, output)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    # Whatever a failed test left waiting goes on and ends.
    (tmp_path / "go").touch()


def processes(text: str) -> list[int]:
    """The processes with `text` in their command line or environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            content = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in content:
            found.append(int(entry.name))
    return found


def worker_process(name: str) -> int:
    """The worker that is called `name`, not its guard and not its jobs."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"run" in words and b"--name" in words and name.encode() in words:
            return int(entry.name)
    raise LookupError(name)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(("tasks", "workers"), [(1, 1), (2, 2)], ids=["only-vm", "foreach"])
def test_a_killed_worker_costs_one_attempt_and_is_named(
    lab: Lab, folder: Path, until: Wait, tasks: int, workers: int
) -> None:
    run = Waiting(lab, folder, until, f"--with=gha:workers={workers}", tasks=tasks)
    pid, worker = run.tasks(0)["0"]
    os.kill(worker_process(worker), signal.SIGKILL)
    until(lambda: not alive(pid), 10, "the end of the killed worker's task")
    until(lambda: "0" in run.tasks(1), 150, "the second attempt")
    run.go()
    ended = run.end()
    assert ended.code == 0, ended.output
    assert re.search(
        rf"The VM {worker} was lost .*\(http://github\.localhost/\S+/actions/runs/\d+\)",
        ended.output,
    )
    attempts = lab.ask(f"Run('WaitingFlow/{ended.run_id}')['join'].task.data.attempts")
    assert sorted(attempts) == [0] * (tasks - 1) + [1]


def test_a_local_step_that_outlasts_the_idle_time_gets_another_vm(lab: Lab) -> None:
    ended = lab.run("flows/gap.py", "run", "--seconds=130")
    assert ended.code == 0, ended.output
    assert ended.output.count("Starting 1 VM:") == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_an_interrupted_run_leaves_no_process(
    lab: Lab, folder: Path, until: Wait, number: int
) -> None:
    run = Waiting(lab, folder, until, "--with=gha:workers=2", tasks=2)
    tasks = run.tasks(0)
    workers = [worker_process(worker) for _, worker in tasks.values()]
    began = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(run.launcher.pid, number)  # a terminal signals every process of the group
    else:
        os.kill(run.launcher.pid, number)
    gone = [pid for pid, _ in tasks.values()] + workers
    until(lambda: not any(map(alive, gone)), 10, "the end of workers and jobs")
    ended = run.end(30)
    assert ended.code != 0
    assert time.monotonic() - began < 20
    until(lambda: not processes(str(folder)), 10, "the end of every process of the run")


def test_a_killed_launcher_takes_its_vms_along_within_three_minutes(
    lab: Lab, folder: Path, until: Wait
) -> None:
    run = Waiting(lab, folder, until, "--with=gha", tasks=1)
    (pid, worker) = run.tasks(0)["0"]
    vm = worker_process(worker)
    os.kill(run.launcher.pid, signal.SIGKILL)
    until(lambda: not alive(pid) and not alive(vm), 180, "the end of the VM")
    run.launcher.communicate(timeout=10)
    until(lambda: not processes(str(folder)), 10, "the end of every process of the run")


def test_the_last_worker_leaves_within_five_seconds(lab: Lab, folder: Path, until: Wait) -> None:
    run = Waiting(lab, folder, until, "--with=gha", tasks=1)
    vm = worker_process(run.tasks(0)["0"][1])
    run.go()
    ended = run.end()
    assert ended.code == 0, ended.output
    until(lambda: not alive(vm), 5, "the end of the last worker")


def test_vms_that_end_before_they_take_work_end_the_run_with_their_names(lab: Lab) -> None:
    workflows = lab.site.directory / ".github" / "workflows"
    text = (workflows / "metaflow-gha.yml").read_text()
    (workflows / "broken.yml").write_text(text.replace("${{ inputs.queue }}", "no/such.queue"))
    for command in (
        ["add", "--all"],
        ["commit", "--quiet", "--message=broken"],
        ["push", "--quiet"],
    ):
        subprocess.run(["git", *command], cwd=lab.site.directory, env=lab.environment(), check=True)
    ended = lab.run(
        "examples/hello.py", "run", "--with=gha", METAFLOW_GHA_CALLER_WORKFLOW="broken.yml"
    )
    assert ended.code == 1, ended.output
    assert ended.output.count("Starting 1 VM:") == 2
    assert re.search(r"actions/runs/\d+ and http\S+/\d+ ended before a VM took work", ended.output)


def test_a_store_that_is_away_for_a_while_costs_no_attempt(
    lab: Lab, folder: Path, until: Wait
) -> None:
    with FaultProxy(lab.site.s3.endpoint) as proxy:
        run = Waiting(lab, folder, until, "--with=gha", AWS_ENDPOINT_URL_S3=proxy.endpoint)
        # Longer than the tries of a single request to the queue together. Only the queue is away:
        # Metaflow's own client, which reads the logs, has a patience of its own.
        back = time.monotonic() + 30

        def plan(request: ProxiedRequest) -> DropRequest | None:
            away = "gha-queues/" in request.key and time.monotonic() < back
            return DropRequest() if away else None

        proxy.plan = plan
        until(lambda: time.monotonic() > back, 60, "the end of the outage")
        run.go()
        ended = run.end()
    assert ended.code == 0, ended.output
    assert "Waiting for the store" in ended.output
    assert lab.ask(f"Run('WaitingFlow/{ended.run_id}')['join'].task.data.attempts") == [0]


def test_a_run_under_nohup_goes_on_when_the_terminal_closes(
    lab: Lab, folder: Path, until: Wait
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does, and children inherit it
    try:
        run = Waiting(lab, folder, until, "--with=gha")
    finally:
        signal.signal(signal.SIGHUP, before)
    os.killpg(run.launcher.pid, signal.SIGHUP)
    run.go()
    assert run.end().code == 0


def test_the_step_command_by_itself_runs_a_task(lab: Lab, folder: Path, until: Wait) -> None:
    run = Waiting(lab, folder, until, "--with=gha:workers=2")
    launcher = run.launcher.pid
    (relay,) = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    words = Path(f"/proc/{relay}/cmdline").read_text().split("\0")
    # Behind the interpreter, its options, the relay's own file and its socket.
    flow = words[5:-1]
    flow[flow.index("--retry-count") + 1] = "3"
    command = lab.start(*flow)
    until(lambda: "0" in run.tasks(3) or command.poll() is not None, 150, "a task by hand")
    run.go()
    output, _ = command.communicate(timeout=120)
    assert command.returncode == 0, output
    assert "0" in run.tasks(3)
    assert run.end().code == 0


def test_vms_that_never_came_are_not_started_after_the_end(lab: Lab, until: Wait) -> None:
    # More VMs than the stand-in starts at a time, so that some are queued when the run ends.
    ended = lab.run("examples/fanout.py", "run", "--with=gha:workers=12", "--count=1")
    assert ended.code == 0, ended.output
    assert "Starting 12 VMs" in ended.output
    run_id = lab.site.github.runs()[0].id

    def conclusion() -> str | None:
        return next(run.conclusion for run in lab.site.github.runs() if run.id == run_id)

    until(conclusion, 10, "the end of the workflow run")
    assert conclusion() == "cancelled"


def test_no_secret_shows_in_a_command_line_a_log_or_a_job(
    lab: Lab, folder: Path, until: Wait
) -> None:
    secret = "planted-secret-value-1f2e3d"
    subprocess.run(
        [
            lab.site.environment["GHA_DISPATCH_GH"],
            "secret",
            "set",
            "METAFLOW_SERVICE_AUTH_KEY",
            "--repo",
            lab.site.repository,
        ],
        input=secret,
        text=True,
        env=lab.environment(),
        check=True,
    )
    run = Waiting(lab, folder, until, "--with=gha", tasks=1)
    pid, _ = run.tasks(0)["0"]
    environ = Path(f"/proc/{pid}/environ").read_bytes()
    assert secret.encode() in environ  # the secret did reach the step, by its name
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert secret.encode() not in entry.read_bytes()
        except OSError:
            continue
    run.go()
    ended = run.end()
    assert ended.code == 0, ended.output
    assert secret not in ended.output
    assert secret not in lab.runner_logs()
    objects = lab.ask(
        "[o for p in __import__('boto3').client('s3').get_paginator('list_objects_v2').paginate(Bucket='sandbox')"
        " for o in [x['Key'] for x in p.get('Contents', [])]"
        f" if b'{secret}' in __import__('boto3').client('s3').get_object(Bucket='sandbox', Key=o)['Body'].read()]"
    )
    assert objects == []

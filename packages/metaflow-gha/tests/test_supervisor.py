"""What the supervisor does about a GitHub that refuses or answers late, and about more tasks than VMs."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gha_dispatch import GitHub, Repository, find_gh
from gha_dispatch.testing import Fault
from gha_queue import Queue
from gha_worker import CommandJob, Resources, submit
from metaflow_extensions.gha.launcher.supervisor import CLOSE, Run, Supervisor
from metaflow_extensions.gha.prerequisites.resources import StepResources

from .setup_lab import REPOSITORY, WORKFLOW

if TYPE_CHECKING:
    import pytest

    from .conftest import OpenSetupLab, Wait
    from .setup_lab import SetupLab

RUN = Run(
    title="Flow/1",
    workflow="metaflow-gha.yml",
    queue_path="gha-queues/Flow/1",
    limit=2,
    first_wave=2,
    ref="main",
    python="3.12",
)


# Starts VMs of four cores that need nothing but what this machine has.
QUICK_WORKFLOW = """\
run-name: ${{ inputs.title }} (${{ inputs.wave }})
on:
  workflow_dispatch:
    inputs:
      title: {type: string}
      queue: {type: string}
      wave: {type: string}
      vms: {type: string}
      python: {type: string}
jobs:
  worker:
    strategy: {matrix: {vm: "${{ fromJSON(inputs.vms) }}"}}
    runs-on: ubuntu-latest
    steps:
      - run: exec python -m gha_worker run "$QUEUE" --cores 4 --memory 4096 --idle-timeout $IDLE --name "$NAME"
        env: {NAME: "${{ inputs.wave }}.${{ matrix.vm }}"}
"""


class Supervised:
    """A run with waiting jobs, one or those of `queue`; `said` are the lines that its user reads."""

    def __init__(self, name: str, queue: Queue | None = None, wanted: Run = RUN) -> None:
        self.said: list[str] = []
        if queue is None:
            queue = Queue(f"memory://{name}")
            queue.create()
            queue.put({"v": 1})
        github = GitHub(find_gh(), Repository.parse(f"github.localhost/{REPOSITORY}"))
        self.supervisor = Supervisor(queue, github, wanted, self._say)
        self.supervisor.start()
        self.supervisor.begin()

    def _say(self, line: str, **_: Any) -> None:
        self.said.append(line)


def quick_vms(open_setup_lab: OpenSetupLab, directory: Path, *, idle_timeout: int = 60) -> Queue:
    """A queue, and a GitHub whose VMs work on it."""
    queue = Queue(f"file://{directory}/queue")
    queue.create()
    image = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "QUEUE": queue.url,
        "IDLE": str(idle_timeout),
    }
    lab = open_setup_lab(workflow=False, image=image)
    (lab.project / WORKFLOW).parent.mkdir(parents=True)
    (lab.project / WORKFLOW).write_text(QUICK_WORKFLOW)
    lab.push()
    return queue


def sent(lab: SetupLab, what: str) -> int:
    """How many requests of this kind GitHub got."""
    return sum(what in request for request in lab.stand_in.requests())


def test_a_refused_dispatch_is_said_once_and_not_sent_again(
    open_setup_lab: OpenSetupLab, request: pytest.FixtureRequest
) -> None:
    lab = open_setup_lab()
    lab.stand_in.disable_actions()
    run = Supervised(request.node.name)
    run.supervisor.join(20)
    assert not run.supervisor.is_alive()
    assert [line for line in run.said if "disabled" in line] == run.said[:1]
    assert sent(lab, "/dispatches") == 1


def test_a_limit_of_github_does_not_keep_the_end_of_a_run(
    open_setup_lab: OpenSetupLab, request: pytest.FixtureRequest, until: Wait
) -> None:
    lab = open_setup_lab()
    lab.stand_in.inject(Fault.busy("POST", "/cancel", retry_after=60))
    run = Supervised(request.node.name)
    until(lambda: "Starting 2 VMs" in "".join(run.said), 20, "the first wave")
    began = time.monotonic()
    run.supervisor.close(cancel=True)
    assert time.monotonic() - began < CLOSE / 2
    assert sent(lab, "/cancel") == 1


def test_vms_that_github_starts_after_the_end_are_cancelled(
    open_setup_lab: OpenSetupLab,
    request: pytest.FixtureRequest,
    until: Wait,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = open_setup_lab()
    late = tmp_path / "gh"
    late.write_text(
        f"""#!/bin/sh
case "$*" in *dispatches*)
    touch {tmp_path}/asked
    until [ -e {tmp_path}/ended ]; do sleep 0.05; done
esac
exec {find_gh().path} "$@"
"""
    )
    late.chmod(0o755)
    monkeypatch.setenv("GHA_DISPATCH_GH", str(late))
    run = Supervised(request.node.name)
    until((tmp_path / "asked").exists, 20, "the dispatch")
    run.supervisor.close(cancel=True)
    (tmp_path / "ended").touch()
    run.supervisor.join(20)
    assert not run.supervisor.is_alive()
    assert sent(lab, "/dispatches") == sent(lab, "/cancel") == 1


def test_more_tasks_than_vms_are_spread_over_all_of_them_and_then_packed(
    open_setup_lab: OpenSetupLab, request: pytest.FixtureRequest, until: Wait, tmp_path: Path
) -> None:
    queue = quick_vms(open_setup_lab, tmp_path)
    begun = tmp_path / "begun"
    begun.mkdir()
    script = f"""
        touch {begun}/$GHA_WORKER_JOB.$GHA_WORKER_NAME
        until [ -e {tmp_path}/go ]; do sleep 0.1; done
    """
    for number in range(12):
        submit(queue, CommandJob(script, timeout=120), id=f"job{number}")
    run = Supervised(request.node.name, queue)
    try:
        until(lambda: queue.state().slots == 1, 20, "the spreading")
        until(lambda: len(list(begun.iterdir())) == 8, 60, "four tasks on each of two VMs")
        in_order = sorted(begun.iterdir(), key=lambda file: file.stat().st_mtime_ns)
        vms = [file.name.partition(".")[2] for file in in_order]
        assert vms[0] != vms[1]
        assert sorted(map(vms.count, set(vms))) == [4, 4]
        (tmp_path / "go").touch()
        until(lambda: queue.stats().succeeded == 12, 30, "the end of all tasks")
    finally:
        (tmp_path / "go").touch()
        run.supervisor.close(cancel=False)
    until(lambda: all(seen.left for seen in queue.workers()), 20, "the end of the VMs")
    assert run.said == [line for line in run.said if line.startswith("Starting 2 VMs")]


def test_a_step_that_no_vm_can_hold_ends_the_run_when_the_first_ones_have_left_it(
    open_setup_lab: OpenSetupLab, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    queue = quick_vms(open_setup_lab, tmp_path, idle_timeout=2)
    asked = {"small": StepResources(), "large": StepResources(cpu=8, gpu=1)}
    submit(queue, CommandJob("true", resources=Resources(cpu=8)), id="large.7.0")
    run = Supervised(request.node.name, queue, replace(RUN, steps=asked))
    run.supervisor.join(60)
    assert not run.supervisor.is_alive()
    assert run.said[1] == (
        "Step *large* asks for @resources(cpu=8), and no VM of this run can give it: the largest VM so far has "
        "4 cores, 4096 MB. Ask for less, or choose a larger runner, commit and push:\n"
        "  python flow.py gha inject --runs-on LABEL"
    )
    assert len(run.said) == 2

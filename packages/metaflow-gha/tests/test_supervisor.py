"""What the supervisor does about a GitHub that refuses, asks to wait or answers late."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gha_dispatch import GitHub, Repository, find_gh
from gha_dispatch.testing import Fault
from gha_queue import Queue
from metaflow_extensions.gha.launcher.supervisor import CLOSE, Run, Supervisor

from .setup_lab import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

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


class Supervised:
    """A run with one waiting job; `said` are the lines that its user reads."""

    def __init__(self, name: str) -> None:
        self.said: list[str] = []
        queue = Queue(f"memory://{name}")
        queue.create()
        queue.put({"v": 1})
        github = GitHub(find_gh(), Repository.parse(f"github.localhost/{REPOSITORY}"))
        self.supervisor = Supervisor(queue, github, RUN, self._say)
        self.supervisor.start()
        self.supervisor.begin()

    def _say(self, line: str, **_: Any) -> None:
        self.said.append(line)


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

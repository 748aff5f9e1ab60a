"""A caller, a provider and what tests ask of processes and time."""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gha_dispatch import find_gh
from gha_dispatch.testing import GitHubStandIn, StandInConfig

if TYPE_CHECKING:
    import pytest

    from gha_dispatch import GitHub, WorkflowRunStatus

Write = Callable[[str, str], None]

GH = "GHA_DISPATCH_GH"
TESTED_GH = os.environ.get(GH)  # None: the stand-in's own

CALLER = """
name: caller
on:
  workflow_dispatch:
    inputs:
      title: {required: true}
      vms: {required: true, description: a JSON list}
      script: {default: "true"}
run-name: "fleet ${{ inputs.title }}"
permissions: {contents: read}
jobs:
  worker:
    strategy:
      fail-fast: false
      max-parallel: 256
      matrix: {vm: "${{ fromJSON(inputs.vms) }}"}
    uses: provider/tools/.github/workflows/worker.yml@main
    with: {vm: "${{ matrix.vm }}", script: "${{ inputs.script }}"}
    secrets: {KEY: "${{ secrets.KEY }}"}
"""
WORKER = """
on:
  workflow_call:
    inputs:
      vm: {type: string, required: true}
      script: {type: string, required: true}
    secrets:
      KEY: {required: false}
jobs:
  run:
    runs-on: ubuntu-latest
    timeout-minutes: 5
    steps:
      - uses: actions/checkout@0123456789012345678901234567890123456789
        with: {repository: provider/tools, ref: main, path: tools}
      - env:
          KEY: ${{ secrets.KEY }}
          REGION: ${{ vars.REGION }}
          VM: ${{ inputs.vm }}
          SCRIPT: ${{ inputs.script }}
        run: exec bash -c "$SCRIPT"
"""

PLAIN = """
on: workflow_dispatch
permissions: {{contents: read}}
jobs:
  work:
{body}
"""


class World:
    """A caller's repository, a provider's, and the stand-in over them."""

    def __init__(self, root: Path) -> None:
        self.caller = root / "caller"
        self.provider = root / "provider"
        self.out = root / "out"
        for directory in (self.caller, self.provider, self.out):
            directory.mkdir()
        self.write_called("worker.yml", WORKER)
        git(self.caller, "init", "--quiet", "--initial-branch", "main")
        self.write_caller("fleet.yml", CALLER)

    def write_caller(self, file: str, text: str) -> None:
        """Commit a workflow to the caller's default branch."""
        path = self.caller / ".github" / "workflows" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), "utf-8")
        git(self.caller, "add", "--all")
        git(self.caller, "commit", "--quiet", "--allow-empty", "--message", "a change")

    def write_called(self, file: str, text: str) -> None:
        path = self.provider / ".github" / "workflows" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), "utf-8")

    def config(self, **changes: object) -> StandInConfig:
        settings: dict[str, object] = {
            "name": "owner/project",
            "directory": self.caller,
            "image": {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
            "variables": {"REGION": "eu-1"},
            "actions": {"provider/tools": self.provider},
        }
        return StandInConfig(**{**settings, **changes})  # type: ignore[arg-type]


def git(directory: Path, *args: str) -> str:
    identity = ["-c", "user.name=tester", "-c", "user.email=tester@example.org"]
    done = subprocess.run(
        ["git", "-C", os.fspath(directory), *identity, *args],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def enter(monkeypatch: pytest.MonkeyPatch, stand_in: GitHubStandIn) -> None:
    """Give this process the environment of a client of the stand-in."""
    be_client(monkeypatch, stand_in.environment, stand_in.cleared)


def be_client(
    monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], cleared: Iterable[str]
) -> None:
    """Set and unset what brings a process to a stand-in, with the gh that is under test."""
    for name in cleared:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, TESTED_GH if name == GH and TESTED_GH else value)


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def ended(github: GitHub, run_id: int, seconds: float = 30.0) -> WorkflowRunStatus:
    until(lambda: github.run(run_id).status == "completed", seconds)
    return github.run(run_id)


def plain(world: World, github: GitHub, body: str) -> WorkflowRunStatus:
    """Run a workflow of one job and wait for its end."""
    text = PLAIN.format(body=textwrap.indent(textwrap.dedent(body), "    "))
    world.write_caller("plain.yml", text)
    run = github.workflow("plain.yml").dispatch({}, None, "no title has this")
    return ended(github, run.id)


def fleet(github: GitHub, vms: str = "[0]", script: str = "true") -> WorkflowRunStatus:
    inputs = {"title": "t", "vms": vms, "script": script}
    return ended(github, github.workflow("fleet.yml").dispatch(inputs, None, "t").id)


def conclusions(github: GitHub, run_id: int) -> dict[str, str | None]:
    return {job.name: job.conclusion for job in github.jobs(run_id)}


def processes_with(marker: str) -> list[int]:
    """The living processes whose command line or environment holds the marker."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if marker.encode() in text:
            found.append(int(entry.name))
    return found


def gh(
    *args: str, cwd: Path | None = None, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the real gh in this process's environment, whatever comes of it."""
    quiet = {"GH_PROMPT_DISABLED": "1", "GH_NO_UPDATE_NOTIFIER": "1", "GH_TELEMETRY": "false"}
    return subprocess.run(
        [os.fspath(find_gh().path), *args],
        input=given,
        cwd=cwd,
        env={**os.environ, **quiet},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def gh_json(*args: str, cwd: Path | None = None) -> Any:  # noqa: ANN401 -- JSON
    """What gh printed as JSON. It must end well."""
    done = gh(*args, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

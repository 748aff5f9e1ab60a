"""The README's examples, run as printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dispatch_world import World, git

from gha_dispatch import _errors
from gha_dispatch.cli._exits import MEANINGS

if TYPE_CHECKING:
    from gha_dispatch.testing import GitHubStandIn

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def block(language: str) -> str:
    """The first example in this language."""
    found = re.search(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def clone(world: World, stand_in: GitHubStandIn) -> Path:
    world.write_caller("nightly.yml", block("yaml"))
    git(world.caller, "remote", "add", "origin", "git@github.localhost:owner/project.git")
    return world.caller


def test_the_python_example_runs(clone: Path, stand_in: GitHubStandIn) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block("python")],
        cwd=clone,
        check=True,
        capture_output=True,
        text=True,
    )
    (run,) = stand_in.runs()
    assert done.stdout.splitlines() == [run.url, "success ['work']"]
    assert stand_in.secrets == {"API_KEY": b"the value"}
    assert dict(stand_in.variables) == {"REGION": "eu-1"}


def test_the_shell_example_runs(
    clone: Path, stand_in: GitHubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "bin" / "gha-dispatch"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gha_dispatch "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block("console")],
        cwd=clone,
        check=True,
        capture_output=True,
        text=True,
    )
    (run,) = stand_in.runs()
    assert run.title == "nightly r-18"
    assert f"run\tsuccess\tnightly r-18\t{run.url}" in done.stdout
    assert stand_in.secrets == {"API_KEY": b"the value"}


def test_every_error_and_exit_code_is_in_the_tables() -> None:
    errors = re.findall(r"`(\w+Error)`", README[README.index("## Errors") :])
    assert {*errors, "DispatchError"} == {name for name in vars(_errors) if name.endswith("Error")}
    for code, meaning in MEANINGS.items():
        if code < 128:
            assert f"| {code.value} | {meaning} |" in README

"""The README's examples of the stand-in, run as printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dispatch_world import World, processes_with

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
SECTION = README[README.index("## A stand-in of GitHub for tests") :]
HELLO = """
on: workflow_dispatch
permissions: {}
jobs: {hello: {runs-on: ubuntu-latest, steps: [{run: echo good morning}]}}
"""


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_python_example_runs(world: World) -> None:
    world.write_caller("hello.yml", HELLO)
    done = subprocess.run(
        [sys.executable, "-c", block("python")],
        cwd=world.caller,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[0] == "success"
    assert "good morning" in done.stdout


@pytest.mark.skipif(shutil.which("jq") is None, reason="the example reads JSON with jq")
def test_the_shell_example_runs(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    world.write_caller("hello.yml", HELLO)
    world.caller.rename(tmp_path / "clone")
    script = f"{block('sh')}\nwait\n"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "[new branch]      main -> main" in done.stderr
    assert processes_with(os.fspath(tmp_path / "hub.git")) == []

"""One sandbox per test session: real S3 over HTTP, real gh, real act, real Metaflow."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gha_queue.testing import S3Server
from metaflow_extensions.gha.sandbox.site import Folders, Site, open_site

from .setup_lab import BUCKET, SetupLab

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples"
FLOWS = Path(__file__).with_name("flows")


@dataclass(frozen=True)
class Ended:
    """A flow run that is over: its exit code, everything it printed, and its id."""

    code: int
    output: str

    @property
    def run_id(self) -> str:
        found = re.search(r"run-id (\d+)", self.output)
        assert found, self.output
        return found.group(1)


@dataclass
class Lab:
    """A sandbox with the flows of these tests in it."""

    site: Site
    folders: Folders
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def environment(self, **extra: str | None) -> dict[str, str]:
        """The sandbox's environment with some variables set, or removed with None."""
        merged = {**self.site.environment, **extra}
        return {name: value for name, value in merged.items() if value is not None}

    def start(self, *command: str, **extra: str | None) -> subprocess.Popen[str]:
        """Start `python COMMAND` in the copy, in a session of its own."""
        process = subprocess.Popen(
            [sys.executable, "-u", *command],
            cwd=self.site.directory,
            env=self.environment(**extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def end_all(self) -> None:
        """End what a failed test has left running."""
        while self.started:
            process = self.started.pop()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=20)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()

    def run(self, *command: str, **extra: str | None) -> Ended:
        """Run `python COMMAND` in the copy to its end."""
        timeout = 400
        process = self.start(*command, **extra)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            pytest.fail(f"{command} did not end within {timeout} s:\n{output}")
        return Ended(process.returncode, output)

    def ask(self, expression: str) -> Any:
        """The value of a Python expression over the Metaflow client, as JSON."""
        code = (
            f"import json; from metaflow import *; namespace(None); print(json.dumps({expression}))"
        )
        ended = self.run("-c", code)
        assert ended.code == 0, ended.output
        return json.loads(ended.output.splitlines()[-1])

    def runner_logs(self) -> str:
        """What everybody could read on GitHub: the logs of all workflow runs so far."""
        return "".join(
            path.read_text(errors="replace") for path in (self.folders.logs / "runs").glob("*.log")
        )


@pytest.fixture
def lab(session_lab: Lab) -> Iterator[Lab]:
    yield session_lab
    session_lab.end_all()


@pytest.fixture(scope="session")
def session_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    base = tmp_path_factory.mktemp("lab")
    project = base / "project"
    project.mkdir()
    for source in (EXAMPLES, FLOWS):
        subprocess.run(["cp", "-R", source, project], check=True)
    with open_lab(project, base / "sandbox") as lab:
        yield lab


@contextlib.contextmanager
def open_lab(project: Path, place: Path) -> Iterator[Lab]:
    """A sandbox of its own for `project`."""
    folders = Folders(place)
    with open_site(project, folders, keep_bucket=False) as site:
        lab = Lab(site, folders)
        try:
            yield lab
        finally:
            lab.end_all()


Wait = Callable[..., Any]


@pytest.fixture
def until() -> Wait:
    """Ask again until the answer is true, and return it."""

    def wait(question: Callable[[], Any], seconds: float, what: str) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            answer = question()
            if answer:
                return answer
            time.sleep(0.1)
        return pytest.fail(f"{what} did not happen within {seconds} s")

    return wait


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with S3Server() as server:
        server.create_bucket(BUCKET)
        yield server


OpenSetupLab = Callable[..., SetupLab]


@pytest.fixture
def open_setup_lab(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OpenSetupLab]:
    """Opens a set-up where all is well, but for what its keywords say."""
    with contextlib.ExitStack() as stack:
        yield functools.partial(SetupLab.open, s3_server, tmp_path, monkeypatch, stack)

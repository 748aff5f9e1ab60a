"""Runs one command with the whole path to GitHub Actions on this machine.

An S3 server over HTTP, a stand-in of GitHub that the real `gh` talks to, and the real `act` that executes the
workflows: all that is missing is the VM. Every token is invented, every server listens on this machine only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metaflow.util import get_username

from ..errors import GhaException
from ..launcher.inject import caller_workflow
from ..launcher.settings import Settings
from .image import runner_image
from .worker_source import worker_source
from .working_copy import WorkingCopy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gha_dispatch.testing import GitHubStandIn

BUCKET = "sandbox"
OWNER = "sandbox"
# Seconds that the command gets after a termination, before it is killed.
GRACE = 15.0

# Metaflow's settings that do not lead out of the sandbox and so are the user's to choose.
HARMLESS = ("METAFLOW_GHA_WORKER_", "METAFLOW_DEBUG_", "METAFLOW_USER", "METAFLOW_RUN_")


@dataclass(frozen=True)
class Place:
    """The folder of one sandbox: the copy, the logs, and the bucket if it is kept."""

    root: Path

    @property
    def copy(self) -> Path:
        return self.root / "repository"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def bucket(self) -> Path:
        return self.root / "s3"

    @property
    def metadata(self) -> Path:
        """Where Metaflow keeps the run's records; a sandbox that goes on finds its runs there."""
        return self.root / "metaflow"


def run_in_sandbox(command: list[str], *, keep: bool, place: str | None) -> int:
    """Run `command` in a fresh sandbox, or in the one at `place`; returns its exit code, 128 + n after signal n.

    Raises
    ------
    GhaException
        what is missing on this machine, in one sentence
    """
    try:
        from gha_dispatch.testing import GitHubStandIn, StandInConfig
        from gha_queue.testing import S3Server
    except ImportError:
        raise GhaException(
            "The sandbox needs its own extra: pip install 'metaflow-gha[sandbox]'."
        ) from None

    with contextlib.ExitStack() as stack:
        home = stack.enter_context(_place(keep=keep, place=place))
        settings = Settings.load()
        copy, injected = _copy_of_project(home, settings)
        repository = f"{OWNER}/{_slug(Path.cwd())}"
        copy.publish(f"http://github.localhost/{repository}.git")
        try:
            s3 = stack.enter_context(
                S3Server(
                    data_dir=home.bucket if home.bucket.is_dir() else None, log_file=home.logs / "s3.log"
                )
            )
            s3.create_bucket(BUCKET)
            source = worker_source(home.root / "worker")
            keys = {name: s3.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
            variables = {
                "METAFLOW_DATASTORE_SYSROOT_S3": f"s3://{BUCKET}/metaflow",
                "AWS_ENDPOINT_URL_S3": s3.endpoint,
                "AWS_REGION": s3.environment["AWS_REGION"],
            }
            github = stack.enter_context(
                GitHubStandIn(
                    StandInConfig(
                        name=repository,
                        directory=copy.root,
                        image=runner_image(stack.enter_context(tempfile.TemporaryDirectory())),
                        secrets=keys,
                        variables=variables,
                        actions={settings.worker_repo: source},
                        max_jobs=max(2, os.cpu_count() or 2),
                        state=home.logs,
                    )
                )
            )
        except (RuntimeError, FileNotFoundError) as error:
            raise GhaException(str(error)) from None
        _say(f"S3 at {s3.endpoint}, GitHub played by this machine as {repository}, nothing leaves it.")
        if injected:
            _say(f"Your repository has no {settings.caller_workflow} yet; the copy got one, as `gha inject` writes it.")
        environment = _environment({**s3.environ(), **github.environment}, github.cleared, home, variables)
        started = time.monotonic()
        code = _run(command, copy.directory, environment)
        _report(code, time.monotonic() - started, github, home, kept=keep or place is not None)
        return code


@contextlib.contextmanager
def _place(*, keep: bool, place: str | None) -> Iterator[Place]:
    """The sandbox's folder; removed at the end unless it shall be kept."""
    if place is not None:
        home = Place(Path(place).resolve())
    else:
        home = Place(Path(tempfile.mkdtemp(prefix="gha-sandbox-")))
    kept = keep or place is not None
    for folder in (home.logs, home.metadata, *([home.bucket] if kept else [])):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield home
    finally:
        if not kept:
            shutil.rmtree(home.root, ignore_errors=True)


def _copy_of_project(home: Place, settings: Settings) -> tuple[WorkingCopy, bool]:
    """Copy the project as it stands and make sure that it has a caller workflow; whether one had to be written."""
    shutil.rmtree(home.copy, ignore_errors=True)
    copy = WorkingCopy.make(Path.cwd(), home.copy)
    workflow = copy.root / ".github" / "workflows" / settings.caller_workflow
    if workflow.is_file():
        return copy, False
    workflow.parent.mkdir(parents=True, exist_ok=True)
    workflow.write_text(caller_workflow(settings), encoding="utf-8")
    return copy, True


def _environment(
    base: Mapping[str, str], cleared: tuple[str, ...], home: Place, variables: Mapping[str, str]
) -> dict[str, str]:
    """The command's environment: nothing of the user's accounts, everything of the sandbox."""
    kept = {
        name: value
        for name, value in base.items()
        if name not in cleared and (not name.startswith("METAFLOW_") or name.startswith(HARMLESS))
    }
    return {
        **kept,
        "METAFLOW_DATASTORE_SYSROOT_S3": variables["METAFLOW_DATASTORE_SYSROOT_S3"],
        "METAFLOW_DEFAULT_DATASTORE": "s3",
        "METAFLOW_DEFAULT_METADATA": "local",
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(home.metadata),
        # No configuration file of the user's, which may name a real bucket or service.
        "METAFLOW_HOME": str(home.root / "no-configuration"),
        # Metaflow refuses a run without a user's name, as in a container.
        "METAFLOW_USER": get_username() or "sandbox",
        # Its default of 64 processes per transfer is made for a far-away S3.
        "METAFLOW_S3_WORKER_COUNT": "4",
        # `python` means the one that has this package, activated or not.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), base.get("PATH", os.defpath)]),
    }


def _run(command: list[str], directory: Path, environment: Mapping[str, str]) -> int:
    """Run the command in this terminal. A Ctrl-C is its own to answer; a termination is passed on."""
    try:
        process = subprocess.Popen(command, cwd=directory, env=dict(environment))
    except OSError as error:
        raise GhaException(f"{command[0]} cannot be run: {error.strerror}.") from None

    def pass_on(number: int, _frame: object) -> None:
        process.send_signal(number)

    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),
        signal.SIGTERM: signal.signal(signal.SIGTERM, pass_on),
        signal.SIGHUP: signal.signal(signal.SIGHUP, pass_on),
    }
    try:
        code = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _report(code: int, seconds: float, github: GitHubStandIn, home: Place, *, kept: bool) -> None:
    runs = github.runs()
    vms = sum(len(run.jobs) for run in runs)
    _say(
        f"The command ended with exit code {code} after {seconds:.0f} s: "
        f"{len(runs)} workflow run{'s' * (len(runs) != 1)}, {vms} VM{'s' * (vms != 1)}."
    )
    if kept:
        _say(f"Kept in {home.root}: logs/ (each workflow run, S3), s3/ (the bucket), repository/ (the copy).")
    elif code:
        _say("Nothing was kept. With --keep the logs of the VMs stay.")


def _slug(directory: Path) -> str:
    """The folder's name as a repository name."""
    kept = "".join(letter if letter.isalnum() and letter.isascii() or letter in "._-" else "-" for letter in directory.name)
    return kept.strip("._-") or "project"


def _say(line: str) -> None:
    print(f"sandbox: {line}", file=sys.stderr, flush=True)  # noqa: T201  # what a command line tool is for
